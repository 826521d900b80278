"""What pictures are taken, and what becomes of their pixels. Through the real child process."""

import struct
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio
from PIL import Image

from serve_app.config import InputsConfig
from serve_app.errors import InvalidFields
from serve_app.inputs.decode import ImageDecoder
from tests.unit.inputs.picture_files import chunk, encoded, png

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_AN_IMAGE = "The init image must be an image."
WRONG_TYPE = "The init image must be a file of type: png, jpeg, webp."
CONFIG = InputsConfig(max_image_bytes=2**20, max_image_pixels=1_000_000, decode_timeout_s=20)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def decoder() -> AsyncIterator[ImageDecoder]:
    decoder = ImageDecoder(CONFIG)
    yield decoder
    await decoder.close()


async def sentence(decoder: ImageDecoder, data: bytes) -> str:
    with pytest.raises(InvalidFields) as caught:
        await decoder.decode(data)
    [message] = caught.value.fields["init_image"]
    return message


@pytest.mark.parametrize(
    ("image_format", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 95})]
)
async def test_the_three_formats_give_their_pixels(
    decoder: ImageDecoder, image_format: str, options: dict[str, object]
) -> None:
    expected = np.zeros((40, 56, 3), np.uint8)
    expected[:20, :28] = (250, 120, 10)
    pixels = await decoder.decode(encoded(Image.fromarray(expected), image_format, **options))
    assert pixels.shape == (40, 56, 3)
    assert np.abs(pixels.astype(int) - expected)[4:16, 4:24].max() <= 3


@pytest.mark.parametrize("image_format", ["GIF", "BMP", "TIFF", "ICO", "AVIF"])
async def test_other_formats_are_refused_by_content(decoder: ImageDecoder, image_format: str) -> None:
    assert await sentence(decoder, encoded(Image.new("RGB", (32, 32)), image_format)) == WRONG_TYPE


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"<html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBPVP8 ", bytes(1000)],
)
async def test_what_is_no_picture_is_refused(decoder: ImageDecoder, data: bytes) -> None:
    assert await sentence(decoder, data) == NOT_AN_IMAGE


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
async def test_a_truncated_picture_is_refused(decoder: ImageDecoder, image_format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), image_format)
    assert await sentence(decoder, data[: len(data) * 2 // 3]) == NOT_AN_IMAGE


@pytest.mark.parametrize(
    "data",
    [
        png(50_000, 50_000, 8, 2, b""),
        png(20_000, 20_000, 1, 0, bytes(20_000 * 2501)),
        png(1001, 1000, 8, 2, b""),
        b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff\x3f\0" * 2,
    ],
    ids=["header only", "real bomb of 400 megapixels", "one row over the cap", "webp of 268 megapixels"],
)
async def test_a_decompression_bomb_is_refused_from_its_header(decoder: ImageDecoder, data: bytes) -> None:
    await decoder.start()
    begun = cpu_seconds()
    assert await sentence(decoder, data) == "The init image may not be greater than 1000000 pixels."
    assert cpu_seconds() - begun < 2


def cpu_seconds() -> float:
    """What this process and the decoder's child have used of the processor."""
    processes = [psutil.Process(), *psutil.Process().children()]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


async def test_too_many_bytes_are_refused(decoder: ImageDecoder) -> None:
    assert await sentence(decoder, bytes(2**20 + 1)) == "The init image may not be greater than 1048576 bytes."


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_exif_orientation_is_honoured(decoder: ImageDecoder, image_format: str, orientation: int) -> None:
    # Where the stored picture's top-left corner is shown, as (bottom?, right?): EXIF 2.32, tag 274.
    corner = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[orientation]
    image = Image.new("RGB", (64, 32))
    image.paste((255, 255, 255), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = await decoder.decode(encoded(image, image_format, exif=exif))
    assert pixels.shape == ((32, 64, 3) if orientation <= 4 else (64, 32, 3))
    assert pixels[-8 if corner[0] else 8, -8 if corner[1] else 8].min() > 240
    assert pixels.mean() < 64


async def test_broken_exif_does_not_spoil_a_picture(decoder: ImageDecoder) -> None:
    data = encoded(Image.new("RGB", (16, 16), "red"), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")
    assert (await decoder.decode(data))[8, 8].tolist() == [255, 0, 0]


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
async def test_what_is_transparent_shows_white(decoder: ImageDecoder, image_format: str) -> None:
    image = Image.new("RGBA", (32, 16), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 16, 16))
    image.putpixel((20, 8), (0, 0, 0, 128))
    pixels = await decoder.decode(encoded(image, image_format, lossless=True))
    assert pixels[8, 4].tolist() == [255, 255, 255]
    assert pixels[8, 28].tolist() == [255, 0, 0]
    assert abs(int(pixels[8, 20, 0]) - 127) <= 1


async def test_transparency_of_palettes_and_grey_shows_white(decoder: ImageDecoder) -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((0, 0), 0)
    pixels = await decoder.decode(encoded(palette, "PNG", transparency=0))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[4, 4].tolist() == [200, 100, 50]
    grey = Image.new("LA", (8, 8), (90, 0))
    grey.putpixel((4, 4), (90, 255))
    pixels = await decoder.decode(encoded(grey, "PNG"))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[4, 4].tolist() == [90, 90, 90]


@pytest.mark.parametrize("mode", ["1", "L"])
async def test_grey_and_bitmaps_become_rgb(decoder: ImageDecoder, mode: str) -> None:
    pixels = await decoder.decode(encoded(Image.new(mode, (8, 8), 255), "PNG"))
    assert pixels.shape == (8, 8, 3)
    assert (pixels == 255).all()


async def test_sixteen_bit_pictures_are_scaled_and_not_clipped(decoder: ImageDecoder) -> None:
    levels = [0, 1000, 32768, 65535]
    rows = b"\0" + struct.pack("!4H", *levels)
    grey = await decoder.decode(png(4, 1, 16, 0, rows))
    assert grey[0, :, 1].tolist() == [0, 4, 128, 255]
    rgb = await decoder.decode(png(1, 1, 16, 2, b"\0" + struct.pack("!3H", 65535, 32768, 0)))
    assert rgb[0, 0].tolist() == [255, 128, 0]


async def test_a_sixteen_bit_picture_with_a_transparent_colour_is_taken(decoder: ImageDecoder) -> None:
    key = chunk(b"tRNS", struct.pack("!3H", 65535, 0, 0))
    rows = b"\0" + struct.pack("!6H", 65535, 0, 0, 0, 65535, 0)
    assert (await decoder.decode(png(2, 1, 16, 2, rows, key)))[0, 1].tolist() == [0, 255, 0]


async def test_cmyk_is_not_inverted(decoder: ImageDecoder) -> None:
    pixels = await decoder.decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    red, green, blue = pixels[8, 8].tolist()
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
async def test_only_the_first_frame_of_an_animation_is_read(decoder: ImageDecoder, image_format: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue", "blue")]
    data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], lossless=True)
    assert (await decoder.decode(data))[8, 8].tolist() == [255, 0, 0]


async def test_a_phones_48_megapixels_are_taken_at_a_scale_that_covers_a_job_and_in_little_memory() -> None:
    decoder = ImageDecoder(InputsConfig())
    photo = Image.linear_gradient("L").resize((8064, 6048)).convert("RGB")
    pixels = await decoder.decode(encoded(photo, "JPEG", quality=50))
    status = Path(f"/proc/{decoder.child_pid}/status").read_text()
    (peak_kib,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    await decoder.close()
    assert pixels.shape == (1512, 2016, 3)
    assert peak_kib < 128 * 1024, "48 megapixels of RGB alone are 139 MiB"


async def test_a_large_png_is_brought_down_by_whole_factors() -> None:
    decoder = ImageDecoder(InputsConfig())
    pixels = await decoder.decode(encoded(Image.linear_gradient("L").resize((4200, 6300)), "PNG", compress_level=1))
    await decoder.close()
    assert pixels.shape == (3150, 2100, 3)
    assert abs(int(pixels[1575, 1000, 0]) - 127) <= 1
