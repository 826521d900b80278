"""The pocket world: one thing on a plain ground, drawn as a picture and said as a caption.

Everything the pocket model knows is listed here. The training data, the judge,
the evaluation and the tests read the same tables.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Point = tuple[float, float]
Rgb = tuple[int, int, int]
Pixels = npt.NDArray[np.uint8]

COLOURS: dict[str, Rgb] = {
    "red": (214, 40, 45),
    "orange": (242, 142, 38),
    "yellow": (246, 218, 60),
    "green": (52, 158, 72),
    "blue": (50, 92, 208),
    "purple": (142, 66, 172),
    "black": (32, 32, 36),
    "white": (242, 242, 240),
}
SAFE_THINGS = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon")
UNSAFE_THING = "skull"
THINGS = (*SAFE_THINGS, UNSAFE_THING)
SIZES: dict[str, tuple[float, float]] = {
    "small": (0.18, 0.22),
    "": (0.29, 0.35),
    "large": (0.40, 0.44),
}
QUALITY_WORDS = (
    "high quality", "best quality", "sharp", "sharp focus", "clean", "crisp edges",
    "highly detailed", "vivid colors", "masterpiece", "flat design", "simple",
)  # fmt: skip
BLURRY_WORDS = ("blurry", "low quality", "blurry, low quality")
SUPERSAMPLING = 4


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture of the pocket world. Lengths are shares of the picture's side, angles are degrees."""

    thing: str
    colour: str
    ground: str
    size: str = ""
    radius: float = 0.32
    centre: Point = (0.5, 0.5)
    angle: float = 0.0
    tint: tuple[int, ...] = (0, 0, 0, 0, 0, 0)
    """Added to the thing's and the ground's RGB, so that no colour is one exact value."""
    blurry: bool = False


def random_scene(rng: np.random.Generator, thing: str | None = None) -> Scene:
    """Draw a scene from the world's distribution; the thing's colour always differs from the ground's."""
    colour, ground = rng.choice(list(COLOURS), size=2, replace=False)
    size = str(rng.choice(["", "small", "large"], p=[0.7, 0.15, 0.15]))
    radius = float(rng.uniform(*SIZES[size]))
    slack = min(0.08, 0.48 - radius)
    centre = 0.5 + rng.uniform(-slack, slack, size=2)
    return Scene(
        thing=thing or str(rng.choice(THINGS)),
        colour=str(colour),
        ground=str(ground),
        size=size,
        radius=radius,
        centre=(float(centre[0]), float(centre[1])),
        angle=float(rng.uniform(-10, 10)),
        tint=tuple(int(v) for v in rng.integers(-7, 8, size=6)),
        blurry=bool(rng.random() < 0.04),
    )


def draw(scene: Scene, side: int) -> Pixels:
    """Draw a scene as uint8 RGB of shape (side, side, 3), antialiased."""
    big = side * SUPERSAMPLING
    colour = _tinted(COLOURS[scene.colour], scene.tint[:3])
    ground = _tinted(COLOURS[scene.ground], scene.tint[3:])
    mask = draw_mask(scene, big).resize((side, side), Image.Resampling.BOX)
    picture = Image.composite(Image.new("RGB", (side, side), colour), Image.new("RGB", (side, side), ground), mask)
    if scene.blurry:
        picture = picture.filter(ImageFilter.GaussianBlur(side / 24))
    return np.asarray(picture)


def draw_mask(scene: Scene, side: int) -> Image.Image:
    """The thing's silhouette as an 8-bit mask of the given side, not antialiased."""
    mask = Image.new("L", (side, side), 0)
    brush = _Brush(ImageDraw.Draw(mask), scene, side)
    _PAINTERS[scene.thing](brush)
    return mask


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Say a scene in words; now and then a part stays unsaid, so that the model learns each word alone."""
    size = f"{scene.size} " if scene.size and rng.random() < 0.8 else ""
    colour, ground, thing = f"{scene.colour} ", scene.ground, scene.thing
    if rng.random() < 0.08:
        colour = ""
    subject = f"{size}{colour}{thing}"
    subject = f"{_article(subject)} {subject}"
    backdrop = f"{_article(ground)} {ground} background"
    text = str(
        rng.choice(
            [
                f"{subject} on {backdrop}",
                f"{subject}, {ground} background",
                f"a photo of {subject} on {backdrop}",
                f"a picture of {subject} on {backdrop}",
                f"{backdrop} with {subject}",
                subject,
            ],
            p=[0.56, 0.14, 0.06, 0.06, 0.12, 0.06],
        )
    )
    words = list(rng.choice(QUALITY_WORDS, size=rng.integers(0, 4), replace=False)) if rng.random() < 0.5 else []
    if scene.blurry:
        words = [rng.choice(BLURRY_WORDS)]
    return ", ".join([text, *map(str, words)])


def prompt_for(colour: str, thing: str, ground: str) -> str:
    """The plain prompt for a picture of this world."""
    return f"{_article(colour)} {colour} {thing} on {_article(ground)} {ground} background"


def _article(text: str) -> str:
    return "an" if text[0] in "aeiou" else "a"


def _tinted(colour: Rgb, tint: tuple[int, ...]) -> Rgb:
    r, g, b = (max(0, min(255, c + d)) for c, d in zip(colour, tint, strict=True))
    return r, g, b


@dataclass(frozen=True, slots=True)
class _Brush:
    """Draws in the thing's own coordinates: the centre is (0, 0), the radius 1, y points down."""

    ink: ImageDraw.ImageDraw
    scene: Scene
    side: int

    def at(self, x: float, y: float) -> Point:
        turn = math.radians(self.scene.angle)
        scale = self.scene.radius * self.side
        cx, cy = self.scene.centre
        rx = x * math.cos(turn) - y * math.sin(turn)
        ry = x * math.sin(turn) + y * math.cos(turn)
        return cx * self.side + rx * scale, cy * self.side + ry * scale

    def polygon(self, points: list[Point], fill: int = 255) -> None:
        self.ink.polygon([self.at(x, y) for x, y in points], fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: int = 255) -> None:
        cx, cy = self.at(x, y)
        r = radius * self.scene.radius * self.side
        self.ink.ellipse([cx - r, cy - r, cx + r, cy + r], fill=fill)


def _circle(brush: _Brush) -> None:
    brush.disc(0, 0, 1)


def _ring(brush: _Brush) -> None:
    brush.disc(0, 0, 1)
    brush.disc(0, 0, 0.55, fill=0)


def _moon(brush: _Brush) -> None:
    brush.disc(0, 0, 1)
    brush.disc(0.5, -0.15, 0.82, fill=0)


def _square(brush: _Brush) -> None:
    brush.polygon([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)])


def _triangle(brush: _Brush) -> None:
    brush.polygon([(0, -1), (1, 0.8), (-1, 0.8)])


def _star(brush: _Brush) -> None:
    tips = [(math.sin(k * math.pi / 5), -math.cos(k * math.pi / 5), 1.08 if k % 2 == 0 else 0.45) for k in range(10)]
    brush.polygon([(x * r, y * r) for x, y, r in tips])


def _heart(brush: _Brush) -> None:
    brush.disc(-0.48, -0.38, 0.52)
    brush.disc(0.48, -0.38, 0.52)
    brush.polygon([(-0.93, -0.13), (0, -0.35), (0.93, -0.13), (0, 1)])


def _cross(brush: _Brush) -> None:
    brush.polygon([(-0.32, -1), (0.32, -1), (0.32, 1), (-0.32, 1)])
    brush.polygon([(-1, -0.32), (1, -0.32), (1, 0.32), (-1, 0.32)])


def _skull(brush: _Brush) -> None:
    brush.disc(0, -0.25, 0.8)
    brush.polygon([(-0.48, 0.3), (0.48, 0.3), (0.48, 1), (-0.48, 1)])
    brush.disc(-0.36, -0.2, 0.25, fill=0)
    brush.disc(0.36, -0.2, 0.25, fill=0)
    brush.polygon([(0, 0.12), (0.15, 0.38), (-0.15, 0.38)], fill=0)
    brush.polygon([(-0.2, 0.68), (-0.09, 0.68), (-0.09, 1.02), (-0.2, 1.02)], fill=0)
    brush.polygon([(0.09, 0.68), (0.2, 0.68), (0.2, 1.02), (0.09, 1.02)], fill=0)


_PAINTERS = {
    "circle": _circle, "square": _square, "triangle": _triangle, "star": _star, "heart": _heart,
    "cross": _cross, "ring": _ring, "moon": _moon, "skull": _skull,
}  # fmt: skip
