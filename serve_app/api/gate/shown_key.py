"""The key that a request shows before its body has come: in a header, or in what has come of the body so far.

It only decides how much of the body is read. Whether the request may do what it asks is judged on the whole of it.
"""

import re
from urllib.parse import unquote_plus

from starlette.datastructures import Headers

LONGEST = 512
"""Bytes of a key, as they are sent."""
_JSON = re.compile(rb'(?<!\\)"key"\s*:\s*"([^"\\]{1,512})"')
_FORM = re.compile(rb"(?:^|&)key=([^&\s]{1,512})&")
_MULTIPART = re.compile(rb'name="?key"?\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,512})\r\n')
_OVERLAP = 2 * LONGEST


def header_key(headers: Headers) -> str | None:
    """The key as a bearer token, or in a header named key."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("key", "").strip() or None


class KeyFinder:
    """Looks for a field named key in a body that comes in pieces, whatever its form."""

    def __init__(self) -> None:
        self._tail = b""

    def found(self, piece: bytes) -> list[str]:
        """The keys that are complete now, and were not before."""
        text, self._tail = self._tail + piece, (self._tail + piece)[-_OVERLAP:]
        old = len(text) - len(piece)
        matches = [match for pattern in (_JSON, _FORM, _MULTIPART) for match in pattern.finditer(text)]
        return [_decoded(match) for match in matches if match.end() > old]


def _decoded(match: re.Match[bytes]) -> str:
    text = match[1].decode(errors="replace")
    return (unquote_plus(text) if match.re is _FORM else text).strip()
