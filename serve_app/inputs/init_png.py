"""The init image as the records keep it: a PNG of the very pixels that a job starts from."""

import io
import zlib

import numpy as np
from PIL import Image

from serve_app.messages import Pixels

COMPRESS_LEVEL = 1
COMPRESS_TYPE = zlib.Z_RLE
"""Runs only: the quickest, and smaller than the default on what PNG's filters leave."""


def png_of_init(pixels: Pixels) -> bytes:
    """RGB (height, width, 3) without loss."""
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG", compress_level=COMPRESS_LEVEL, compress_type=COMPRESS_TYPE)
    return png.getvalue()


def init_of_png(png: bytes) -> Pixels:
    """What `png_of_init` was given. Raises ValueError or OSError for bytes that it did not make."""
    return np.array(Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGB"), dtype=np.uint8)
