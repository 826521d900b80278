"""Tells from pixels alone what a picture of the pocket world shows.

Plain arithmetic: the border's median is the ground, what differs from it is the
thing, its median is the colour, and the silhouette is compared with drawn ones.
Specks are not the thing: a generated picture has a few at its edges.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import label

from models.pocket.world import COLOURS, THINGS, Pixels, Scene, draw_mask

Mask = npt.NDArray[np.bool_]
JUDGED_SIDE = 128
TEMPLATE_SIDE = 40
FOREGROUND_DISTANCE = 60.0
"""RGB distance from the ground at which a pixel belongs to the thing."""
SMALLEST_THING = 0.01
"""A silhouette under this share of the picture counts as no thing."""
SPECK = 0.05
"""Patches smaller than this share of the largest patch are no part of the thing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a picture shows; None where nothing stands out from the ground."""

    ground: str
    colour: str | None
    thing: str | None
    overlap: float
    """Intersection over union with the best drawn silhouette, 0 to 1."""


def judge(pixels: Pixels) -> Verdict:
    """Name the ground colour, thing colour and thing of a uint8 RGB picture (height, width, 3)."""
    resized = Image.fromarray(pixels).resize((JUDGED_SIDE, JUDGED_SIDE), Image.Resampling.BOX)
    picture = np.asarray(resized).astype(np.float32)
    ground = ground_rgb(picture)
    mask = _without_specks(np.linalg.norm(picture - ground, axis=-1) > FOREGROUND_DISTANCE)
    if mask.mean() < SMALLEST_THING:
        return Verdict(nearest_colour(ground), None, None, 0.0)
    thing, overlap = _best_template(_normalised(mask))
    return Verdict(nearest_colour(ground), nearest_colour(_thing_rgb(picture, mask)), thing, overlap)


def ground_rgb(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The median colour of the picture's outermost pixels, shape (3,)."""
    edge = max(2, picture.shape[0] // 32)
    sides = (picture[:edge], picture[-edge:], picture[:, :edge], picture[:, -edge:])
    border = np.concatenate([side.reshape(-1, 3) for side in sides])
    return np.asarray(np.median(border, axis=0), dtype=np.float32)


def nearest_colour(rgb: npt.NDArray[np.float32]) -> str:
    """The colour of the world nearest to an RGB triple of 0..255."""
    return min(COLOURS, key=lambda name: float(np.linalg.norm(rgb - np.array(COLOURS[name]))))


def _without_specks(mask: Mask) -> Mask:
    patches, _ = label(mask)
    sizes = np.bincount(patches.ravel())
    sizes[0] = 0
    kept = (sizes >= SPECK * sizes.max()) & (sizes > 0)
    return np.asarray(kept[patches], dtype=np.bool_)


def _thing_rgb(picture: npt.NDArray[np.float32], mask: Mask) -> npt.NDArray[np.float32]:
    inner = mask.copy()
    for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
        inner &= np.roll(mask, shift, axis)
    return np.asarray(np.median(picture[inner if inner.any() else mask], axis=0), dtype=np.float32)


def _normalised(mask: Mask) -> Mask:
    """Cut the silhouette to its bounding square and scale it to the templates' side."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) - top + 1, int(columns[-1]) - left + 1
    side = max(height, width)
    square = np.zeros((side, side), dtype=np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    square[y : y + height, x : x + width] = mask[top : top + height, left : left + width] * 255
    scaled = Image.fromarray(square).resize((TEMPLATE_SIDE, TEMPLATE_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(scaled) > 127


@cache
def _templates() -> tuple[tuple[str, Mask], ...]:
    angles = (-10.0, -5.0, 0.0, 5.0, 10.0)
    scenes = [Scene(thing, "red", "white", radius=0.4, angle=angle) for thing in THINGS for angle in angles]
    return tuple((scene.thing, _normalised(np.asarray(draw_mask(scene, 256)) > 0)) for scene in scenes)


def _best_template(mask: Mask) -> tuple[str, float]:
    scored = [((mask & drawn).sum() / (mask | drawn).sum(), thing) for thing, drawn in _templates()]
    overlap, thing = max(scored)
    return thing, float(overlap)
