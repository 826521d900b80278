"""A picture's file less everything that makes no pixels: what the readers for PNG, JPEG and WebP hand on.

Metadata, trailers and damage outside of the pixels never reach Pillow, so they can fail no picture.
"""

from dataclasses import dataclass

LARGEST_PROFILE = 8 * 2**20
"""Bytes of an ICC profile; printers' tables take up to 3 MiB. A larger one is passed over."""
MOST_MISSING = 0.1
"""The share of a picture's rows that may be cut off at its end, as browsers show it."""


@dataclass(frozen=True, slots=True)
class Essence:
    """The smallest file with the same pixels, and what says how they are meant."""

    data: bytes
    profile: bytes | None = None
    """An ICC profile, as it came or made of what the file says of its colours."""
    exif: bytes | None = None
    key: tuple[int, ...] | None = None
    """PNG: the grey or the RGB that is transparent, in the file's own depth."""
    depth: int = 8
    """Bits of a sample."""
    cut_off: bool = False
    """JPEG: the end marker was not there."""
