"""With a perfect model every sampler's walk ends in the world that the model knows, wherever it starts.

diffusers is no judge of this: its multistep samplers count their order from the schedule's start.
"""

from math import inf

import pytest
import torch

from bench.walks import DEVIATION, choices, walked
from serve_app.messages import SAMPLER_NAMES, SamplerChoice
from serve_app.samplers import tempering
from serve_app.samplers.counts import INVERSION
from serve_app.samplers.noise import read_schedule
from serve_app.samplers.plan import SamplerTables
from serve_app.samplers.table import SamplerTable
from tests.unit.samplers.walking import BASE, gaussian, seeded, walk

pytestmark = pytest.mark.filterwarnings("ignore:.*algorithm_types.*:FutureWarning")  # the contract has them

GRID = (
    (1, 0.3), (1, 1.0), (2, 0.7), (3, 1.0), (5, 0.4), (5, 0.8), (10, 0.1), (10, 0.3), (10, 0.7), (20, 0.7), (30, 0.1),
)  # fmt: skip
"""Pairs of steps and strength at which walks went wrong, and such as were right."""
NOISY = 1.16
"""Times the world's own deviation: so far from its mean a walk may end at most."""
CHOICES = tuple(choices())
EVEN = tuple(choice for choice in CHOICES if not choice.karras)
tables = SamplerTables(capacity=10_000)


def table_of(choice: SamplerChoice, steps: int, strength: float, **base: object) -> SamplerTable:
    table = tables.plan(choice, "", {**BASE, **base}, steps, strength).table
    assert table is not None
    return table


def named(choice: SamplerChoice) -> str:
    return f"{choice.name}-{choice.karras}-{choice.algorithm_type}"


@pytest.mark.parametrize("choice", CHOICES, ids=named)
def test_no_walk_ends_noisier_than_the_world_is(choice: SamplerChoice) -> None:
    schedule = read_schedule(BASE)
    for steps, strength in GRID:
        end = walked(table_of(choice, steps, strength), schedule)
        assert end.distance <= NOISY * DEVIATION, (steps, strength)


@pytest.mark.parametrize("base", [{"timestep_spacing": "linspace"}, {"timestep_spacing": "trailing"},
                                  {"prediction_type": "v_prediction"}], ids=str)  # fmt: skip
def test_nor_with_another_spacing_or_prediction(base: dict[str, object]) -> None:
    schedule = read_schedule({**BASE, **base})
    for choice in EVEN:
        for steps, strength in ((1, 0.7), (3, 1.0), (10, 0.3)):
            end = walked(table_of(choice, steps, strength, **base), schedule)
            assert end.distance <= NOISY * DEVIATION, (named(choice), steps, strength)


@pytest.mark.parametrize(("steps", "strength"), [(1, 0.3), (2, 1.0), (3, 0.7), (5, 0.4), (10, 0.3), (20, 0.7)])
def test_nor_does_the_one_that_is_no_table(steps: int, strength: float) -> None:
    schedule, mean = read_schedule(BASE), torch.ones(1, 4, 64, 64)
    init = mean + DEVIATION * torch.randn(mean.shape, generator=seeded(1))
    stepper = tables.plan(SamplerChoice("ScoreSdeVeScheduler"), "", BASE, steps, strength).stepper()
    away = walk(stepper, gaussian(schedule, mean, DEVIATION), init, seeded(2)) - mean
    assert float(away.square().mean().sqrt()) <= NOISY * DEVIATION


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 20])
def test_a_strength_of_one_starts_from_noise_alone(steps: int) -> None:
    """Inversion makes its noise of the picture, so it is another thing."""
    for name in SAMPLER_NAMES:
        own, noise = tables.plan(SamplerChoice(name), "", BASE, steps, 1.0).stepper().start
        assert (own == 0 and noise >= 1) or name == INVERSION, name


@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_a_single_step_starts_where_strength_says_and_not_at_the_last_level(name: str) -> None:
    for steps, strength in ((1, 0.7), (2, 0.7), (10, 0.15), (20, 0.05)):
        timesteps = tables.plan(SamplerChoice(name), "", BASE, steps, strength).stepper().timesteps
        assert float(timesteps.max()) == pytest.approx(1000 * strength, abs=1.01), (steps, strength)


def test_strength_means_as_much_with_every_even_sampler() -> None:
    """What is left of the init picture at .7: ancestral ones keep less of it on the way, IPNDM kept .22."""
    schedule = read_schedule(BASE)
    left = {
        named(choice): walked(table_of(choice, 20, 0.7), schedule).init for choice in EVEN if choice.name != INVERSION
    }
    assert {name: part for name, part in left.items() if not -0.01 < part < 0.12} == {}


@pytest.mark.parametrize("name", ["HeunDiscreteScheduler", *tempering.MIDPOINT])
def test_steps_that_do_not_leap_stay_as_diffusers_has_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = table_of(SamplerChoice(name), 20, 0.7)
    monkeypatch.setattr(tempering, "MOST", inf)
    theirs = SamplerTables().plan(SamplerChoice(name), "", BASE, 20, 0.7).table
    assert theirs is not None
    assert torch.equal(ours.coefficients, theirs.coefficients)


LEAPING = (
    *(SamplerChoice(name, karras=False) for name in ("HeunDiscreteScheduler", *tempering.MIDPOINT)),
    SamplerChoice("DPMSolverMultistepScheduler", False, "sde-dpmsolver"),
    SamplerChoice("DPMSolverSinglestepScheduler", False, "dpmsolver"),
)


@pytest.mark.parametrize("choice", LEAPING, ids=named)
def test_without_tempering_the_same_steps_would_leave_noise(
    choice: SamplerChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempering, "MOST", inf)
    plans = [SamplerTables().plan(choice, "", BASE, steps, strength) for steps, strength in ((5, 0.8), (10, 0.7))]
    ends = [walked(plan.table, read_schedule(BASE)).distance for plan in plans if plan.table is not None]
    assert max(ends) > NOISY * DEVIATION
