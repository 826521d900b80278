"""Sizes and crops: never stretched, never out of range."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.inputs.fit import cover_crop, target_size

SIDE = st.integers(1, 20_000)
ASKED = st.none() | st.integers(64, 1024)


@settings(deadline=None)
@given(SIDE, SIDE, ASKED, ASKED)
def test_every_size_is_a_multiple_of_eight_within_the_contract(
    init_width: int, init_height: int, width: int | None, height: int | None
) -> None:
    for side in target_size(init_width, init_height, width, height):
        assert side % 8 == 0
        assert 64 <= side <= 1024


@pytest.mark.parametrize(
    ("init", "asked", "expected"),
    [
        ((512, 512), (None, None), (512, 512)),
        ((515, 509), (None, None), (512, 504)),
        ((3000, 2000), (None, None), (1024, 680)),
        ((2000, 3000), (None, None), (680, 1024)),
        ((16, 16), (None, None), (64, 64)),
        ((8000, 80), (None, None), (1024, 64)),
        ((512, 512), (777, 71), (776, 64)),
        ((2048, 1024), (256, None), (256, 512)),
        ((2048, 1024), (None, 256), (1024, 256)),
    ],
)
def test_a_side_not_asked_for_is_the_pictures_own(
    init: tuple[int, int], asked: tuple[int | None, int | None], expected: tuple[int, int]
) -> None:
    assert target_size(*init, *asked) == expected


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 160), st.integers(1, 160))
def test_any_picture_covers_any_size(have_width: int, have_height: int, width: int, height: int) -> None:
    pixels = np.full((have_height, have_width, 3), (200, 30, 90), np.uint8)
    cropped = cover_crop(pixels, width, height)
    assert cropped.shape == (height, width, 3)
    assert (cropped == pixels[0, 0]).all()


def test_a_wide_picture_loses_its_sides_alike() -> None:
    pixels = np.zeros((64, 256, 3), np.uint8)
    pixels[:, :96] = (255, 0, 0)
    pixels[:, 96:160] = (0, 255, 0)
    pixels[:, 160:] = (0, 0, 255)
    cropped = cover_crop(pixels, 64, 64)
    assert (cropped == (0, 255, 0)).all()


def test_a_circle_stays_round() -> None:
    y, x = np.mgrid[:200, :400]
    disc = ((x - 200) ** 2 + (y - 100) ** 2 < 80**2).astype(np.uint8) * 255
    cropped = cover_crop(np.dstack([disc] * 3), 128, 96)[..., 0] > 127
    across, down = cropped.any(axis=0).sum(), cropped.any(axis=1).sum()
    assert abs(int(across) - int(down)) <= 1


def test_a_picture_of_the_right_size_comes_back_equal_in_memory_of_its_own() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 72, 3), np.uint8)
    pixels.flags.writeable = False
    cropped = cover_crop(pixels, 72, 64)
    assert (cropped == pixels).all()
    assert cropped.flags.writeable
