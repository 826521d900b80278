"""Reads a request's body, JSON, form or multipart alike, into one dict, and finds the client's key.

Nothing is buffered beyond the cap. What the values mean is `wire`'s business.
"""

import json
from collections.abc import AsyncGenerator
from email.message import Message
from typing import NoReturn
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from serve_app.api.fields import PICTURE_FIELDS
from serve_app.api.picture_text import text_of_bytes, with_plus
from serve_app.api.values import is_given
from serve_app.errors import BodyTooLarge, UnreadableBody

Body = dict[str, object]

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
MAX_FIELDS = 1000
MAX_FILES = 64
"""Browsers send a text that is a Blob as a file, so that every field may come as one."""
_FEED = 64 * 1024
"""Bytes given to the multipart parser at once."""


async def read_body(request: Request, max_bytes: int) -> Body:
    """The fields of the body; an empty body has none. A picture's file part is its bytes, any other one its text.

    Raises BodyTooLarge over `max_bytes`, UnreadableBody where it is no object in any of the three forms.
    """
    raw = await _read_capped(request, max_bytes)
    if not raw.strip():
        return {}
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    looks_like_json = raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    if content_type == MULTIPART and not looks_like_json:
        return await _from_multipart(request.headers, raw, max_bytes)
    if content_type == FORM and not looks_like_json:
        return _from_form(raw)
    return _from_json(raw)


def presented_key(request: Request, body: Body) -> str | None:
    """The key that the client shows: in the body, as a bearer token, or as a header named key."""
    key = body.get("key")
    if isinstance(key, str) and is_given(key):
        return key.strip()
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("key", "").strip() or None


async def _read_capped(request: Request, max_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and len(announced) < 20 and int(announced) > max_bytes:
        raise BodyTooLarge(f"{announced} bytes announced")
    raw = bytearray()
    try:
        async for chunk in request.stream():
            if len(raw) + len(chunk) > max_bytes:
                raise BodyTooLarge(f"more than {max_bytes} bytes")
            raw += chunk
    except ClientDisconnect as gone:
        raise UnreadableBody("the client went away") from gone
    return bytes(raw)


def _from_json(raw: bytes) -> Body:
    try:
        value = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # bad UTF-8 and endless integers are ValueErrors too
        raise UnreadableBody(f"not JSON: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise UnreadableBody(f"JSON, but a {type(value).__name__}")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _from_form(raw: bytes) -> Body:
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise UnreadableBody(f"not a form: {type(error).__name__}") from error
    return {name: with_plus(value) if name in PICTURE_FIELDS else value for name, value in pairs}


async def _from_multipart(headers: Headers, raw: bytes, max_bytes: int) -> Body:
    parser = MultiPartParser(
        headers, _in_pieces(raw), max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=max_bytes
    )
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError) as error:  # ValueError: charsets that are no text encoding
        raise UnreadableBody(f"not multipart: {type(error).__name__}") from error
    try:
        return {name: await _part_value(name, value) for name, value in form.multi_items()}
    finally:
        await form.close()


async def _part_value(name: str, value: str | UploadFile) -> object:
    """A text, whether it came as one or as a Blob; bytes where they are a picture's or no text."""
    if isinstance(value, str):
        return value
    data = await value.read()
    return text_of_bytes(data) if name in PICTURE_FIELDS else _text_of_blob(data, value.headers)


def _text_of_blob(data: bytes, headers: Headers) -> object:
    charset = Message()
    charset["content-type"] = headers.get("content-type", "text/plain")
    try:
        return data.decode(charset.get_content_charset("utf-8-sig"))
    except (ValueError, LookupError):  # no text: the field says that it wants one
        return data


async def _in_pieces(raw: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(raw), _FEED):
        yield raw[start : start + _FEED]
