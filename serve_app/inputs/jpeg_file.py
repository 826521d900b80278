"""JPEG without what makes no pixels: comments and application segments, but for the two that name its colour space.

Reads segments up to the first scan (ITU T.81, annex B); all behind it is the pixels'.
"""

import struct

from serve_app.inputs.essence import LARGEST_PROFILE, Essence

START, END = b"\xff\xd8", b"\xff\xd9"
SCAN, EXIF, ICC, COMMENT = 0xDA, 0xE1, 0xE2, 0xFE
APPLICATION = range(0xE0, 0xF0)
WITHOUT_LENGTH = (0x00, 0x01, *range(0xD0, 0xD9))
COLOUR_SPACE = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}
"""The segments that libjpeg looks at: how each begins, and how long a whole one is at least."""
EXIF_HEAD = b"Exif\0"
ICC_HEAD = b"ICC_PROFILE\0"

Profile = dict[int, bytes]
"""Its parts by their numbers."""


def essence(data: bytes) -> Essence:
    """The pixels' own segments, with an end marker. Raises ValueError or struct.error where there is no scan."""
    kept, exif, parts, announced, at = [START], None, Profile(), 0, len(START)
    while True:
        at, marker = _next_marker(data, at)
        if marker == SCAN:
            break
        (length,) = struct.unpack_from("!H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if marker == EXIF and body.startswith(EXIF_HEAD):
            exif = exif or body[len(EXIF_HEAD) + 1 :]
        elif marker == ICC and body.startswith(ICC_HEAD):
            number, announced = struct.unpack_from("!BB", body + b"\0\0", len(ICC_HEAD))
            parts.setdefault(number, body[len(ICC_HEAD) + 2 :])
        elif _makes_pixels(marker, body):
            kept.append(data[at : at + 2 + length])
        at += 2 + max(2, length)
    cut_off = END not in data[at:]
    kept += [data[at:], *([END] if cut_off else [])]
    return Essence(b"".join(kept), profile=_whole(parts, announced), exif=exif, cut_off=cut_off)


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """Where the next segment's marker stands and which it is; fill bytes and junk before it are passed over."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in WITHOUT_LENGTH:
            at += 2
        elif marker == END[1]:
            break
        else:
            return at, marker
    raise ValueError("there is no scan")


def _makes_pixels(marker: int, body: bytes) -> bool:
    if marker in COLOUR_SPACE:
        start, least = COLOUR_SPACE[marker]
        return body.startswith(start) and len(body) >= least
    return marker not in APPLICATION and marker != COMMENT


def _whole(parts: Profile, announced: int) -> bytes | None:
    """The profile, where all of its parts are there."""
    profile = b"".join(parts[number] for number in sorted(parts))
    return profile if len(parts) == announced > 0 and len(profile) <= LARGEST_PROFILE else None
