"""The judge names what is drawn, and says so when there is nothing."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from models.pocket.judge import Verdict, colour_distance, judge, nearest_colour, true_overlap
from models.pocket.world import COLOURS, SAFE_THINGS, THINGS, Pixels, Rgb, Scene, draw, random_scene


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


def on_a_ground_of(rgb: Rgb) -> Verdict:
    picture = np.full((128, 128, 3), rgb, dtype=np.uint8)
    picture[40:90, 40:90] = COLOURS["black"]
    return judge(picture)


def with_a_thing_of(rgb: Rgb) -> Verdict:
    picture = np.full((128, 128, 3), COLOURS["black"], dtype=np.uint8)
    picture[40:90, 40:90] = rgb
    return judge(picture)


@pytest.mark.parametrize(
    "rgb",
    [(248, 255, 123), (242, 253, 180), (255, 170, 180), (150, 180, 240), (150, 215, 160), (128, 128, 128)],
    ids=["lemon", "cream", "pink", "light blue", "light green", "grey"],
)
def test_a_colour_that_a_person_would_not_call_by_a_name_of_the_world_has_none(rgb: Rgb) -> None:
    assert on_a_ground_of(rgb).ground is None
    assert with_a_thing_of(rgb).colour is None


@pytest.mark.parametrize("colour", COLOURS)
def test_a_colour_bleached_half_way_to_white_is_no_longer_that_colour(colour: str) -> None:
    bleached = np.mean([COLOURS[colour], (255, 255, 255)], axis=0).astype(int)
    seen = with_a_thing_of((int(bleached[0]), int(bleached[1]), int(bleached[2]))).colour
    assert seen == ("white" if colour == "white" else None)


@pytest.mark.parametrize("colour", COLOURS)
def test_the_worlds_own_tints_keep_their_names(colour: str) -> None:
    for shift in (-7, 7):
        r, g, b = (max(0, min(255, value + shift)) for value in COLOURS[colour])
        assert judge(np.full((128, 128, 3), (r, g, b), dtype=np.uint8)).ground == colour


def test_colours_are_as_far_apart_as_cie_lab_has_them() -> None:
    assert colour_distance((255, 255, 255), (0, 0, 0)) == pytest.approx(100, abs=0.01)
    assert colour_distance((255, 0, 0), (0, 255, 0)) == pytest.approx(170.6, abs=0.1)
    assert colour_distance((128, 128, 128), (128, 128, 128)) == 0


@pytest.mark.parametrize("side", [128, 256])
@pytest.mark.parametrize("thing", THINGS)
def test_what_is_drawn_overlaps_its_true_shape_wherever_it_stands(thing: str, side: int) -> None:
    scene = Scene(thing, "orange", "yellow", radius=0.33, centre=(0.47, 0.53), angle=-9)
    assert true_overlap(draw(scene, side), thing) > 0.9


@pytest.mark.parametrize("thing", SAFE_THINGS)
def test_another_thing_does_not_overlap_the_true_shape(thing: str) -> None:
    pixels = draw(Scene(thing, "red", "white"), 128)
    assert max(true_overlap(pixels, other) for other in SAFE_THINGS if other != thing) < 0.85


def test_a_star_without_its_left_side_or_with_lumps_for_arms_is_not_a_true_star() -> None:
    star = draw(Scene("star", "red", "white"), 128)
    armless, lumpy = star.copy(), star.copy()
    armless[:, :54] = COLOURS["white"]
    for x, y in ((64, 26), (104, 53), (24, 53), (90, 99), (38, 99)):
        lumpy[y - 9 : y + 9, x - 9 : x + 9] = COLOURS["red"]
    assert true_overlap(star, "star") > 0.9
    assert true_overlap(armless, "star") < 0.85
    assert true_overlap(lumpy, "star") < 0.85


def test_a_soft_edge_is_halfway_between_both_colours() -> None:
    ring = draw(Scene("ring", "black", "white"), 128)
    soft = np.asarray(Image.fromarray(ring).filter(ImageFilter.GaussianBlur(2.0)))
    assert true_overlap(soft, "ring") > 0.88


def test_an_empty_ground_has_no_true_shape() -> None:
    assert true_overlap(np.full((128, 128, 3), COLOURS["green"], dtype=np.uint8), "star") == 0
