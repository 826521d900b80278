"""The judge names what is drawn, and says so when there is nothing."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from models.pocket.judge import judge, nearest_colour
from models.pocket.world import COLOURS, THINGS, Pixels, Scene, draw, random_scene


def sharp_scenes(count: int) -> list[Scene]:
    rng = np.random.default_rng(5)
    drawn = (random_scene(rng) for _ in range(2 * count))
    return [scene for scene in drawn if not scene.blurry][:count]


def right(scene: Scene, pixels: Pixels) -> tuple[bool, bool, bool]:
    verdict = judge(pixels)
    return verdict.ground == scene.ground, verdict.colour == scene.colour, verdict.thing == scene.thing


@pytest.mark.parametrize("side", [128, 256])
def test_it_names_nearly_every_drawn_scene(side: int) -> None:
    answers = np.array([right(scene, draw(scene, side)) for scene in sharp_scenes(120)])
    assert (answers.mean(axis=0) >= (0.99, 0.99, 0.97)).all()


@pytest.mark.parametrize("thing", THINGS)
def test_it_names_each_thing(thing: str) -> None:
    assert judge(draw(Scene(thing, "yellow", "blue", angle=4), 128)).thing == thing


@pytest.mark.parametrize("colour", COLOURS)
def test_it_names_each_colour_and_each_ground(colour: str) -> None:
    other = "white" if colour != "white" else "black"
    assert judge(draw(Scene("circle", colour, other), 128)).colour == colour
    assert judge(draw(Scene("circle", other, colour), 128)).ground == colour


def test_it_sees_no_thing_on_an_empty_ground() -> None:
    verdict = judge(np.full((128, 128, 3), COLOURS["green"], dtype=np.uint8))
    assert (verdict.ground, verdict.colour, verdict.thing, verdict.overlap) == ("green", None, None, 0.0)


def test_it_overlooks_softness_and_noise() -> None:
    rng = np.random.default_rng(6)
    answers = []
    for scene in sharp_scenes(60):
        soft = np.asarray(Image.fromarray(draw(scene, 128)).filter(ImageFilter.GaussianBlur(1.0)))
        noisy = (soft + rng.normal(0, 6, soft.shape)).clip(0, 255).astype(np.uint8)
        answers.append(right(scene, noisy))
    assert (np.mean(answers, axis=0) >= (0.98, 0.98, 0.92)).all()


def test_specks_at_the_edges_are_not_the_thing() -> None:
    specked = draw(Scene("circle", "red", "white"), 128).copy()
    specked[0, :30] = specked[127, 100:] = specked[60, 127] = COLOURS["black"]
    verdict = judge(specked)
    assert (verdict.thing, verdict.colour) == ("circle", "red")
    assert verdict.overlap > 0.9


def test_a_bad_silhouette_overlaps_less_than_a_drawn_one() -> None:
    drawn = draw(Scene("star", "red", "white"), 128)
    torn = drawn.copy()
    torn[60:90, 30:70] = COLOURS["white"]
    assert judge(torn).overlap < judge(drawn).overlap - 0.1


def test_the_nearest_colour_is_the_colour_itself() -> None:
    assert [nearest_colour(np.array(rgb, dtype=np.float32)) for rgb in COLOURS.values()] == list(COLOURS)
