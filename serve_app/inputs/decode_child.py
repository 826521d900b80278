"""The decoder's child process: untrusted bytes in, RGB out, under hard limits.

Run as `python -m serve_app.inputs.decode_child MAX_PIXELS SECONDS`; it ends when its stdin closes.
It imports Pillow and nothing heavier. What it cannot read in an orderly way may end it: the parent starts another.
"""

import io
import resource
import signal
import struct
import sys
import warnings
import zlib
from enum import IntEnum
from typing import BinaryIO

from PIL import Image, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin

LENGTH = struct.Struct("!I")
"""Before each request: how many bytes of image follow."""
REPLY = struct.Struct("!BII")
"""Each reply: a Verdict, width, height; width * height * 3 bytes of RGB follow after Verdict.OK."""

READERS = (PngImagePlugin, JpegImagePlugin, MpoImagePlugin, WebPImagePlugin)
"""Imported for their effect: what is registered now is not looked for under the limits."""
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

BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
"""What Pillow's readers raise on damaged files."""


class Verdict(IntEnum):
    """What became of a request."""

    OK = 0
    NOT_AN_IMAGE = 1
    WRONG_TYPE = 2
    TOO_MANY_PIXELS = 3
    READY = 4
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
    """The first frame, upright, in mode RGB. Raises Refused."""
    image_format = format_of(data)
    try:
        with Image.open(io.BytesIO(data), formats=[image_format]) as image:
            if image.width * image.height > max_pixels:
                raise Refused(Verdict.TOO_MANY_PIXELS)
            image.load()
            return to_rgb(upright(image))
    except Image.DecompressionBombError as error:
        raise Refused(Verdict.TOO_MANY_PIXELS) from error
    except (*BROKEN, MemoryError) as error:
        raise Refused(Verdict.NOT_AN_IMAGE) from error


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says; unreadable EXIF says nothing, as in browsers."""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except BROKEN:
        return image
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of PNG, JPEG and WebP in RGB; what is transparent shows white."""
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Grey of 0..65535; Pillow's own conversion to 8 bits clips at 255 where it should scale."""
    scaled = image.convert("I").point(lambda value: value * (255 / 65535) + 0.5)
    return scaled.convert("L").convert("RGB")


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
