"""Pictures as the safety checker may meet them: turned, cropped, pasted, restyled, soft, noisy, compressed."""

import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from models.pocket.clutter import draw_clutter
from models.pocket.training.restyling import draw_framed, draw_striped
from models.pocket.world import (
    COLOURS,
    SAFE_THINGS,
    SIZES,
    THINGS,
    UNSAFE_THING,
    Pixels,
    Scene,
    draw,
    draw_mask,
    random_scene,
)

SEEN_SIDE = 64
DRAWN_SIDE = 128
NOTHING = len(THINGS)
"""The label of a picture that shows no thing of the world."""
UNSAFE = THINGS.index(UNSAFE_THING)
SMALLEST_RADIUS = 0.14
"""Of the picture's side, after pasting: below it nine patches of the checker hold the whole thing."""


def sighting(rng: np.random.Generator, wildness: float = 1.0) -> tuple[Image.Image, int]:
    """One picture of SEEN_SIDE pixels, wild or tame, and the index of its thing in THINGS (or NOTHING)."""
    picture, label = _wild(rng) if rng.random() < wildness else _tame(rng)
    return picture.resize((SEEN_SIDE, SEEN_SIDE), Image.Resampling.BICUBIC), label


def _tame(rng: np.random.Generator) -> tuple[Image.Image, int]:
    """A plain scene as the world draws it, oftener small, since a small ring looks like a small skull."""
    thing = UNSAFE_THING if rng.random() < 0.45 else str(rng.choice(SAFE_THINGS))
    scene = random_scene(rng, thing)
    if rng.random() < 0.3:
        scene = replace(scene, radius=float(rng.uniform(*SIZES["small"])))
    return Image.fromarray(draw(scene, DRAWN_SIDE)), THINGS.index(thing)


def _wild(rng: np.random.Generator) -> tuple[Image.Image, int]:
    """Anything that may come."""
    kind = rng.choice(["unsafe", "safe", "doodle", "empty"], p=[0.36, 0.40, 0.10, 0.14])
    if kind == "unsafe":
        picture, label = _thing(rng, UNSAFE_THING), UNSAFE
    elif kind == "safe":
        thing = str(rng.choice(SAFE_THINGS))
        picture, label = _thing(rng, thing), THINGS.index(thing)
    else:
        picture, label = (_doodle(rng) if kind == "doodle" else _empty(rng)), NOTHING
    return degraded(rng, picture), label


def _thing(rng: np.random.Generator, thing: str) -> Image.Image:
    """A scene of the world, wilder than the denoiser knows it."""
    scene = _wild_scene(rng, thing)
    framing = rng.choice(["whole", "cropped", "pasted"], p=[0.6, 0.22, 0.18])
    picture = Image.fromarray(_restyled(rng, scene))
    if framing == "cropped":
        return _cropped(rng, picture, scene)
    if framing == "pasted" and scene.radius > 0.24:
        return _pasted(rng, picture, scene.radius)
    return picture


def _wild_scene(rng: np.random.Generator, thing: str) -> Scene:
    scene = random_scene(rng, thing)
    reach = rng.choice([10, 45, 180], p=[0.65, 0.2, 0.15])
    radius = scene.radius if rng.random() < 0.7 else float(rng.uniform(SMALLEST_RADIUS, 0.46))
    slack = max(0.02, 0.47 - radius)
    centre = scene.centre if rng.random() < 0.5 else tuple(map(float, 0.5 + rng.uniform(-slack, slack, size=2)))
    tint = scene.tint if rng.random() < 0.6 else _wild_tint(rng, scene)
    return replace(
        scene,
        angle=float(rng.uniform(-reach, reach)),
        radius=radius,
        centre=(centre[0], centre[1]),
        tint=tint,
        blurry=bool(rng.random() < 0.02),
    )


def _wild_tint(rng: np.random.Generator, scene: Scene) -> tuple[int, ...]:
    """A tint that leaves thing and ground far enough apart to be seen."""
    names = np.array([*COLOURS[scene.colour], *COLOURS[scene.ground]])
    for _ in range(4):
        tint = rng.integers(-60, 61, size=6)
        tinted = (names + tint).clip(0, 255)
        if np.linalg.norm(tinted[:3] - tinted[3:]) > 70:
            return tuple(int(v) for v in tint)
    return scene.tint


def _restyled(rng: np.random.Generator, scene: Scene) -> Pixels:
    styles: list[Callable[[Scene, int], Pixels]] = [draw, draw_striped, draw_framed, _on_gradient]
    style = styles[rng.choice(4, p=[0.76, 0.09, 0.06, 0.09])]
    if style is draw_framed and scene.radius > 0.36:
        style = draw
    return style(scene, DRAWN_SIDE)


def _on_gradient(scene: Scene, side: int) -> Pixels:
    """The scene lit from one side."""
    light = np.linspace(0.65, 1.25, side, dtype=np.float32)[None, :, None]
    return (draw(scene, side) * light).clip(0, 255).astype(np.uint8)


def _cropped(rng: np.random.Generator, picture: Image.Image, scene: Scene) -> Image.Image:
    """A rectangle that still holds the thing; made square later, which stretches it, as wide pictures are."""
    side = picture.width
    low = [max(0.0, (c - scene.radius * 1.02) * side) for c in scene.centre]
    high = [min(float(side), (c + scene.radius * 1.02) * side) for c in scene.centre]
    left, top = (float(rng.uniform(0, v)) for v in low)
    right, bottom = (float(rng.uniform(v, side)) for v in high)
    return picture.crop((round(left), round(top), round(right), round(bottom)))


def _pasted(rng: np.random.Generator, picture: Image.Image, radius: float) -> Image.Image:
    """The picture as a part of a larger, busy or plain one."""
    share = float(rng.uniform(SMALLEST_RADIUS / radius, 0.95))
    small = picture.resize([round(DRAWN_SIDE * share)] * 2, Image.Resampling.BOX)
    whole = _empty(rng).copy()
    x, y = rng.integers(0, DRAWN_SIDE - small.width + 1, size=2)
    whole.paste(small, (int(x), int(y)))
    return whole


def _doodle(rng: np.random.Generator) -> Image.Image:
    """Safe things on top of one another with holes in them: no skull, though it has some of its features."""
    scenes = [_wild_scene(rng, str(rng.choice(SAFE_THINGS))) for _ in range(int(rng.integers(2, 4)))]
    holes = [_hole(rng) for _ in range(int(rng.integers(0, 4)))]
    mask = Image.new("L", (DRAWN_SIDE, DRAWN_SIDE), 0)
    for scene in scenes:
        mask = ImageChops.lighter(mask, draw_mask(scene, DRAWN_SIDE))
    for scene in holes:
        mask = ImageChops.subtract(mask, draw_mask(scene, DRAWN_SIDE))
    colour, ground = (Image.new("RGB", mask.size, _any_colour(rng)) for _ in range(2))
    return Image.composite(colour, ground, mask)


def _hole(rng: np.random.Generator) -> Scene:
    radius, x, y = float(rng.uniform(0.03, 0.14)), *map(float, rng.uniform(0.3, 0.7, size=2))
    return Scene(str(rng.choice(["circle", "triangle", "square"])), "red", "white", radius=radius, centre=(x, y))


def _empty(rng: np.random.Generator) -> Image.Image:
    """A busy picture, a plain ground or a gradient."""
    if rng.random() < 0.6:
        picture = _clutter()[rng.integers(0, len(_clutter()))]
        turned = picture.rotate(90 * int(rng.integers(0, 4)))
        edge = int(rng.integers(0, DRAWN_SIDE // 2))
        return turned.crop((edge // 2, edge // 3, DRAWN_SIDE, DRAWN_SIDE)).resize(picture.size)
    start, end = np.array(_any_colour(rng)), np.array(_any_colour(rng))
    across = np.linspace(0, 1 if rng.random() < 0.5 else 0, DRAWN_SIDE)[:, None, None]
    pixels = np.broadcast_to(start * (1 - across) + end * across, (DRAWN_SIDE, DRAWN_SIDE, 3)).astype(np.uint8)
    return Image.fromarray(pixels).rotate(90 * int(rng.integers(0, 4)))


@cache
def _clutter() -> list[Image.Image]:
    rng = np.random.default_rng(32)
    return [Image.fromarray(draw_clutter(rng, DRAWN_SIDE)) for _ in range(300)]


def _any_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    named = np.array(list(COLOURS.values()))[rng.integers(0, len(COLOURS))]
    r, g, b = (named + rng.integers(-50, 51, size=3)).clip(0, 255)
    return int(r), int(g), int(b)


def degraded(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Soft as an autoencoder leaves it, noisy, compressed, light or dark: each now and then."""
    small = min(picture.size)
    if rng.random() < 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, small / 64))))
    if rng.random() < 0.15:
        fewer = int(rng.integers(32, 64))
        picture = picture.resize((fewer, fewer), Image.Resampling.BILINEAR)
    if rng.random() < 0.35:
        picture = _noisy(rng, picture)
    if rng.random() < 0.25:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(25, 95)))
        picture = Image.open(file).convert("RGB")
    return picture


def _noisy(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    pixels = np.asarray(picture).astype(np.float32)
    gain, shift = rng.uniform(0.75, 1.2), rng.uniform(-20, 30)
    noise = rng.normal(0, rng.uniform(0, 14), size=pixels.shape)
    return Image.fromarray((pixels * gain + shift + noise).clip(0, 255).astype(np.uint8))
