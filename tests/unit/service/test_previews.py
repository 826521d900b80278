"""Previews: large enough to look at, every sample in its place."""

import io

import numpy as np
import pytest
from PIL import Image

from models.pocket.world import Scene, draw
from serve_app.engine.loop import reduced
from serve_app.messages import Pixels
from serve_app.service.previews import LEAST_SIDE, enlarged, preview_png

GREYS = (50, 100, 150, 200)


def tiles(count: int, height: int, width: int) -> Pixels:
    """Plain pictures, each of its own grey."""
    return np.stack([np.full((height, width, 3), grey, np.uint8) for grey in GREYS[:count]])


def shown(png: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (8, 8, (128, 128)),  # 64 x 64
        (32, 32, (128, 128)),
        (8, 128, (8, 128)),  # 64 x 1024
        (128, 8, (128, 8)),
        (96, 128, (96, 128)),
        (25, 40, (80, 128)),
        (9, 14, (82, 128)),
    ],
)
def test_a_sample_has_at_least_128_pixels_on_its_long_side_and_keeps_its_shape(
    height: int, width: int, size: tuple[int, int]
) -> None:
    picture = shown(preview_png(tiles(1, height, width)))
    assert picture.shape == (*size, 3)
    assert max(size) >= LEAST_SIDE
    assert (picture == GREYS[0]).all()


@pytest.mark.parametrize(
    ("count", "grid"), [(1, [[50]]), (2, [[50, 100]]), (3, [[50, 100], [150, 0]]), (4, [[50, 100], [150, 200]])]
)
def test_samples_stand_in_rows_from_the_left_and_nothing_runs_over_their_edges(
    count: int, grid: list[list[int]]
) -> None:
    picture = shown(preview_png(tiles(count, 8, 16)))
    rows, columns = len(grid), len(grid[0])
    assert picture.shape == (rows * 64, columns * 128, 3)
    for row in range(rows):
        for column in range(columns):
            tile = picture[row * 64 : (row + 1) * 64, column * 128 : (column + 1) * 128]
            assert (tile == grid[row][column]).all()


def test_a_picture_that_has_ended_is_shown_as_small_as_the_others() -> None:
    star = draw(Scene("star", "red", "blue"), 64)
    assert reduced(star[:, :32]).shape == (8, 4, 3)
    again = enlarged(reduced(star))
    assert np.abs(again[4, 4].astype(int) - star[2, 2]).max() < 16
