"""The decoder's child process: untrusted bytes in, RGB out, under hard limits.

Run as `python -m serve_app.inputs.decode_child MAX_PIXELS SECONDS`; it ends when its stdin closes.
It imports Pillow and nothing heavier. What it cannot read in an orderly way may end it: the parent starts another.
"""

import functools
import io
import resource
import signal
import struct
import sys
import warnings
from dataclasses import replace
from enum import IntEnum
from typing import BinaryIO

from PIL import Image, ImageChops, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from serve_app.inputs import jpeg_file, png_file, webp_file
from serve_app.inputs.colour import in_srgb
from serve_app.inputs.essence import MOST_MISSING, Essence

LENGTH = struct.Struct("!I")
"""Before each request: how many bytes of image follow."""
REPLY = struct.Struct("!BII")
"""Each reply: a Verdict, width, height; width * height * 3 bytes of RGB follow after Verdict.OK."""

PLUGINS = (PngImagePlugin, JpegImagePlugin, TiffImagePlugin, WebPImagePlugin)
"""Imported for their effect: what is registered now is not looked for under the limits. TIFF is EXIF's form."""
ESSENCE = {"PNG": png_file.essence, "JPEG": jpeg_file.essence, "WEBP": webp_file.essence}
"""By format, what leaves out of a file all that makes no pixels."""
LARGEST_SIDE = 1024
"""Of any job, in pixels: JPEG is decoded at no larger a scale than covers it."""
FINE_SIDE = 2 * LARGEST_SIDE
"""A larger picture is brought down by whole factors before anything else costs memory; the fit does the rest."""
MIDDLE = 128
"""The level that libjpeg gives to what is missing."""
BASE_MEMORY = 256 * 2**20
MEMORY_PER_PIXEL = 36
"""Bytes. The hungriest case measured, a turned WebP with alpha, took 31: Pillow copies to convert, to flatten
and to turn, at 4 bytes a pixel each, and libwebp keeps canvases of its own."""

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each value of the EXIF orientation tag (EXIF 2.32, 4.6.4 A)."""

BROKEN = Exception
"""What Pillow's readers raise on damaged files: of every kind, an AssertionError for a palette that is missing."""


class Verdict(IntEnum):
    """What became of a request."""

    OK = 0
    NOT_AN_IMAGE = 1
    WRONG_TYPE = 2
    TOO_MANY_PIXELS = 3
    DAMAGED = 4
    """One of the three formats, but not to be read."""
    READY = 5
    """Said once, unasked, when the child can take requests."""


class Refused(Exception):
    """These bytes give no picture, and why."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.name)
        self.verdict = verdict


def format_of(data: bytes) -> str:
    """Pillow's name of the format, by content. Raises Refused."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    raise Refused(Verdict.WRONG_TYPE if _is_other_image(data) else Verdict.NOT_AN_IMAGE)


def _is_other_image(data: bytes) -> bool:
    """GIF, BMP, TIFF, PSD, ICO, JPEG 2000, JPEG XL, SVG, AVIF and HEIF."""
    starts = (b"GIF8", b"BM", b"II*\0", b"MM\0*", b"8BPS", b"\0\0\1\0", b"\0\0\0\x0cjP", b"\0\0\0\x0cJXL", b"\xff\x0a")
    brands = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")
    return data.startswith((*starts, b"<svg")) or (data[4:8] == b"ftyp" and data[8:12] in brands)


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """The first frame, upright, in mode RGB and sRGB, at a scale that covers any job. Raises Refused."""
    image_format = format_of(data)
    try:
        essence = ESSENCE[image_format](data)
        return upright(on_white(smaller(pixels_of(essence, image_format, max_pixels)), essence), essence.exif)
    except Image.DecompressionBombError as error:
        raise Refused(Verdict.TOO_MANY_PIXELS) from error
    except Refused:
        raise
    except BROKEN as error:
        raise Refused(Verdict.DAMAGED) from error


def pixels_of(essence: Essence, image_format: str, max_pixels: int) -> Image.Image:
    """All that is shown, in mode L, LA, RGB, RGBA or CMYK. Raises Refused and what Pillow raises."""
    image = opened(essence.data, image_format)
    if image.width * image.height > max_pixels:
        raise Refused(Verdict.TOO_MANY_PIXELS)
    image.draft(None, (LARGEST_SIDE, LARGEST_SIDE))
    try:
        image.load()
    except BROKEN:
        if image_format != "PNG":
            raise
        essence = replace(essence, data=png_file.completed(essence.data))
        image = opened(essence.data, image_format)
        image.load()
    if essence.cut_off and missing_rows(image) > MOST_MISSING * image.height:
        raise Refused(Verdict.DAMAGED)
    return eight_bit(image, essence)


def opened(data: bytes, image_format: str) -> Image.Image:
    """A picture's head, read."""
    return Image.open(io.BytesIO(data), formats=[image_format])


def missing_rows(image: Image.Image) -> int:
    """How many rows at the end of a JPEG nothing was there for."""
    lower = 256 - MIDDLE - 1  # where inks are kept inverted
    others = [band.point(lambda level: 255 * (level not in (lower, MIDDLE))) for band in image.split()]
    found = functools.reduce(ImageChops.lighter, others).getbbox()
    return image.height - (found[3] if found else 0)


def eight_bit(image: Image.Image, essence: Essence) -> Image.Image:
    """Any mode of the three formats at eight bits a sample, with an alpha where something is transparent."""
    if image.mode.startswith("I"):
        plain = image.convert("I").point(lambda value: value * (255 / 65535) + 0.5).convert("L")
    elif image.mode == "P":
        plain = image.convert("RGBA" if image.has_transparency_data else "RGB")
    else:
        plain = image.convert("L") if image.mode == "1" else image
    if essence.key is not None:
        plain = plain.copy()
        plain.putalpha(opaque_mask(image, essence))
    return plain


def opaque_mask(image: Image.Image, essence: Essence) -> Image.Image:
    """255 where a pixel is another than the file's transparent one, which counts in the file's own depth."""
    assert essence.key is not None
    if essence.depth < 16:
        scale = 255 // (2**essence.depth - 1)
        bands = [*zip(image.convert("L" if image.mode == "1" else None).split(), essence.key, strict=True)]
        tests = [(band, value * scale) for band, value in bands]
    else:
        high, low = halves(image, essence.data)
        tests = [(band, value >> 8) for band, value in zip(high, essence.key, strict=True)]
        tests += [(band, value & 255) for band, value in zip(low, essence.key, strict=True)]
    differs = [band.point([255 * (level != value) for level in range(256)]) for band, value in tests]
    mask = differs[0]
    for other in differs[1:]:
        mask = ImageChops.lighter(mask, other)
    return mask


def halves(image: Image.Image, data: bytes) -> tuple[tuple[Image.Image, ...], tuple[Image.Image, ...]]:
    """The upper and the lower bytes of 16-bit grey or RGB, which Pillow keeps the first of."""
    if image.mode.startswith("I"):
        low, high = Image.frombytes("LA", image.size, image.convert("I;16").tobytes()).split()
        return (high,), (low,)
    lower = opened(data, "PNG")
    assert isinstance(lower, PngImagePlugin.PngImageFile)
    lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
    return image.split(), lower.convert("RGB").split()


def smaller(image: Image.Image) -> Image.Image:
    """No larger than it has to be for a fine fit."""
    factor = min(image.size) // FINE_SIDE
    return image.reduce(factor) if factor > 1 else image


def on_white(image: Image.Image, essence: Essence) -> Image.Image:
    """In sRGB; what is transparent shows white."""
    shown = in_srgb(image, essence.profile)
    if shown.mode == "RGB":
        return shown
    ground = Image.new("RGBA", shown.size, "white")
    return Image.alpha_composite(ground, shown).convert("RGB")


def upright(image: Image.Image, exif: bytes | None) -> Image.Image:
    """The image turned as its EXIF orientation says; unreadable EXIF says nothing, as in browsers."""
    if not exif:
        return image
    try:
        tags = Image.Exif()
        tags.load(exif)
        turn = TURNS.get(tags.get(ORIENTATION, 1))
    except BROKEN:
        return image
    return image if turn is None else image.transpose(turn)


def limit_resources(max_pixels: int) -> None:
    """No more memory than a picture of `max_pixels` takes, no core dump, no file written."""
    memory = BASE_MEMORY + MEMORY_PER_PIXEL * max_pixels
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    Image.MAX_IMAGE_PIXELS = max_pixels


def answer(data: bytes, max_pixels: int, sink: BinaryIO) -> None:
    """Write one reply."""
    try:
        image = decode(data, max_pixels)
    except Refused as refusal:
        sink.write(REPLY.pack(refusal.verdict, 0, 0))
    else:
        sink.write(REPLY.pack(Verdict.OK, image.width, image.height))
        sink.write(image.tobytes())
    sink.flush()


def serve(source: BinaryIO, sink: BinaryIO, max_pixels: int, seconds: float) -> None:
    """Answer requests until the source ends. A request that takes longer than `seconds` ends the process."""
    sink.write(REPLY.pack(Verdict.READY, 0, 0))
    sink.flush()
    while len(header := source.read(LENGTH.size)) == LENGTH.size:
        data = source.read(*LENGTH.unpack(header))
        signal.setitimer(signal.ITIMER_REAL, seconds)
        answer(data, max_pixels, sink)
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    """The process."""
    max_pixels, seconds = int(sys.argv[1]), float(sys.argv[2])
    warnings.simplefilter("ignore")
    limit_resources(max_pixels)
    serve(sys.stdin.buffer, sys.stdout.buffer, max_pixels, seconds)


if __name__ == "__main__":
    main()
