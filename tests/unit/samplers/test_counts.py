"""Steps are counted in decimals, as clients write them, and a strength above 0 always makes one."""

from fractions import Fraction
from math import floor

import pytest

from serve_app.api.kinds import Number
from serve_app.messages import SAMPLER_NAMES
from serve_app.samplers.counts import evaluations, kept_steps

STRENGTH = Number(0, 1)


@pytest.mark.parametrize("parts", [100, 1000])
def test_every_decimal_strength_leaves_as_many_steps_as_fractions_say(parts: int) -> None:
    for steps in range(1, 51):
        for part in range(1, parts + 1):
            wanted = max(1, floor(steps * Fraction(part, parts)))
            assert kept_steps(steps, part / parts) == wanted, (steps, part)


@pytest.mark.parametrize("written", ["0.58", ".58", "0.580", "5.8e-1", " 0.58 ", 0.58])
def test_fifty_steps_at_a_strength_of_58_hundredths_are_29_however_it_was_written(written: object) -> None:
    assert kept_steps(50, STRENGTH.read(written)) == 29


@pytest.mark.parametrize("strength", [1e-12, 0.001, 0.3, 0.7, 0.999999])
def test_a_strength_above_zero_makes_at_least_one_step(strength: float) -> None:
    assert kept_steps(1, strength) == 1
    assert all(evaluations(1, strength, name) >= 1 for name in SAMPLER_NAMES)


def test_only_a_strength_of_one_keeps_all_of_several_steps() -> None:
    assert kept_steps(50, 1) == 50
    assert kept_steps(50, 0.9999999999999999) == 49


def test_a_strength_of_zero_makes_none() -> None:
    assert {evaluations(20, 0.0, name) for name in (*SAMPLER_NAMES, None)} == {0}
