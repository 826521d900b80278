"""Busy pictures for training: dead leaves, shaded.

Overlapping discs and boxes whose radii follow a power law have the edge and
scale statistics of photographs (Lee, Mumford and Huang, "Occlusion models for
natural images", IJCV 2001), so an autoencoder trained on them copes with photographs.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from models.pocket.world import Pixels


def draw_clutter(rng: np.random.Generator, side: int) -> Pixels:
    """Draw one busy picture as uint8 RGB of shape (side, side, 3)."""
    big = side * 2
    picture = Image.new("RGB", (big, big), _colour(rng))
    ink = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(20, 160))):
        _leaf(rng, ink, big)
    pixels = np.asarray(picture.resize((side, side), Image.Resampling.BOX)).astype(np.float64)
    pixels = pixels * _shading(rng, side) + rng.normal(0, rng.uniform(0, 6), (side, side, 1))
    result = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.25:
        result = result.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 3))))
    return np.asarray(result)


def _leaf(rng: np.random.Generator, ink: ImageDraw.ImageDraw, side: int) -> None:
    radius = side * 0.02 / float(rng.uniform(0.04, 1.0))
    x, y = rng.uniform(0, side, size=2)
    box = [x - radius, y - radius, x + radius, y + radius]
    if rng.random() < 0.6:
        ink.ellipse(box, fill=_colour(rng))
    else:
        corners = [(x + radius * np.cos(a), y + radius * np.sin(a)) for a in np.sort(rng.uniform(0, 2 * np.pi, 4))]
        ink.polygon(corners, fill=_colour(rng))


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    grey = rng.uniform(0, 255)
    r, g, b = np.clip(grey + rng.normal(0, rng.choice([8, 70]), size=3), 0, 255).astype(int)
    return int(r), int(g), int(b)


def _shading(rng: np.random.Generator, side: int) -> npt.NDArray[np.float64]:
    """A smooth light field of shape (side, side, 1) around 1."""
    axis = np.linspace(-1, 1, side)
    slope_x, slope_y = rng.uniform(-0.35, 0.35, size=2)
    field: npt.NDArray[np.float64] = 1 + slope_x * axis[None, :] + slope_y * axis[:, None]
    return field[..., None]
