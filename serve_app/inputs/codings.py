"""Content codings of an answer (RFC 9110, 8.4): those that are real are undone, within a bound, the others passed over.

Servers write many things into Content-Encoding that are none: a charset, base64, aws-chunked, nothing at all.
"""

import zlib
from collections.abc import Iterable, Sequence

GZIP = ("gzip", "x-gzip")
DEFLATE = ("deflate",)
STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
PIECE = 65536


def is_picture(body: bytes | bytearray) -> bool:
    """Whether a picture stands here as it is, whatever the headers say."""
    return body.startswith(STARTS)


def codings_of(header: str) -> tuple[str, ...]:
    """Those that a header names and that can be undone, the last applied first."""
    names = [name.partition(";")[0].strip(' \t"').lower() for name in header.split(",")]
    return tuple(name for name in reversed(names) if name in (*GZIP, *DEFLATE))


def decoded(body: bytes, codings: Sequence[str], cap: int) -> bytes:
    """The body out of its codings, cut off where it is longer than `cap`; as it is where it is in none of them."""
    for coding in codings:
        body = _first_that_fits(body, _windows(coding), cap)
    return body


def _windows(coding: str) -> tuple[int, ...]:
    """zlib's names of the formats that servers mean; what is called deflate has zlib's head, or none."""
    gzip = zlib.MAX_WBITS | 16
    return (gzip, zlib.MAX_WBITS) if coding in GZIP else (zlib.MAX_WBITS, gzip, -zlib.MAX_WBITS)


def _first_that_fits(body: bytes, windows: Iterable[int], cap: int) -> bytes:
    return next((whole for window in windows if (whole := _inflated(body, window, cap))), body)


def _inflated(body: bytes, window: int, cap: int) -> bytes:
    """As much as can be had, up to a byte over the cap; a missing end and garbage behind it are passed over."""
    out, rest = bytearray(), body
    while rest and len(out) <= cap:  # gzip may have several members
        inflater = zlib.decompressobj(window)
        try:
            out += inflater.decompress(rest, cap + 1 - len(out))
        except zlib.error:
            break
        rest = inflater.unused_data if inflater.eof else b""
    return bytes(out)
