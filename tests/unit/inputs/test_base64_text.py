"""Pictures that arrive as text."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.errors import InvalidFields
from serve_app.inputs.decode import decode_base64, looks_like_url

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


@pytest.mark.parametrize(
    "text",
    ["", "   ", "a", "abc?", "data:image/png,abc", "data:image/png;base64,", "data:image/png;base64", "café", "="],
)
def test_what_is_no_base64_is_no_image(text: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        decode_base64(text)
    assert caught.value.fields == {"init_image": ["The init image must be an image."]}


@pytest.mark.parametrize("text", ["http://a/b.png", " HTTPS://a", "ftp://a", "file:///etc/passwd", "gopher://x"])
def test_a_url_of_any_scheme_is_taken_for_a_url(text: str) -> None:
    assert looks_like_url(text)


@settings(deadline=None)
@given(DATA)
def test_base64_and_data_uris_are_never_taken_for_a_url(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert not looks_like_url(text)
    assert not looks_like_url("data:image/png;base64," + text)
