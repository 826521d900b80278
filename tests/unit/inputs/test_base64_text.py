"""Pictures that arrive as text."""

import base64
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.errors import InvalidFields
from serve_app.inputs.decode import decode_base64
from serve_app.urls import looks_like_url

DATA = st.binary(min_size=1, max_size=200)


@settings(deadline=None)
@given(DATA, st.booleans(), st.booleans(), st.sampled_from(["", "data:image/png;base64,", " Data:;base64,"]))
def test_every_usual_spelling_of_base64_gives_the_same_bytes(
    data: bytes, url_safe: bool, padded: bool, prefix: str
) -> None:
    text = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(data).decode()
    text = text if padded else text.rstrip("=")
    lines = "\r\n ".join(text[i : i + 7] for i in range(0, len(text), 7))
    assert decode_base64(prefix + text) == data
    assert decode_base64(prefix + lines + "\n") == data


def test_a_data_uri_may_carry_parameters_and_percent_escapes() -> None:
    assert decode_base64("data:image/png;name=a.png;base64,%2B%2F%2B%2F") == b"\xfb\xff\xbf"


def why_not(text: str) -> str:
    with pytest.raises(InvalidFields) as caught:
        decode_base64(text)
    [sentence] = caught.value.fields["init_image"]
    return sentence


@pytest.mark.parametrize(
    "text",
    ["", "   ", "a", "abc?", "data:image/png,abc", "data:image/png;base64,", "data:image/png;base64", "café", "="],
)
def test_what_is_no_base64_is_told_so(text: str) -> None:
    assert why_not(text).startswith("The init image must be valid base64: ")


@pytest.mark.parametrize(
    "text", ["QUJ DRA==", "QUJ\tDRA==", "QU=JDRA", "QUJDR", "QUJDRB==", "QUJD=", "QUJDRA===", "QUJDQUI9=="]
)
def test_base64_that_does_not_decode_exactly_is_refused(text: str) -> None:
    assert why_not(text).startswith("The init image must be valid base64: ")


def test_a_blank_is_named_with_its_place_and_its_usual_cause() -> None:
    assert why_not("QUJ DRA==") == (
        "The init image must be valid base64: there is a blank at character 4; a + that was not escaped becomes one."
    )


@pytest.mark.parametrize(
    "text", ["photo.png", "C:\\pictures\\my photo.jpeg", "/home/me/a.webp", "example.com/a.png?x=1"]
)
def test_the_name_of_a_file_is_told_what_is_wanted_instead(text: str) -> None:
    assert "must be a URL that starts with http:// or https://, base64 text, or an uploaded file" in why_not(text)


@pytest.mark.parametrize(
    "head",
    [
        "data:;base64,", "DATA:IMAGE/PNG;BASE64,", "data:image/png;charset=utf-8;base64,", "data:image/jpg;base64 , ",
        "data:image/png;base64;charset=utf-8,", "image/png;base64,", "base64,",
    ],
)  # fmt: skip
def test_heads_as_clients_write_them_are_read(head: str) -> None:
    assert decode_base64(head + "QUJDRA") == b"ABCD"


@given(DATA, st.data())
def test_cut_off_base64_is_refused_or_gives_whole_bytes_of_its_beginning(data: bytes, draw: st.DataObject) -> None:
    text = base64.b64encode(data).decode().rstrip("=")
    cut = text[: draw.draw(st.integers(1, len(text)))]
    with contextlib.suppress(InvalidFields):
        assert data.startswith(decode_base64(cut))


@pytest.mark.parametrize("text", ["http://a/b.png", " HTTPS://a", "ftp://a", "file:///etc/passwd", "gopher://x"])
def test_a_url_of_any_scheme_is_taken_for_a_url(text: str) -> None:
    assert looks_like_url(text)


@settings(deadline=None)
@given(DATA)
def test_base64_and_data_uris_are_never_taken_for_a_url(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert not looks_like_url(text)
    assert not looks_like_url("data:image/png;base64," + text)
