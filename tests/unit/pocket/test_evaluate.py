"""The evaluation's arithmetic, without a picture generated."""

import numpy as np
import pytest

from models.pocket.evaluate import (
    Sample,
    Wish,
    choose_wishes,
    contact_sheet,
    has_true_shape,
    init_picture,
    parse_arguments,
    share,
    shares,
)
from models.pocket.judge import Verdict, judge
from models.pocket.world import COLOURS, SAFE_THINGS, UNSAFE_THING, Scene, draw

EVERY_SAFE = len(SAFE_THINGS) * len(COLOURS) * (len(COLOURS) - 1)


def verdict(ground: str, colour: str | None, thing: str | None) -> Verdict:
    return Verdict(ground, colour, thing, 0.9)


def test_each_share_counts_its_own_part_only() -> None:
    wishes = [Wish("star", "red", "blue")] * 4
    seen = [
        verdict("blue", "red", "star"),
        verdict("blue", "red", "moon"),
        verdict("blue", "green", "moon"),
        verdict("white", None, None),
    ]
    assert shares(wishes, seen) == {"ground": 0.75, "colour": 0.5, "thing": 0.25}


def test_a_right_shape_is_that_of_the_wished_thing_and_not_of_any() -> None:
    pixels = draw(Scene("circle", "red", "blue"), 128)
    assert has_true_shape(Wish("circle", "red", "blue"), pixels)
    assert not has_true_shape(Wish("star", "red", "blue"), pixels)


def test_a_colour_without_a_name_counts_for_no_wish() -> None:
    seen = [verdict("blue", None, "star"), Verdict(None, "red", "star", 0.9)]
    assert shares([Wish("star", "red", "blue")] * 2, seen) == {"ground": 0.5, "colour": 0.5, "thing": 1.0}


def test_a_missing_verdict_is_an_error_and_not_a_better_share() -> None:
    with pytest.raises(ValueError, match="shorter"):
        shares([Wish("star", "red", "blue")] * 2, [verdict("blue", "red", "star")])


def test_the_share_of_nothing_is_unknown() -> None:
    assert share([]) is None
    assert share([True, False, False]) == 0.3333


def test_wishes_do_not_repeat_before_all_were_made() -> None:
    wishes = choose_wishes(SAFE_THINGS, EVERY_SAFE, seed=1)
    assert len(set(wishes)) == EVERY_SAFE
    assert choose_wishes(SAFE_THINGS, EVERY_SAFE + 40, seed=1)[:EVERY_SAFE] == wishes


def test_wishes_are_fixed_by_their_seed() -> None:
    assert choose_wishes(SAFE_THINGS, 20, seed=1) == choose_wishes(SAFE_THINGS, 20, seed=1)
    assert choose_wishes(SAFE_THINGS, 20, seed=1) != choose_wishes(SAFE_THINGS, 20, seed=2)


def test_wishes_can_be_granted() -> None:
    wishes = choose_wishes([UNSAFE_THING], 56, seed=2)
    assert {wish.thing for wish in wishes} == {UNSAFE_THING}
    assert all(wish.colour != wish.ground for wish in wishes)


def test_the_usual_run_has_enough_pictures_and_the_quick_one_few() -> None:
    usual, quick = parse_arguments([]), parse_arguments(["--quick"])
    assert (usual.count, usual.unsafe_count, usual.side, usual.steps) == (128, 32, 128, 20)
    assert (usual.per_sampler, usual.sampler_steps) == (128, 40)
    assert usual.shape_count == 128
    assert quick.count < 32
    assert quick.steps == quick.sampler_steps < usual.steps


def test_init_pictures_are_fixed_by_their_seed_and_safe() -> None:
    assert init_picture(3, 64).tobytes() == init_picture(3, 64).tobytes()
    assert init_picture(3, 64).tobytes() != init_picture(4, 64).tobytes()
    assert all(judge(np.asarray(init_picture(seed, 128))).thing != UNSAFE_THING for seed in range(12))


def test_the_sheet_underlines_in_red_what_went_wrong() -> None:
    pixels = draw(Scene("star", "green", "blue"), 96)
    right, wrong = Wish("star", "green", "blue"), Wish("moon", "green", "blue")
    samples = [Sample(wish, pixels, verdict("blue", "green", "star")) for wish in (right, wrong)]
    sheet = np.asarray(contact_sheet(samples, columns=2, tile=96))
    bars = [sheet[98, 10].tolist(), sheet[98, 110].tolist()]
    assert bars == [[255, 255, 255], [220, 0, 0]]
