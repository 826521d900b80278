"""Only what makes pixels may fail a picture: metadata, end markers, trailers and checksums beside them may not."""

import struct
import zlib
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image, PngImagePlugin

from serve_app.config import InputsConfig
from serve_app.errors import InvalidFields
from serve_app.inputs.decode import ImageDecoder
from tests.unit.inputs.picture_files import SIGNATURE, chunk, encoded, png, png_with, segment, smooth, webp_chunk

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIXELS = smooth()
IMAGE = Image.fromarray(PIXELS)
PNG, JPEG, WEBP = encoded(IMAGE, "PNG"), encoded(IMAGE, "JPEG", quality=95), encoded(IMAGE, "WEBP", lossless=True)
LONG = b"a workflow of many nodes " * 200_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def decoder() -> AsyncIterator[ImageDecoder]:
    decoder = ImageDecoder(InputsConfig())
    yield decoder
    await decoder.close()


async def difference(decoder: ImageDecoder, data: bytes) -> float:
    pixels = await decoder.decode(data)
    assert pixels.shape == PIXELS.shape
    return float(np.abs(pixels.astype(float) - PIXELS).mean())


def deflated(body: bytes) -> bytes:
    return zlib.compress(body, 9)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"workflow\0\0" + deflated(LONG)),
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + deflated(LONG)),
        chunk(b"iTXt", b"workflow\0\0\0\0\0" + LONG),
        chunk(b"tEXt", b"parameters\0" + LONG),
        *[chunk(b"zTXt", b"workflow\0\0" + deflated(LONG))] * 2,
        b"".join([chunk(b"tEXt", b"parameters\0" + LONG[:100_000])] * 100),
        chunk(b"iCCP", b"a\0\0" + deflated(bytes(3_000_000))),
        chunk(b"iCCP", b"a\0\0" + deflated(bytes(12_000_000))),
        chunk(b"iCCP", b"a\0\0" + deflated(b"no profile at all")),
        chunk(b"iCCP", b"a\0\0no deflate"),
        chunk(b"iCCP", b"a\0\7" + deflated(b"x")),
        chunk(b"iCCP", b"a"),
        chunk(b"iCCP", b""),
        chunk(b"zTXt", b"workflow\0\0no deflate"),
        chunk(b"zTXt", b"workflow\0\7" + deflated(b"x")),
        chunk(b"zTXt", b"workflow"),
        chunk(b"tEXt", b"", crc=1),
        chunk(b"tEXt", b"comment\0hello", crc=1),
        chunk(b"gAMA", b"\0"),
        chunk(b"gAMA", struct.pack("!I", 0)),
        chunk(b"gAMA", struct.pack("!I", 45455)),
        chunk(b"cHRM", bytes(32)),
        chunk(b"cHRM", b"\xff" * 32),
        chunk(b"cICP", b"\x01\x0d\0\1"),
        chunk(b"cICP", b"\x09\x10\0\1"),
        chunk(b"pHYs", b"\1"),
        chunk(b"tIME", b""),
        chunk(b"sBIT", b"\xff" * 9),
        chunk(b"eXIf", b"garbage"),
        chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 9\nno digits"),
        chunk(b"zTXt", b"Raw profile type exif\0\0no deflate"),
        chunk(b"tRNS", b"\0"),
        chunk(b"tRNS", struct.pack("!3H", 1, 2, 3), crc=1),
        chunk(b"acTL", b"\0"),
        chunk(b"acTL", struct.pack("!II", 7, 0)),
        chunk(b"fcTL", b"\0"),
        chunk(b"prVt", b"anything", crc=5),
        chunk(b"IHDR", b"another"),
    ],
)
async def test_no_chunk_but_the_pixels_own_spoils_a_png(decoder: ImageDecoder, extra: bytes) -> None:
    assert await difference(decoder, png_with(PIXELS, extra)) == 0


@pytest.mark.parametrize(
    "data",
    [
        PNG[:-12],
        PNG[:-16],
        PNG[:-20],
        PNG[:-8],
        PNG + b"trailing garbage",
        PNG + PNG,
        PNG[:-12] + b"\0\0\0\0\0\0\0\0\0\0\0\0\0",
        PNG[:-12] + chunk(b"tEXt", b"", crc=3) + b"\0\0\xff\xffzTXtcut",
        PNG[:-16] + b"\0\0\0\0" + PNG[-12:],
    ],
    ids=[
        "no IEND",
        "no checksum",
        "no zlib trailer",
        "half IEND",
        "garbage",
        "twice",
        "zeros",
        "cut text",
        "IDAT's sum",
    ],
)
async def test_what_stands_behind_a_pngs_pixels_may_be_missing_or_wrong(decoder: ImageDecoder, data: bytes) -> None:
    assert await difference(decoder, data) == 0


async def test_a_png_whose_deflate_checksum_is_wrong_is_shown(decoder: ImageDecoder) -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS)
    body = zlib.compress(rows)[:-4] + b"\1\2\3\4"
    head = PNG[: PNG.index(b"IDAT") - 4]
    assert await difference(decoder, head + chunk(b"IDAT", body) + chunk(b"IEND", b"")) == 0


async def test_pixels_may_come_in_many_chunks_with_others_between(decoder: ImageDecoder) -> None:
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in PIXELS))
    parts = [chunk(b"IDAT", body[i : i + 100]) + chunk(b"tEXt", b"a\0b") for i in range(0, len(body), 100)]
    head = PNG[: PNG.index(b"IDAT") - 4]
    assert await difference(decoder, head + chunk(b"IDAT", b"") + b"".join(parts)) == 0


@pytest.mark.parametrize("interlaced", [False, True])
async def test_a_png_without_its_last_rows_is_shown_and_one_without_more_is_refused(
    decoder: ImageDecoder, interlaced: bool
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    data = _interlaced(noise) if interlaced else png_with(noise)
    pixels = await decoder.decode(data[: int(len(data) * 0.95)])
    assert np.array_equal(pixels[:36:2], noise[:36:2])
    with pytest.raises(InvalidFields):
        await decoder.decode(data[: int(len(data) * 0.8)])


def _interlaced(pixels: np.ndarray) -> bytes:
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx])
    header = struct.pack("!IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        JPEG[:-2],
        JPEG[:-1],
        JPEG[:-1] + b"\xff",
        JPEG + b"trailing garbage",
        JPEG + JPEG,
        JPEG[:2] + b"\xff\xff\xff" + JPEG[3:],
        JPEG[:2] + segment(0xE1, b"Exif\0\0garbage") + JPEG[2:],
        JPEG[:2] + segment(0xE1, b"Exif\0") + JPEG[2:],
        JPEG[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<broken") + JPEG[2:],
        JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\1\2half") + JPEG[2:],
        JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0") + JPEG[2:],
        JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\1\1no profile") + JPEG[2:],
        JPEG[:2] + segment(0xE2, b"MPF\0garbage") + JPEG[2:],
        JPEG[:2] + segment(0xED, b"Photoshop 3.0\x008BIM") + JPEG[2:],
        JPEG[:2] + segment(0xEE, b"Adobe") + JPEG[2:],
        JPEG[:2] + segment(0xFE, b"comment" * 9000) * 20 + JPEG[2:],
        JPEG[:2] + segment(0xE0, b"JF") + JPEG[2:],
        JPEG[:2] + JPEG[JPEG.index(b"\xff\xdb") :],
    ],
)
async def test_no_segment_but_the_pixels_own_spoils_a_jpeg(decoder: ImageDecoder, data: bytes) -> None:
    assert await difference(decoder, data) < 2


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
async def test_a_jpeg_without_its_last_rows_is_shown_and_one_without_more_is_refused(
    decoder: ImageDecoder, mode: str
) -> None:
    tall = Image.fromarray(smooth(400, 80)).convert(mode)
    data = encoded(tall, "JPEG", quality=95)
    pixels = await decoder.decode(data[: int(len(data) * 0.97)])
    assert np.abs(pixels[:300].astype(int) - np.asarray(tall.convert("RGB"))[:300]).mean() < 2
    with pytest.raises(InvalidFields):
        await decoder.decode(data[: int(len(data) * 0.7)])


async def test_a_progressive_jpeg_without_its_last_scans_is_shown(decoder: ImageDecoder) -> None:
    data = encoded(IMAGE, "JPEG", quality=95, progressive=True)
    assert await difference(decoder, data[:-20]) < 4


async def test_the_first_picture_of_a_phones_multi_picture_file_is_shown(decoder: ImageDecoder) -> None:
    other = Image.new("RGB", IMAGE.size, "red")
    data = encoded(IMAGE, "MPO", save_all=True, append_images=[other], quality=95)
    assert b"MPF\0" in data
    assert await difference(decoder, data) < 2


EXTENDED = webp_chunk(b"VP8X", struct.pack("<I", 0x2C) + b"\x3f\0\0\x2f\0\0")
VP8L = WEBP[12:]


@pytest.mark.parametrize(
    "chunks",
    [
        EXTENDED + VP8L,
        EXTENDED
        + webp_chunk(b"ICCP", b"no profile")
        + VP8L
        + webp_chunk(b"EXIF", b"garbage")
        + webp_chunk(b"XMP ", b"<"),
        EXTENDED + VP8L + webp_chunk(b"EXIF", b"short", size=10_000),
        VP8L + webp_chunk(b"JUNK", b"x" * 99),
        VP8L + b"trailing garbage",
    ],
)
@pytest.mark.parametrize("riff_size", [0, 30, 2**31, None])
async def test_no_chunk_but_the_pixels_own_spoils_a_webp(
    decoder: ImageDecoder, chunks: bytes, riff_size: int | None
) -> None:
    size = 4 + len(chunks) if riff_size is None else riff_size
    assert await difference(decoder, b"RIFF" + struct.pack("<I", size) + b"WEBP" + chunks) == 0


async def test_a_lossy_webp_without_its_last_rows_is_shown_and_one_without_more_is_refused(
    decoder: ImageDecoder,
) -> None:
    data = encoded(IMAGE, "WEBP", quality=90)
    assert await difference(decoder, data[: int(len(data) * 0.96)]) < 6
    with pytest.raises(InvalidFields):
        await decoder.decode(data[: int(len(data) * 0.7)])


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
async def test_an_animation_that_is_cut_off_behind_its_first_frame_is_shown(
    decoder: ImageDecoder, image_format: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    more = [Image.fromarray(noise)] * 2
    data = encoded(IMAGE, image_format, save_all=True, append_images=more, lossless=True)
    assert await difference(decoder, data[: len(data) - 4000]) == 0


async def test_adobes_inverted_cmyk_and_ycck_show_their_colours(decoder: ImageDecoder) -> None:
    cmyk = Image.new("CMYK", (64, 48), (0, 255, 255, 0))
    data = encoded(cmyk, "JPEG", quality=95)
    assert b"Adobe" in data
    red, green, blue = (await decoder.decode(data))[20, 20].tolist()
    assert (red > 240, green < 15, blue < 15) == (True, True, True)


@pytest.mark.parametrize(("depth", "levels"), [(1, [0, 1]), (2, [0, 1, 2, 3]), (4, [0, 5, 15]), (8, [0, 7, 255])])
async def test_the_transparent_grey_of_a_png_shows_white_in_every_depth(
    decoder: ImageDecoder, depth: int, levels: list[int]
) -> None:
    top = 2**depth - 1
    for transparent in levels:
        row = "".join(f"{level:0{depth}b}" for level in levels)
        packed = int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8), "big")
        key = chunk(b"tRNS", struct.pack("!H", transparent))
        pixels = await decoder.decode(png(len(levels), 1, depth, 0, b"\0" + packed, key))
        expected = [255 if level == transparent else level * 255 // top for level in levels]
        assert pixels[0, :, 0].tolist() == expected


async def test_the_transparent_grey_of_a_16_bit_png_shows_white_and_its_neighbours_do_not(
    decoder: ImageDecoder,
) -> None:
    row = b"\0" + struct.pack("!4H", 0, 1, 256, 0x8000)
    pixels = await decoder.decode(png(4, 1, 16, 0, row, chunk(b"tRNS", struct.pack("!H", 0))))
    assert pixels[0].tolist() == [[255] * 3, [0] * 3, [1] * 3, [128] * 3]


async def test_the_transparent_colour_of_a_16_bit_png_shows_white_and_its_neighbours_do_not(
    decoder: ImageDecoder,
) -> None:
    row = b"\0" + struct.pack("!9H", 0, 0, 0, 0, 0, 1, 0, 256, 0)
    pixels = await decoder.decode(png(3, 1, 16, 2, row, chunk(b"tRNS", struct.pack("!3H", 0, 0, 0))))
    assert pixels[0].tolist() == [[255] * 3, [0, 0, 0], [0, 1, 0]]


async def test_the_transparent_colour_of_an_8_bit_png_shows_white(decoder: ImageDecoder) -> None:
    pixels = await decoder.decode(
        png(2, 1, 8, 2, b"\0" + bytes([9, 8, 7, 9, 8, 6]), chunk(b"tRNS", b"\0\x09\0\x08\0\x07"))
    )
    assert pixels[0].tolist() == [[255] * 3, [9, 8, 6]]


async def test_16_bits_of_grey_with_alpha_show_white(decoder: ImageDecoder) -> None:
    row = b"\0" + struct.pack("!4H", 0, 0, 0x8000, 65535)
    assert (await decoder.decode(png(2, 1, 16, 4, row)))[0].tolist() == [[255] * 3, [128] * 3]


async def test_a_palette_with_partial_transparency_shows_white_through(decoder: ImageDecoder) -> None:
    extra = chunk(b"PLTE", bytes([0, 0, 0, 200, 0, 0])), chunk(b"tRNS", b"\x80")
    pixels = await decoder.decode(png(2, 1, 8, 3, b"\0\0\1", *extra))
    assert abs(int(pixels[0, 0, 0]) - 127) <= 1
    assert pixels[0, 1].tolist() == [200, 0, 0]


@pytest.mark.parametrize("zipped", [False, True])
async def test_exif_that_a_png_holds_as_text_turns_it(decoder: ImageDecoder, zipped: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    text = b"\nexif\n%8d\n%s\n" % (len(data), data.hex().encode())
    body = b"Raw profile type exif\0" + (b"\0" + deflated(text) if zipped else text)
    kind = b"zTXt" if zipped else b"tEXt"
    turned = await decoder.decode(png_with(PIXELS, chunk(kind, b"a\0\0"), chunk(kind, body)))
    assert np.array_equal(turned, np.rot90(PIXELS, -1))


async def test_what_pillow_itself_would_refuse_shows_that_the_tests_would_fail_without_us() -> None:
    import io

    bomb = png_with(PIXELS, chunk(b"zTXt", b"workflow\0\0" + deflated(LONG)))
    assert len(LONG) > PngImagePlugin.MAX_TEXT_CHUNK
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(bomb)).load()
