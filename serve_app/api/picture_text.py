"""Pictures that come as text: what a form did to their base64, and which uploaded bytes are such a text.

Works on text alone; what the base64 decodes to is the business of `inputs.decode`.
"""

import re

from serve_app.urls import DATA_HEAD, looks_like_url

_LINE_BREAK = re.compile(r"[\r\n]+")
_FOLD = re.compile(r" +[\r\n]+ *|[\r\n]+ +")
_PICTURE_AS_TEXT = re.compile(r"(?:[a-z][a-z0-9+.-]*://|data:|[A-Za-z0-9+/_-]{16})", re.IGNORECASE)


def with_plus(value: str) -> str:
    """A form's value whose unescaped `+` became blanks, with them again; a URL is left as it is."""
    if " " not in value or looks_like_url(value):
        return value
    head = DATA_HEAD.match(value)
    start = head.end() if head else 0
    return value[:start] + _plus_for_blanks(value[start:])


def _plus_for_blanks(payload: str) -> str:
    """Blanks at the ends and beside line breaks may be a `+` or nothing: base64 has whole groups of four."""
    inner = payload.strip(" ")
    folded = _FOLD.sub("\n", inner)
    readings = [inner, payload.lstrip(" "), folded]
    if len(_FOLD.findall(inner)) == len(_LINE_BREAK.findall(inner)) > 0:  # seldom does a + stand at every line's end
        readings.insert(0, folded)
    likely = next((one for one in readings if len(_LINE_BREAK.sub("", one)) % 4 == 0), inner)
    return likely.replace(" ", "+")


def text_of_bytes(data: bytes) -> str | bytes:
    """A URL, data URI or base64 that was uploaded as a file; bytes of anything else are what they are."""
    try:
        text = data.decode("utf-8-sig").strip()  # of blanks of every alphabet
    except UnicodeDecodeError:
        return data
    return text if text.isascii() and _PICTURE_AS_TEXT.match(text) else data
