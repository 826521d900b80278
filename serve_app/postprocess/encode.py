"""Turns pixels into PNG bytes with the generation parameters inside.

The same pixels and parameters give the same bytes.
"""

import io

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from serve_app.messages import Pixels

PARAMETERS_KEY = "parameters"
"""The text chunk that web UIs write and read."""
COMPRESS_LEVEL = 3
"""With Pillow's zlib-ng, levels 1 to 3 take the same time and 3 is the smallest; 6 takes up to three times as long
for 0 to 15 % fewer bytes."""


def encode_png(pixels: Pixels, parameters: str) -> bytes:
    """A uint8 RGB picture (height, width, 3) as PNG, with `parameters` in the text chunk of that name.

    The chunk is tEXt where Latin-1 has all the characters, else iTXt. What PNG cannot hold is
    mended: NUL is dropped, a lone surrogate becomes a question mark.
    """
    text = PngInfo()
    text.add_text(PARAMETERS_KEY, _storable(parameters))
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG", pnginfo=text, compress_level=COMPRESS_LEVEL)
    return png.getvalue()


def _storable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
