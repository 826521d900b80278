"""WebP without what makes no pixels: the first frame's chunks in a RIFF of the right size (RFC 9649)."""

import struct
from collections.abc import Iterator

from serve_app.inputs.essence import LARGEST_PROFILE, MOST_MISSING, Essence

EXTENDED, LOSSY, PROFILE, EXIF = b"VP8X", b"VP8 ", b"ICCP", b"EXIF"
PIXELS = (EXTENDED, b"ANIM", b"ANMF", b"ALPH", LOSSY, b"VP8L")
"""The chunks that a decoder needs, in the order of the file format."""
SAYS_METADATA = 0x20 | 0x08 | 0x04
"""The flags for a profile, EXIF and XMP."""


def essence(data: bytes) -> Essence:
    """The pixels' own chunks, the first of each kind."""
    chunks: dict[bytes, bytes] = {}
    for name, body in _chunks(data):
        chunks.setdefault(name, body)
    if extended := chunks.get(EXTENDED):
        chunks[EXTENDED] = bytes([extended[0] & ~SAYS_METADATA]) + extended[1:]
    kept = b"".join(_chunk(name, chunks[name]) for name in PIXELS if name in chunks)
    profile = chunks.get(PROFILE)
    return Essence(
        b"RIFF" + struct.pack("<I", 4 + len(kept)) + b"WEBP" + kept,
        profile=profile if profile and len(profile) <= LARGEST_PROFILE else None,
        exif=chunks.get(EXIF),
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each chunk's name and body, as far as the file goes; what RIFF's head says of its size is passed over."""
    start = 12
    while start + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, start)
        body = data[start + 8 : start + 8 + size]
        missing = size - len(body)
        # A lossy picture's last rows come out smooth; the lossless reader refuses a cut whatever stands there.
        yield name, body + bytes(missing) if name == LOSSY and missing <= MOST_MISSING * size else body
        start += 8 + size + size % 2


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
