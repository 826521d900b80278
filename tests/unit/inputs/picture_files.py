"""Files of pictures made byte by byte, for what no encoder writes."""

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    """The file that Pillow makes of it."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    """A PNG chunk, with a checksum of one's own where that is given."""
    checksum = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", checksum)


def png(width: int, height: int, depth: int, color: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG of these rows (each with its filter type), with extra chunks before the pixels."""
    header = chunk(b"IHDR", struct.pack("!IIBBBBB", width, height, depth, color, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows, 9))
    return SIGNATURE + header + b"".join(extra) + data + chunk(b"IEND", b"")


def png_with(pixels: npt.NDArray[np.uint8], *extra: bytes) -> bytes:
    """An RGB picture as PNG with extra chunks before the pixels."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return png(width, height, 8, 2, rows, *extra)


def segment(marker: int, body: bytes) -> bytes:
    """A JPEG segment."""
    return bytes([0xFF, marker]) + struct.pack("!H", len(body) + 2) + body


def webp_chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    """A WebP chunk, with a size of one's own where that is given."""
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def smooth(height: int = 48, width: int = 64) -> npt.NDArray[np.uint8]:
    """A picture in many colours that every format keeps well."""
    y, x = np.mgrid[0:height, 0:width]
    bands = (255 * x / (width - 1), 255 * y / (height - 1), 255 - 120 * x / (width - 1) - 120 * y / (height - 1))
    return np.stack(bands, -1).astype(np.uint8)
