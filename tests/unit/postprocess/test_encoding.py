"""A PNG holds the very pixels and the generation parameters, the same bytes each time."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from models.pocket.world import Scene, draw
from serve_app.messages import Pixels
from serve_app.postprocess.encode import encode_png

PARAMETERS = "a red star\nNegative prompt: blurry\nSteps: 20, Sampler: DDIM, CFG scale: 7.5, Seed: 42, Size: 512x512"


@pytest.fixture
def star() -> Pixels:
    return draw(Scene("star", "red", "blue"), 64)


def opened(png: bytes) -> PngImagePlugin.PngImageFile:
    picture = Image.open(io.BytesIO(png), formats=["PNG"])
    assert isinstance(picture, PngImagePlugin.PngImageFile)
    picture.load()
    return picture


def test_pixels_come_back_exactly() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 72, 3), dtype=np.uint8)
    picture = opened(encode_png(noise, PARAMETERS))
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), noise)


@pytest.mark.parametrize(
    ("parameters", "chunk"),
    [(PARAMETERS, b"tEXt"), ("café", b"tEXt"), ("красная звезда ★ 星", b"iTXt"), ("", b"tEXt")],
)
def test_parameters_come_back_from_the_text_chunk(star: Pixels, parameters: str, chunk: bytes) -> None:
    png = encode_png(star, parameters)
    assert opened(png).text == {"parameters": parameters}
    assert chunk + b"parameters\0" in png


@pytest.mark.parametrize(("parameters", "stored"), [("a\0b", "ab"), ("a \ud800 b", "a ? b")])
def test_text_that_png_cannot_hold_does_not_fail_the_picture(star: Pixels, parameters: str, stored: str) -> None:
    assert opened(encode_png(star, parameters)).text == {"parameters": stored}


def test_the_same_input_gives_the_same_bytes(star: Pixels) -> None:
    assert encode_png(star, PARAMETERS) == encode_png(star.copy(), PARAMETERS)
    assert encode_png(star, PARAMETERS) != encode_png(star, PARAMETERS + ".")


def test_read_only_and_strided_pixels_are_encoded_too(star: Pixels) -> None:
    mirrored = star[:, ::-1]
    mirrored.setflags(write=False)
    np.testing.assert_array_equal(np.asarray(opened(encode_png(mirrored, ""))), mirrored)
