"""Reading bodies: three encodings are one request, and nothing a client sends is a surprise."""

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from serve_app.api.body import presented_key, read_body
from serve_app.errors import BodyTooLarge, UnreadableBody
from serve_app.inputs.decode import decode_base64

CAP = 10_000
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=edge"
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def receiver(chunks: AsyncIterator[bytes]) -> Receive:
    async def receive() -> MutableMapping[str, Any]:
        chunk = await anext(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return receive


async def pieces(raw: bytes, size: int = 100) -> AsyncIterator[bytes]:
    for start in range(0, len(raw), size):
        yield raw[start : start + size]


def request_of(raw: bytes | AsyncIterator[bytes], content_type: str | None = JSON, **headers: str) -> Request:
    given = {**headers, **({"content-type": content_type} if content_type else {})}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()],
    }
    return Request(scope, receiver(pieces(raw) if isinstance(raw, bytes) else raw))


def part(name: str, value: bytes, extra: str = "") -> bytes:
    return f'--edge\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value + b"\r\n"


FIELDS = {"prompt": "ein Käfer 🐞 & more", "width": "512", "seed": ""}
AS_MULTIPART = b"".join(part(name, value.encode()) for name, value in FIELDS.items()) + b"--edge--\r\n"


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (json.dumps(FIELDS).encode(), JSON),
        (json.dumps(FIELDS, ensure_ascii=False).encode(), "application/json; charset=utf-8"),
        (b"\xef\xbb\xbf" + json.dumps(FIELDS).encode(), JSON),
        (json.dumps(FIELDS).encode(), None),
        (json.dumps(FIELDS).encode(), "text/plain"),
        (json.dumps(FIELDS).encode(), FORM),
        (json.dumps(FIELDS).encode(), MULTIPART),
        (urlencode(FIELDS).encode(), FORM),
        (urlencode(FIELDS).encode(), "Application/X-WWW-Form-Urlencoded; charset=UTF-8"),
        ("prompt=ein Käfer 🐞 %26 more&width=512&seed=".encode(), FORM),
        (AS_MULTIPART, MULTIPART),
    ],
)
async def test_the_same_fields_come_out_of_every_encoding(raw: bytes, content_type: str | None) -> None:
    assert await read_body(request_of(raw, content_type), CAP) == FIELDS


@pytest.mark.parametrize("content_type", [JSON, FORM, MULTIPART, None])
@pytest.mark.parametrize("raw", [b"", b" \r\n"])
async def test_an_empty_body_has_no_fields(raw: bytes, content_type: str | None) -> None:
    assert await read_body(request_of(raw, content_type), CAP) == {}


@pytest.mark.parametrize("raw", [b"--edge--\r\n", b"--edge--"])
async def test_multipart_without_parts_has_no_fields(raw: bytes) -> None:
    assert await read_body(request_of(raw, MULTIPART), CAP) == {}


async def test_a_file_part_comes_out_as_its_bytes() -> None:
    picture = bytes(range(256)) * 8
    raw = part("init_image", picture, '; filename="a.png"') + part("prompt", b"a star") + b"--edge--\r\n"
    assert await read_body(request_of(raw, MULTIPART), CAP) == {"init_image": picture, "prompt": "a star"}


async def test_a_text_that_is_sent_as_a_blob_is_read_as_text() -> None:
    blob = '; filename="blob"\r\nContent-Type: '
    raw = b"".join(
        [
            part("prompt", "ein Käfer".encode(), blob + "text/plain"),
            part("negative_prompt", "öde".encode("latin-1"), blob + "text/plain; charset=iso-8859-1"),
            part("seed", b"7", blob + "application/octet-stream"),
            part("init_image", b"QUJD" * 8, blob + "text/plain"),
            b"--edge--\r\n",
        ]
    )
    assert await read_body(request_of(raw, MULTIPART), CAP) == {
        "prompt": "ein Käfer", "negative_prompt": "öde", "seed": "7", "init_image": "QUJD" * 8,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["http://a.test/x.png", "data:image/png;base64,QUJD", "QUJD" * 8])
async def test_an_uploaded_file_may_hold_the_picture_as_text(text: str) -> None:
    raw = part("init_image", text.encode(), '; filename="blob"') + b"--edge--\r\n"
    assert await read_body(request_of(raw, MULTIPART), CAP) == {"init_image": text}


@pytest.mark.parametrize("around", ["\N{NO-BREAK SPACE}", "\n", "\N{ZERO WIDTH NO-BREAK SPACE}", "\r\n\t"])
async def test_blanks_around_it_are_nothing(around: str) -> None:
    end = around if around.isspace() else ""
    raw = part("init_image", f"{around}{'QUJD' * 8}{end}".encode(), '; filename="blob"') + b"--edge--\r\n"
    assert await read_body(request_of(raw, MULTIPART), CAP) == {"init_image": "QUJD" * 8}


async def test_bytes_that_are_no_text_stay_bytes_where_text_is_wanted() -> None:
    raw = part("prompt", b"\xff\xfe\x00", '; filename="blob"') + b"--edge--\r\n"
    assert await read_body(request_of(raw, MULTIPART), CAP) == {"prompt": b"\xff\xfe\x00"}


BASE64 = base64.b64encode(bytes(range(200, 256)) * 5).decode()


@pytest.mark.parametrize(
    "text",
    [
        BASE64,
        "data:image/png; charset=utf-8;base64," + BASE64,
        "\r\n".join(BASE64[i : i + 76] for i in range(0, len(BASE64), 76)),
        "\n".join(BASE64[i : i + 3] for i in range(0, len(BASE64), 3)) + "\n",
        BASE64.rstrip("=")[:372] + "AAA+",
    ],
    ids=["bare", "data URI", "lines", "short lines", "plus at the end"],
)
async def test_base64_with_unescaped_plus_is_whole_again_in_a_form(text: str) -> None:
    assert "+" in text
    raw = b"prompt=a+star&init_image=" + quote(text, safe="+ ").encode()
    fields = await read_body(request_of(raw, FORM), CAP)
    assert fields["prompt"] == "a star"
    assert decode_base64(str(fields["init_image"])) == decode_base64(text)


async def test_base64_that_a_form_escapes_and_folds_is_left_whole() -> None:
    folded = "\r\n ".join(BASE64[i : i + 76] for i in range(0, len(BASE64), 76))
    fields = await read_body(request_of(urlencode({"init_image": f" {folded} "}).encode(), FORM), CAP)
    assert decode_base64(str(fields["init_image"])) == decode_base64(BASE64)


async def test_blanks_of_a_url_in_a_form_are_left_alone() -> None:
    fields = await read_body(request_of(b"init_image=http://a.test/x+y.png", FORM), CAP)
    assert fields == {"init_image": "http://a.test/x y.png"}


async def test_a_multipart_text_may_be_as_long_as_the_body() -> None:
    long = b"x" * (2 * 2**20)  # over the parser's own default of 1 MiB
    raw = part("init_image", long) + b"--edge--\r\n"
    assert await read_body(request_of(pieces(raw, 2**16), MULTIPART), 4 * 2**20) == {"init_image": long.decode()}


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (b"[1]", JSON),
        (b"null", JSON),
        (b'"text"', JSON),
        (b"prompt=x", JSON),
        (b'{"prompt": ', JSON),
        (b'{"strength": NaN}', JSON),
        (b'{"strength": -Infinity}', JSON),
        (b'{"seed": ' + b"9" * 5000 + b"}", JSON),
        (b'{"a":' + b"[" * 4000 + b"]" * 4000 + b"}", JSON),
        (b'{"a":' + b'{"a":' * 1500 + b"1" + b"}" * 1501, JSON),
        (b'{"prompt": "\xff\xfe"}', JSON),
        (b'{"prompt": "\xed\xa0\x80"}', JSON),
        (json.dumps(FIELDS).encode("utf-16"), JSON),
        (b"prompt=%ff%fe", FORM),
        (b"prompt=\xff", FORM),
        (b"&".join(b"a=1" for _ in range(1001)), FORM),
        (b"no boundary", "multipart/form-data"),
        (b"not the boundary", MULTIPART),
        (b"--edge\r\nContent-Disposition: form-data\r\n\r\nx\r\n--edge--\r\n", MULTIPART),
        (b"".join(part(str(i), b"", '; filename="x"') for i in range(65)) + b"--edge--\r\n", MULTIPART),
    ],
    ids=lambda value: repr(value[:20]),
)
async def test_what_cannot_be_read_is_unreadable(raw: bytes, content_type: str) -> None:
    with pytest.raises(UnreadableBody):
        await read_body(request_of(raw, content_type), 10 * CAP)


async def test_a_lone_surrogate_escape_is_left_to_the_field_reader() -> None:
    assert await read_body(request_of(rb'{"prompt": "\ud83d"}'), CAP) == {"prompt": "\ud83d"}


async def test_a_body_over_the_cap_stops_being_read() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1000
            yield b" " * 1000

    with pytest.raises(BodyTooLarge):
        await read_body(request_of(endless()), CAP)
    assert sent <= CAP + 1000


async def test_a_body_that_announces_too_much_is_not_read_at_all() -> None:
    asked = False

    async def watched() -> AsyncIterator[bytes]:
        nonlocal asked
        asked = True
        yield b"{}"

    with pytest.raises(BodyTooLarge):
        await read_body(request_of(watched(), content_length=str(CAP + 1)), CAP)
    assert not asked


async def test_a_body_of_just_the_cap_is_read() -> None:
    raw = b"{}" + b" " * (CAP - 2)
    assert await read_body(request_of(raw, content_length=str(CAP)), CAP) == {}


async def test_a_client_that_goes_away_leaves_an_unreadable_body() -> None:
    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(UnreadableBody):
        await read_body(Request({"type": "http", "method": "POST", "headers": []}, receive), CAP)


@settings(max_examples=150, deadline=None)
@given(raw=st.binary(max_size=300), content_type=st.sampled_from([JSON, FORM, MULTIPART, "text/plain", "a;b=\x80", ""]))
async def test_any_bytes_become_fields_or_are_unreadable(raw: bytes, content_type: str) -> None:
    with contextlib.suppress(UnreadableBody):
        assert isinstance(await read_body(request_of(raw, content_type), CAP), dict)


@pytest.mark.parametrize(
    ("body", "headers", "key"),
    [
        ({"key": "abc"}, {}, "abc"),
        ({}, {"authorization": "Bearer abc"}, "abc"),
        ({}, {"authorization": "bearer  abc "}, "abc"),
        ({}, {"key": "abc"}, "abc"),
        ({"key": "abc"}, {"authorization": "Bearer other"}, "abc"),
        ({"key": ""}, {"authorization": "Bearer abc"}, "abc"),
        ({"key": None}, {"key": "abc"}, "abc"),
        ({"key": 7}, {"key": "abc"}, "abc"),
        ({}, {"authorization": "Basic abc"}, None),
        ({}, {"authorization": "Bearer"}, None),
        ({"key": "null"}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_key_is_found_in_the_body_then_as_bearer_then_as_header(
    body: dict[str, object], headers: dict[str, str], key: str | None
) -> None:
    assert presented_key(request_of(b"", None, **headers), body) == key
