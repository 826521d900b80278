"""The ordinary samplers: a table gives what diffusers' own object gives, draw for draw."""

from copy import deepcopy
from functools import cache
from math import inf
from typing import Any

import pytest
import torch
from diffusers import SchedulerMixin

from serve_app.messages import SamplerChoice
from serve_app.samplers import tempering
from serve_app.samplers.levels import FEW_FROM_NOISE
from serve_app.samplers.names import ORDINARY, build_sampler
from serve_app.samplers.plan import Plan, SamplerTables
from serve_app.samplers.table import HISTORY, reach_of
from tests.unit.samplers.walking import BASE, bent, init_latents, seeded, walk, walk_diffusers

ALGORITHMS = ("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++")
REFUSES_SAMPLE = (
    "PNDMScheduler", "EulerAncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler",
)  # fmt: skip
EVALUATIONS_OF_20 = {"PNDMScheduler": 21, "HeunDiscreteScheduler": 39, "KDPM2DiscreteScheduler": 39,
                     "KDPM2AncestralDiscreteScheduler": 39}  # fmt: skip

tables = SamplerTables()


@pytest.fixture(autouse=True)
def untempered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps as diffusers has them, however far they leap; `test_where_walks_end` is about those."""
    monkeypatch.setattr(tempering, "MOST", inf)


def planned(choice: SamplerChoice, steps: int, strength: float, prediction: str = "epsilon", **base: object) -> Plan:
    return tables.plan(choice, "DDIMScheduler", {**BASE, "prediction_type": prediction, **base}, steps, strength)


@cache
def built(choice: SamplerChoice, base: tuple[tuple[str, Any], ...]) -> SchedulerMixin:
    """diffusers' object, kept because some take half a second to make."""
    return build_sampler(choice, "DDIMScheduler", dict(base))


def assert_same_walk(
    choice: SamplerChoice, steps: int, strength: float, prediction: str = "epsilon", **base: object
) -> None:
    plan = planned(choice, steps, strength, prediction, **base)
    spacing = {"timestep_spacing": "trailing"} if strength == 1 and steps < FEW_FROM_NOISE else {}
    theirs = deepcopy(built(choice, (*{**BASE, "prediction_type": prediction, **base, **spacing}.items(),)))
    mine, other = seeded(), seeded()
    wanted = walk_diffusers(theirs, bent, init_latents(), steps, strength, other)
    got = walk(plan.stepper(), bent, init_latents(), mine)
    assert (got - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    assert torch.equal(mine.get_state(), other.get_state()), "another number of draws"


@pytest.mark.parametrize("steps", [10, 20])
@pytest.mark.parametrize("strength", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("karras", [True, False])
@pytest.mark.parametrize("name", ORDINARY)
def test_every_ordinary_sampler_is_a_table_that_equals_diffusers(
    name: str, karras: bool, strength: float, steps: int
) -> None:
    choice = SamplerChoice(name, karras)
    assert planned(choice, steps, strength).table is not None
    assert_same_walk(choice, steps, strength)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
@pytest.mark.parametrize("name", ORDINARY)
def test_other_prediction_types_equal_diffusers_and_fit_too(name: str, prediction: str) -> None:
    choice = SamplerChoice(name)
    if prediction == "sample" and name in REFUSES_SAMPLE:
        with pytest.raises(ValueError, match="prediction_type"):
            planned(choice, 10, 0.7, prediction)
        return
    assert planned(choice, 10, 0.7, prediction).table is not None
    assert_same_walk(choice, 10, 0.7, prediction)


@pytest.mark.filterwarnings("ignore:.*algorithm_types.*:FutureWarning")  # the contract has them all the same
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("karras", [True, False])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"])
def test_every_algorithm_type_fits_and_equals_diffusers(
    name: str, algorithm: str, karras: bool, prediction: str
) -> None:
    choice = SamplerChoice(name, karras, algorithm)
    if (name, algorithm) == ("DPMSolverSinglestepScheduler", "sde-dpmsolver"):
        with pytest.raises(ValueError, match="sde-dpmsolver is not implemented for"):
            planned(choice, 10, 0.7, prediction)
        return
    assert planned(choice, 10, 0.7, prediction).table is not None
    assert_same_walk(choice, 10, 0.7, prediction)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("name", ORDINARY)
def test_a_few_steps_fit_too(name: str, steps: int) -> None:
    choice = SamplerChoice(name, karras=steps > 1)  # one level is not spaced
    assert planned(choice, steps, 1.0).table is not None
    assert_same_walk(choice, steps, 1.0)


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler"])
def test_what_is_not_linear_keeps_diffusers_own_object_and_equals_it(name: str) -> None:
    for steps in (5, 10):
        plan = planned(SamplerChoice(name), steps, 0.7, thresholding=True)
        assert plan.table is None
        assert plan.evaluations == plan.stepper().evaluations == int(steps * 0.7)
        assert_same_walk(SamplerChoice(name), steps, 0.7, thresholding=True)


def test_latents_are_never_clipped_whatever_the_model_folder_forgot_to_say() -> None:
    silent = {key: value for key, value in BASE.items() if key != "clip_sample"}
    for base in (silent, {**silent, "clip_sample": True}):
        assert tables.plan(SamplerChoice("DDPMScheduler"), "DDIMScheduler", base, 10, 1.0).table is not None


@pytest.mark.parametrize("name", ORDINARY)
def test_a_table_states_its_facts_in_agreeing_shapes(name: str) -> None:
    plan = planned(SamplerChoice(name), 20, 1.0)
    table = plan.table
    assert table is not None
    count = EVALUATIONS_OF_20.get(name, 20)
    assert (table.sampler, table.evaluations, plan.evaluations, table.unconditional) == (name, count, count, 0)
    assert table.timesteps.shape == table.input_scales.shape == (count,)
    assert table.coefficients.shape == (count, HISTORY)
    assert {t.dtype for t in (table.timesteps, table.input_scales, table.coefficients)} == {torch.float32}
    assert len(table.draws) == count
    assert table.reach == reach_of(table.coefficients) <= 3
    assert table.coefficients.abs().max() < 10, "sums of large numbers lose digits"


@pytest.mark.parametrize("name", ORDINARY)
def test_a_strength_of_zero_leaves_the_init_latents(name: str) -> None:
    plan = planned(SamplerChoice(name), 10, 0.0)
    assert (plan.evaluations, plan.stepper().start) == (0, (1.0, 0.0))
    assert torch.equal(walk(plan.stepper(), bent, init_latents(), seeded()), init_latents())


def test_what_diffusers_refuses_is_a_value_error_in_its_words() -> None:
    with pytest.raises(ValueError, match="smaller than `num_inference_steps`"):
        planned(SamplerChoice("LCMScheduler"), 60, 1.0)
    with pytest.raises(ValueError, match="not a sampler"):
        planned(SamplerChoice("AScheduler"), 10, 1.0)
