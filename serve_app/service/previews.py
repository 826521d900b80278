"""Previews as watchers see them: all samples of a job in one sheet, each large enough to look at."""

import io
import math

import numpy as np
from PIL import Image

from serve_app.messages import Pixels

LEAST_SIDE = 128
"""Pixels of a sample's long side."""


def preview_png(tiles: Pixels) -> bytes:
    """One PNG of small pictures (samples, height, width, 3), in rows from the left as `sheet` lays them."""
    png = io.BytesIO()
    Image.fromarray(sheet([enlarged(tile) for tile in tiles])).save(png, "PNG")
    return png.getvalue()


def enlarged(tile: Pixels) -> Pixels:
    """The tile itself where its long side has LEAST_SIDE, else smoothly scaled to it."""
    height, width = tile.shape[:2]
    scale = LEAST_SIDE / max(height, width)
    if scale <= 1:
        return tile
    size = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(tile).resize(size, Image.Resampling.BICUBIC))


def sheet(tiles: list[Pixels]) -> Pixels:
    """Pictures of one size in a grid: one; two side by side; three and four in two rows, what is left over black."""
    columns = math.ceil(math.sqrt(len(tiles)))
    filled = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % columns)]
    rows = [np.hstack(filled[start : start + columns]) for start in range(0, len(filled), columns)]
    return np.vstack(rows)
