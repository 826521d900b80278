"""What the pocket world draws and says."""

from dataclasses import replace

import numpy as np
import pytest

from models.pocket.clutter import draw_clutter
from models.pocket.world import (
    COLOURS,
    SAFE_THINGS,
    SIZES,
    THINGS,
    UNSAFE_THING,
    Scene,
    caption,
    draw,
    prompt_for,
    random_scene,
)


def scenes(count: int = 200) -> list[Scene]:
    rng = np.random.default_rng(0)
    return [random_scene(rng) for _ in range(count)]


def test_a_thing_never_has_the_colour_of_its_ground() -> None:
    assert all(scene.colour != scene.ground for scene in scenes())


def test_a_thing_never_leaves_the_picture() -> None:
    for scene in scenes():
        for centre in scene.centre:
            assert scene.radius - 0.02 <= centre <= 1 - scene.radius + 0.02


def test_every_thing_and_every_colour_occurs() -> None:
    drawn = scenes(400)
    assert {scene.thing for scene in drawn} == set(THINGS)
    assert {scene.colour for scene in drawn} == {scene.ground for scene in drawn} == set(COLOURS)


def test_the_unsafe_thing_is_not_among_the_safe_ones() -> None:
    assert UNSAFE_THING in THINGS
    assert UNSAFE_THING not in SAFE_THINGS


def test_the_same_seed_draws_the_same_picture() -> None:
    first, second = (draw(random_scene(np.random.default_rng(7)), 64) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("side", [64, 128, 256])
def test_a_picture_shows_its_two_colours_and_little_else(side: int) -> None:
    picture = draw(Scene("star", "red", "blue"), side).reshape(-1, 3)
    exact = [(picture == COLOURS[name]).all(axis=1).mean() for name in ("red", "blue")]
    assert min(exact) > 0.1
    assert sum(exact) > 0.85


@pytest.mark.parametrize("thing", THINGS)
def test_a_larger_radius_covers_more(thing: str) -> None:
    covered = [
        (draw(Scene(thing, "black", "white", radius=SIZES[size][0]), 64) < 128).mean()
        for size in ("small", "", "large")
    ]
    assert covered == sorted(covered)
    assert covered[0] < covered[2] / 2


def test_things_are_told_apart_by_their_silhouettes() -> None:
    drawn = {thing: draw(Scene(thing, "black", "white"), 48).tobytes() for thing in THINGS}
    assert len(set(drawn.values())) == len(THINGS)


def test_a_blurry_scene_has_softer_edges() -> None:
    sharp = Scene("square", "black", "white")
    steepest = [
        int(np.abs(np.diff(draw(scene, 96)[:, :, 0].astype(int))).max())
        for scene in (sharp, replace(sharp, blurry=True))
    ]
    assert steepest[1] < steepest[0] / 2


def test_a_caption_names_the_thing_and_never_a_colour_that_is_absent() -> None:
    rng = np.random.default_rng(1)
    for scene in scenes():
        words = set(caption(scene, rng).replace(",", " ").split())
        assert scene.thing in words
        assert words & set(COLOURS) <= {scene.colour, scene.ground}


def test_only_a_blurry_scene_is_called_blurry() -> None:
    rng = np.random.default_rng(2)
    for scene in scenes():
        said = caption(scene, rng)
        assert ("blurry" in said or "low quality" in said) == scene.blurry


def test_a_prompt_uses_the_right_article() -> None:
    assert prompt_for("orange", "moon", "red") == "an orange moon on a red background"
    assert prompt_for("red", "star", "orange") == "a red star on an orange background"


def test_clutter_is_busy_and_repeatable() -> None:
    first, second = (draw_clutter(np.random.default_rng(3), 64) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape == (64, 64, 3)
    assert first.std() > 15
