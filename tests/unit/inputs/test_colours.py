"""Colours are what the picture's profile says: pixels are sRGB when a job starts."""

import io
import struct
import zlib
from collections.abc import AsyncIterator, Callable

import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio
from PIL import Image, ImageCms

from serve_app.config import InputsConfig
from serve_app.inputs.colour import D65, PRIMARIES, REC_709, matrix_profile, srgb_curve
from serve_app.inputs.decode import ImageDecoder
from tests.unit.inputs.picture_files import chunk, encoded, png_with, smooth

pytestmark = pytest.mark.asyncio(loop_scope="module")

Curve = Callable[[float], float]
PIXELS = smooth()
IMAGE = Image.fromarray(PIXELS)
D50_XY = (0.3457, 0.3585)
SPACES: dict[str, tuple[tuple[tuple[float, float], ...], tuple[float, float], Curve]] = {
    "Display P3": (PRIMARIES[12], D65, srgb_curve),
    "Adobe RGB": (((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), D65, lambda x: x**2.19921875),
    "ProPhoto": (((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), D50_XY, lambda x: x**1.8),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def decoder() -> AsyncIterator[ImageDecoder]:
    decoder = ImageDecoder(InputsConfig())
    yield decoder
    await decoder.close()


def xyz_of(primaries: tuple[tuple[float, float], ...], white: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Linear RGB to XYZ (Lindbloom's formula)."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    target = np.array([white[0] / white[1], 1, (1 - white[0] - white[1]) / white[1]])
    return columns * np.linalg.solve(columns, target)


def shown(name: str) -> npt.NDArray[np.float64]:
    """What the pixels of this space are in sRGB, computed without any profile."""
    primaries, white, curve = SPACES[name]
    light = np.vectorize(curve)(PIXELS / 255)
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    of, to = (cone @ np.array([x / y, 1, (1 - x - y) / y]) for x, y in (white, D65))
    adapt = np.linalg.inv(cone) @ np.diag(to / of) @ cone
    linear = light @ (np.linalg.inv(xyz_of(REC_709, D65)) @ adapt @ xyz_of(primaries, white)).T
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize(("image_format", "slack"), [("PNG", 1.0), ("WEBP", 1.0), ("JPEG", 3.0)])
async def test_a_profile_is_honoured(decoder: ImageDecoder, name: str, image_format: str, slack: float) -> None:
    # Pillow passes over what a format does not have
    options = {"quality": 98, "subsampling": 0, "lossless": True}
    data = encoded(IMAGE, image_format, icc_profile=matrix_profile(*SPACES[name]), **options)
    pixels = await decoder.decode(data)
    assert np.abs(shown(name) - PIXELS).mean() > 3, "the test's own colours do not differ"
    assert np.abs(pixels - shown(name)).mean() < slack


async def test_a_profile_in_several_segments_of_a_jpeg_is_put_together(decoder: ImageDecoder) -> None:
    profile = matrix_profile(*SPACES["Adobe RGB"]) + bytes(150_000)
    data = encoded(IMAGE, "JPEG", quality=98, subsampling=0, icc_profile=profile)
    assert data.count(b"ICC_PROFILE\0") == 3
    assert np.abs(await decoder.decode(data) - shown("Adobe RGB")).mean() < 3


async def test_a_profile_of_srgb_leaves_every_pixel_as_it_is(decoder: ImageDecoder) -> None:
    for profile in (
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        matrix_profile(REC_709, D65, srgb_curve),
    ):
        assert np.array_equal(await decoder.decode(encoded(IMAGE, "PNG", icc_profile=profile)), PIXELS)


async def test_colours_are_converted_before_they_lie_on_white(decoder: ImageDecoder) -> None:
    image = IMAGE.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = encoded(image, "PNG", icc_profile=matrix_profile(*SPACES["Display P3"]))
    alpha = np.asarray(image.getchannel("A"), float)[..., None] / 255
    expected = shown("Display P3") * alpha + 255 * (1 - alpha)
    assert np.abs(await decoder.decode(data) - expected).mean() < 1


async def test_a_palette_has_the_profiles_colours(decoder: ImageDecoder) -> None:
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([230, 30, 30])
    plain = await decoder.decode(encoded(palette, "PNG"))
    wide = await decoder.decode(encoded(palette, "PNG", icc_profile=matrix_profile(*SPACES["Display P3"])))
    assert plain[0, 0].tolist() == [230, 30, 30]
    assert wide[0, 0, 0] > 240
    assert wide[0, 0, 1] < 15


async def test_grey_with_a_profile_of_rgb_takes_its_curve(decoder: ImageDecoder) -> None:
    grey = Image.linear_gradient("L")
    linear = matrix_profile(REC_709, D65, lambda x: x)
    pixels = await decoder.decode(encoded(grey, "PNG", icc_profile=linear))
    assert abs(int(pixels[64, 0, 0]) - 137) <= 2  # 64 of 255 of the light
    assert (pixels[..., 0] == pixels[..., 1]).all()


def grey_profile(gamma: float) -> bytes:
    """A monitor profile of one curve (ICC.1, 8.3.4)."""
    tone = b"curv\0\0\0\0" + struct.pack("!IH", 1, round(gamma * 256)) + b"\0\0"
    white = b"XYZ \0\0\0\0" + struct.pack("!3i", *(round(n * 65536) for n in (0.9642, 1.0, 0.8249)))
    table = struct.pack("!I", 2) + b"kTRC" + struct.pack("!II", 156, len(tone))
    table += b"wtpt" + struct.pack("!II", 156 + len(tone), len(white))
    header = struct.pack("!II", 156 + len(tone) + len(white), 0) + b"\x02\x40\0\0mntrGRAYXYZ " + bytes(12) + b"acsp"
    return header + bytes(28) + white[8:] + bytes(48) + table + tone + white


@pytest.mark.parametrize("mode", ["L", "LA"])
async def test_a_profile_of_grey_is_honoured(decoder: ImageDecoder, mode: str) -> None:
    pixels = await decoder.decode(
        encoded(Image.new(mode, (8, 8), 64 if mode == "L" else (64, 255)), "PNG", icc_profile=grey_profile(1.0))
    )
    assert abs(int(pixels[0, 0, 0]) - 137) <= 2


async def test_16_bits_of_grey_have_their_profile_too(decoder: ImageDecoder) -> None:
    data = encoded(Image.fromarray(np.full((8, 8), 64 * 257, np.uint16)), "PNG", icc_profile=grey_profile(1.0))
    assert abs(int((await decoder.decode(data))[0, 0, 0]) - 137) <= 2


@pytest.mark.parametrize(
    "profile",
    [
        grey_profile(1.0),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
        b"",
        b"no profile",
        bytes(128),
        matrix_profile(*SPACES["ProPhoto"])[:400],
        matrix_profile(*SPACES["ProPhoto"]).replace(b"RGB XYZ ", b"CMYKLab "),
        matrix_profile(*SPACES["ProPhoto"]).replace(b"acsp", b"abcd"),
        matrix_profile(*SPACES["ProPhoto"]).replace(b"curv", b"vruc"),
        matrix_profile(*SPACES["ProPhoto"]).replace(b"mntr", b"link"),
    ],
)
async def test_a_profile_that_is_broken_or_of_other_pixels_is_passed_over(
    decoder: ImageDecoder, profile: bytes
) -> None:
    data = png_with(PIXELS, chunk(b"iCCP", b"a\0\0" + zlib.compress(profile)))
    assert np.array_equal(await decoder.decode(data), PIXELS)


async def test_a_profile_of_rgb_in_a_cmyk_picture_is_passed_over(decoder: ImageDecoder) -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = encoded(cmyk, "JPEG", quality=95, icc_profile=matrix_profile(*SPACES["ProPhoto"]))
    assert (await decoder.decode(data))[8, 8, 0] > 240


def cicp(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


async def test_a_pngs_coded_colours_are_honoured(decoder: ImageDecoder) -> None:
    assert np.abs(await decoder.decode(png_with(PIXELS, cicp(12, 13))) - shown("Display P3")).mean() < 1
    assert np.array_equal(await decoder.decode(png_with(PIXELS, cicp(1, 13))), PIXELS)
    assert np.array_equal(await decoder.decode(png_with(PIXELS, cicp(9, 16))), PIXELS)


async def test_a_pngs_gamma_and_chromaticities_are_honoured_unless_it_says_srgb(decoder: ImageDecoder) -> None:
    primaries, white, _ = SPACES["Adobe RGB"]
    corners = struct.pack("!8I", *(round(100_000 * n) for pair in (white, *primaries) for n in pair))
    said = chunk(b"gAMA", struct.pack("!I", 45470)), chunk(b"cHRM", corners)
    assert np.abs(await decoder.decode(png_with(PIXELS, *said)) - shown("Adobe RGB")).mean() < 2
    assert np.array_equal(await decoder.decode(png_with(PIXELS, chunk(b"sRGB", b"\0"), *said)), PIXELS)
    linear = await decoder.decode(
        png_with(np.full((8, 8, 3), 64, np.uint8), chunk(b"gAMA", struct.pack("!I", 100_000)))
    )
    assert np.abs(linear.astype(int) - 137).max() <= 2


async def test_a_cmyk_profile_decides_what_inks_look_like(decoder: ImageDecoder) -> None:
    cmyk = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    data = encoded(cmyk, "JPEG", quality=98, icc_profile=ink_profile())
    assert (await decoder.decode(data))[8, 8].astype(int).std() < 6, "these inks are all grey"


def ink_profile() -> bytes:
    """A printer's profile whose inks all darken alike: a table of 2^4 Lab colours (ICC.1, lut8Type)."""
    curve = bytes(range(256))
    table = b"".join(bytes([max(0, 255 - 60 * sum(inks)), 128, 128]) for inks in np.ndindex(2, 2, 2, 2))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + struct.pack("!9i", *(65536 * n for n in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    lut += curve * 4 + table + curve * 3
    header = struct.pack("!II", 144 + len(lut), 0) + b"\x02\x40\0\0prtrCMYKLab " + bytes(12) + b"acsp" + bytes(28)
    header += struct.pack("!3i", *(round(n * 65536) for n in (0.9642, 1.0, 0.8249))) + bytes(48)
    return header + struct.pack("!I4sII", 1, b"A2B0", 144, len(lut)) + lut


async def test_the_profiles_of_the_tests_are_read_by_pillow() -> None:
    for profile in (grey_profile(2.2), ink_profile(), matrix_profile(*SPACES["Display P3"])):
        assert ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip() in {"GRAY", "CMYK", "RGB"}
