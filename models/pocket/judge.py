"""Tells from pixels alone what a picture of the pocket world shows, and how well its thing is shaped.

Plain arithmetic: the border's median is the ground, what differs from it is the
thing, its median is the colour, and the silhouette is compared with drawn ones.
A colour is told by its distance and may be none of the world's.
Specks are not the thing: a generated picture has a few at its edges.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import label

from models.pocket.world import COLOURS, THINGS, Pixels, Point, Scene, draw_mask

Mask = npt.NDArray[np.bool_]
JUDGED_SIDE = 128
TEMPLATE_SIDE = 40
FOREGROUND_DISTANCE = 60.0
"""RGB distance from the ground at which a pixel belongs to the thing."""
SMALLEST_THING = 0.01
"""A silhouette under this share of the picture counts as no thing."""
SPECK = 0.05
"""Patches smaller than this share of the largest patch are no part of the thing."""


_XYZ_OF_RGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
COLOUR_TOLERANCE = 20.0
"""The distance in CIE Lab (delta E 1976) up to which a colour goes by a name of the world.

Two flat patches side by side differ visibly from 2 or 3 on; at 20 a person still calls both yellow, but sees the one
paler. What should count lies below it: the world's tints reach 11, the autoencoder's reconstructions of them 17. What
a person does not call yellow lies above: lemon (248, 255, 123) at 22, cream (242, 253, 180) at 44. The two nearest
colours of the world, blue and purple, are 31 apart, so between them the nearer one has the name.
"""
ANGLES = (-10.0, -7.5, -5.0, -2.5, 0.0, 2.5, 5.0, 7.5, 10.0)
"""Degrees by which things are turned in the world, and so the angles at which a silhouette may fit."""
GROWTHS = (0.91, 0.94, 0.97, 1.0, 1.03, 1.06, 1.09)
"""Radii at which a silhouette may fit, as shares of the radius at which the true one has its area."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a picture shows; None where nothing stands out from the ground, and for a colour that has no name here."""

    ground: str | None
    colour: str | None
    thing: str | None
    overlap: float
    """Intersection over union with the best drawn silhouette, 0 to 1."""


def judge(pixels: Pixels) -> Verdict:
    """Name the ground colour, thing colour and thing of a uint8 RGB picture (height, width, 3)."""
    picture = _resized(pixels)
    ground = ground_rgb(picture)
    mask = _differing(picture, ground, FOREGROUND_DISTANCE)
    if mask.mean() < SMALLEST_THING:
        return Verdict(colour_name(ground), None, None, 0.0)
    thing, overlap = _best_template(_normalised(mask))
    return Verdict(colour_name(ground), colour_name(_thing_rgb(picture, mask)), thing, overlap)


@dataclass(frozen=True, slots=True)
class Fit:
    """Where a thing's true silhouette overlaps a picture's best: as in `Scene`, shares of the side and degrees."""

    overlap: float
    """Intersection over union, 0 to 1."""
    radius: float
    angle: float
    centre: Point


def true_overlap(pixels: Pixels, thing: str) -> float:
    """Intersection over union, 0 to 1, of a picture's silhouette and this thing's own one where it fits best."""
    fit = best_fit(pixels, thing)
    return fit.overlap if fit else 0.0


def best_fit(pixels: Pixels, thing: str) -> Fit | None:
    """Lay this thing's true silhouette over the picture's; None where nothing stands out from the ground.

    The true silhouette is placed anywhere, turned as the world turns things, then sized about as the picture's.
    """
    mask = silhouette(pixels)
    if mask.mean() < SMALLEST_THING:
        return None
    spectrum, area = np.fft.rfft2(mask), float(mask.sum())
    radius = float(np.sqrt(area / _unit_area(thing))) / JUDGED_SIDE

    def fit(angle: float, growth: float) -> Fit:
        scene = Scene(thing, "red", "white", radius=radius * growth, angle=angle)
        overlap, centre = _best_placed(spectrum, area, np.asarray(draw_mask(scene, JUDGED_SIDE)) > 0)
        return Fit(overlap, radius * growth, angle, centre)

    turned = max((fit(angle, 1.0) for angle in ANGLES), key=_overlap_of).angle
    return max((fit(turned, growth) for growth in GROWTHS), key=_overlap_of)


def silhouette(pixels: Pixels) -> Mask:
    """Where a picture shows its thing, (JUDGED_SIDE, JUDGED_SIDE): the edge lies halfway from the ground's colour."""
    picture = _resized(pixels)
    ground = ground_rgb(picture)
    rough = _differing(picture, ground, FOREGROUND_DISTANCE)
    if not rough.any():
        return rough
    return _differing(picture, ground, float(np.linalg.norm(_thing_rgb(picture, rough) - ground)) / 2)


def _resized(pixels: Pixels) -> npt.NDArray[np.float32]:
    resized = Image.fromarray(pixels).resize((JUDGED_SIDE, JUDGED_SIDE), Image.Resampling.BOX)
    return np.asarray(resized).astype(np.float32)


def _differing(picture: npt.NDArray[np.float32], ground: npt.NDArray[np.float32], distance: float) -> Mask:
    return _without_specks(np.linalg.norm(picture - ground, axis=-1) > distance)


def ground_rgb(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The median colour of the picture's outermost pixels, shape (3,)."""
    edge = max(2, picture.shape[0] // 32)
    sides = (picture[:edge], picture[-edge:], picture[:, :edge], picture[:, -edge:])
    border = np.concatenate([side.reshape(-1, 3) for side in sides])
    return np.asarray(np.median(border, axis=0), dtype=np.float32)


def colour_name(rgb: npt.NDArray[np.float32]) -> str | None:
    """The colour of the world that an RGB triple of 0..255 is near enough to; None when it is near none of them."""
    name = nearest_colour(rgb)
    return name if colour_distance(rgb, np.array(COLOURS[name])) <= COLOUR_TOLERANCE else None


def colour_distance(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Delta E of 1976 between two sRGB triples of 0..255: their distance in CIE Lab under D65."""
    return float(np.linalg.norm(_lab(one) - _lab(other)))


def nearest_colour(rgb: npt.NDArray[np.float32]) -> str:
    """The colour of the world nearest to an RGB triple of 0..255."""
    return min(COLOURS, key=lambda name: float(np.linalg.norm(rgb - np.array(COLOURS[name]))))


def _lab(rgb: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """CIE Lab of an sRGB triple of 0..255 (IEC 61966-2-1, CIE 15)."""
    encoded = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    tristimulus = _XYZ_OF_RGB @ linear / _WHITE
    x, y, z = np.where(tristimulus > 216 / 24389, np.cbrt(tristimulus), (24389 / 27 * tristimulus + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


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
def _unit_area(thing: str) -> float:
    """A thing's area in squares of its radius."""
    return float((np.asarray(draw_mask(Scene(thing, "red", "white", radius=0.4), 512)) > 0).sum()) / (0.4 * 512) ** 2


def _overlap_of(fit: Fit) -> float:
    return fit.overlap


def _best_placed(spectrum: npt.NDArray[np.complex128], area: float, drawn: Mask) -> tuple[float, Point]:
    """The best overlap of all whole-pixel placements at once, and its centre: intersections are a correlation."""
    shared = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(drawn)), s=drawn.shape)
    down, right = np.unravel_index(int(shared.argmax()), drawn.shape)
    centre = (float(right / JUDGED_SIDE + 0.5) % 1, float(down / JUDGED_SIDE + 0.5) % 1)
    return float(shared.max() / (area + drawn.sum() - shared.max())), centre


@cache
def _templates() -> tuple[tuple[str, Mask], ...]:
    angles = (-10.0, -5.0, 0.0, 5.0, 10.0)
    scenes = [Scene(thing, "red", "white", radius=0.4, angle=angle) for thing in THINGS for angle in angles]
    return tuple((scene.thing, _normalised(np.asarray(draw_mask(scene, 256)) > 0)) for scene in scenes)


def _best_template(mask: Mask) -> tuple[str, float]:
    scored = [((mask & drawn).sum() / (mask | drawn).sum(), thing) for thing, drawn in _templates()]
    overlap, thing = max(scored)
    return thing, float(overlap)
