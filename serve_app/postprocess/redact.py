"""Makes a flagged picture unrecognisable, in one of the contract's four ways.

Owns what a redacted picture looks like; which pictures are flagged is decided
elsewhere. The result keeps the picture's size.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from serve_app.messages import Pixels, SafetyType

BLUR_SHARE = 1 / 4
"""The blur's sigma as a share of the longer side: of detail finer than half the picture nothing is left."""
MOSAIC_BLUR_SHARE = 1 / 3
MOSAIC_BLOCKS = 8
"""Most blocks along the longer side. The blur comes first: in eight sharp blocks a shape can still be told."""

TITLE = ("Sensitive content", "Sensitive\ncontent")
NOTE = ("This picture was hidden by the safety filter", "This picture was hidden\nby the safety filter")
"""Each text on one line, and the same on two for narrow pictures."""
CARD_GROUND = (38, 38, 38)
CARD_INK = (236, 236, 236)
NOTE_INK = (180, 180, 180)
TITLE_ROOM = ((0.86, 0.40), (0.86, 0.70))
"""Shares of the picture's width and height that the title may fill, on one line and on two."""
NOTE_ROOM = (0.80, 0.25)
GAP = 0.4
"""Between title and note, in title font sizes."""
STACK_ROOM = 0.92
"""Share of the height that title, gap and note may fill; else the note is left out."""
SMALLEST_TITLE = 16
"""Font pixels under which the title is set on two lines, if that makes it larger."""
SMALLEST_NOTE = 12
"""Font pixels under which the note is left out."""
PROBE_SIZE = 64

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class _Block:
    """A text set in a font of `size` pixels; `left` and `top` are where its ink starts when drawn at (0, 0)."""

    text: str
    size: int
    left: float
    top: float
    width: float
    height: float


def redact(pixels: Pixels, kind: SafetyType) -> Pixels:
    """Hide what a uint8 RGB picture (height, width, 3) shows; the result has the same shape and type."""
    return _WAYS[kind](pixels)


def _blurred(pixels: Pixels, share: float = BLUR_SHARE) -> Pixels:
    sigma = share * max(pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def _pixelated(pixels: Pixels) -> Pixels:
    """Square blocks from the top left corner, each the mean of what it covers; the last ones may be cut."""
    height, width = pixels.shape[:2]
    block = -(-max(height, width) // MOSAIC_BLOCKS)
    rows, columns = np.arange(0, height, block), np.arange(0, width, block)
    smooth = _blurred(pixels, MOSAIC_BLUR_SHARE).astype(np.float64)
    sums = np.add.reduceat(np.add.reduceat(smooth, rows, axis=0), columns, axis=1)
    counts = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    means: Pixels = np.rint(sums / counts[..., None]).astype(np.uint8)
    return means.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]


def _black(pixels: Pixels) -> Pixels:
    return np.zeros_like(pixels)


def _card(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    title, note = _card_texts(width, height)
    card = Image.new("RGB", (width, height), CARD_GROUND)
    ink = ImageDraw.Draw(card)
    gap = GAP * title.size
    y = (height - title.height - (note.height + gap if note else 0)) / 2
    _write(ink, title, width, y, CARD_INK)
    if note is not None:
        _write(ink, note, width, y + title.height + gap, NOTE_INK)
    return np.asarray(card)


def _card_texts(width: int, height: int) -> tuple[_Block, _Block | None]:
    """The title as large as its room allows; the note at no more than half that size, where it is legible."""
    one, two = (_fitted(text, x * width, y * height) for text, (x, y) in zip(TITLE, TITLE_ROOM, strict=True))
    title = two if one.size < SMALLEST_TITLE and two.size > one.size else one
    for text in NOTE:
        note = _fitted(text, NOTE_ROOM[0] * width, NOTE_ROOM[1] * height, largest=title.size // 2)
        stack = title.height + GAP * title.size + note.height
        if note.size >= SMALLEST_NOTE and stack <= STACK_ROOM * height:
            return title, note
    return title, None


def _fitted(text: str, width: float, height: float, largest: int = 1024) -> _Block:
    """Set a text in the largest font whose ink fits `width` by `height` pixels; one pixel where none does."""
    probe = _measured(text, PROBE_SIZE)
    scale = min(width / probe.width, height / probe.height)
    size = max(1, min(largest, int(PROBE_SIZE * scale) + 1))
    block = _measured(text, size)
    while size > 1 and (block.width > width or block.height > height):
        size -= 1
        block = _measured(text, size)
    return block


def _measured(text: str, size: int) -> _Block:
    ink = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left, top, right, bottom = ink.multiline_textbbox((0, 0), text, font=_font(size), align="center")
    return _Block(text, size, left, top, right - left, bottom - top)


def _write(ink: ImageDraw.ImageDraw, block: _Block, width: int, y: float, colour: tuple[int, int, int]) -> None:
    corner = (round((width - block.width) / 2 - block.left), round(y - block.top))
    ink.multiline_text(corner, block.text, fill=colour, font=_font(block.size), align="center")


@cache
def _font(size: int) -> Font:
    """Pillow's embedded Aileron, `size` in pixels."""
    return ImageFont.load_default(size)


_WAYS = {
    SafetyType.BLUR: _blurred,
    SafetyType.CARD: _card,
    SafetyType.PIXELATE: _pixelated,
    SafetyType.BLACK: _black,
}
