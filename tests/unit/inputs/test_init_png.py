"""The init image as the records keep it."""

import numpy as np
import pytest

from serve_app.inputs.init_png import init_of_png, png_of_init


def test_what_is_kept_is_the_very_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    assert np.array_equal(init_of_png(png_of_init(pixels)), pixels)


@pytest.mark.parametrize("data", [b"", b"not a picture", png_of_init(np.zeros((64, 64, 3), np.uint8))[:60]])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises((ValueError, OSError)):
        init_of_png(data)
