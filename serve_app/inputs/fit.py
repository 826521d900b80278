"""Which size a job gets, and how its init image is brought to that size.

Pure arithmetic and one Pillow resize; where the pixels come from is not its business.
"""

import numpy as np
from PIL import Image

from serve_app.messages import Pixels

LONGEST_SIDE = 1024
SHORTEST_SIDE = 64
MULTIPLE = 8


def target_size(init_width: int, init_height: int, width: int | None, height: int | None) -> tuple[int, int]:
    """The (width, height) in pixels of a job, both multiples of 8 and at least 64.

    A side that is not asked for is the init image's own, after the image is fitted into
    1024x1024 keeping its aspect; small images are not enlarged for it.
    """
    longest = max(init_width, init_height, LONGEST_SIDE)
    return (
        _round_down(init_width * LONGEST_SIDE // longest if width is None else width),
        _round_down(init_height * LONGEST_SIDE // longest if height is None else height),
    )


def _round_down(side: int) -> int:
    return max(SHORTEST_SIDE, side - side % MULTIPLE)


def cover_crop(pixels: Pixels, width: int, height: int) -> Pixels:
    """A new array of shape (height, width, 3): scaled to cover, then cut about the centre, never stretched."""
    box = _centre_box(pixels.shape[1], pixels.shape[0], width, height)
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS, box=box)
    return np.array(resized, dtype=np.uint8)


def _centre_box(have_width: int, have_height: int, width: int, height: int) -> tuple[float, float, float, float]:
    """The largest centred part of the given size's aspect: left, top, right, bottom in source pixels."""
    scale = min(have_width / width, have_height / height)
    left = max(0.0, (have_width - width * scale) / 2)
    top = max(0.0, (have_height - height * scale) / 2)
    return left, top, have_width - left, have_height - top
