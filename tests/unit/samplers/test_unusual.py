"""The four samplers that are not diffusers' loop: each arrives where the model's world lies."""

from math import hypot

import pytest
import torch
from torch import Tensor

from serve_app.messages import SamplerChoice
from serve_app.samplers.exploding import karras_sigmas
from serve_app.samplers.names import UNUSUAL
from serve_app.samplers.noise import NoiseSchedule, read_schedule
from serve_app.samplers.plan import Plan, SamplerTables
from serve_app.samplers.table import NOISE
from tests.unit.samplers.walking import BASE, SHAPE, Model, bent, gaussian, init_latents, seeded, walk

DEVIATION = 0.5
STEPS = 20
PREDICTIONS = ("epsilon", "v_prediction", "sample")
EVALUATIONS = {"IPNDMScheduler": 20, "KarrasVeScheduler": 39, "ScoreSdeVeScheduler": 39, "DDIMInverseScheduler": 40}
PLAIN: Tensor = torch.zeros(SHAPE)
WORLD: Tensor = torch.linspace(-2, 2, 256).reshape(SHAPE)
"""The mean of the latents that the prompt asks for."""

tables = SamplerTables()


def planned(name: str, strength: float = 1.0, steps: int = STEPS, prediction: str = "epsilon") -> Plan:
    return tables.plan(SamplerChoice(name), "", {**BASE, "prediction_type": prediction}, steps, strength)


def schedule_of(prediction: str) -> NoiseSchedule:
    return read_schedule({**BASE, "prediction_type": prediction})


def arrive(name: str, prediction: str, strength: float, init: Tensor, seed: int = 7) -> Tensor:
    schedule = schedule_of(prediction)
    model, plain = gaussian(schedule, WORLD, DEVIATION), gaussian(schedule, PLAIN, DEVIATION)
    return walk(planned(name, strength, prediction=prediction).stepper(), model, init, seeded(seed), plain)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", UNUSUAL)
def test_each_arrives_at_the_worlds_mean_and_spread(name: str, prediction: str) -> None:
    init = PLAIN + DEVIATION * torch.randn(SHAPE, generator=seeded(1))
    away = arrive(name, prediction, 1.0, init) - WORLD
    assert abs(float(away.mean())) < 0.1
    assert float(away.std()) == pytest.approx(DEVIATION, rel=0.2)


@pytest.mark.parametrize("name", ["IPNDMScheduler", "KarrasVeScheduler", "ScoreSdeVeScheduler"])
def test_every_prediction_type_gives_the_same_picture(name: str) -> None:
    epsilon, velocity, clean = (arrive(name, prediction, 0.7, init_latents()) for prediction in PREDICTIONS)
    for other in (velocity, clean):
        assert (other - epsilon).abs().max() < 0.02


@pytest.mark.parametrize("name", UNUSUAL)
def test_less_strength_stays_nearer_to_the_init_latents(name: str) -> None:
    far, near = (float((arrive(name, "epsilon", s, init_latents()) - init_latents()).norm()) for s in (0.9, 0.1))
    assert near < 0.5 * far


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_strength_of_zero_leaves_the_init_latents(name: str) -> None:
    plan = planned(name, strength=0.0)
    assert plan.evaluations == 0
    assert torch.equal(walk(plan.stepper(), bent, init_latents(), seeded()), init_latents())


@pytest.mark.parametrize("steps", [1, 2, 3, 50])
@pytest.mark.parametrize("name", UNUSUAL)
def test_each_runs_at_every_number_of_steps(name: str, steps: int) -> None:
    latents = walk(planned(name, steps=steps).stepper(), bent, init_latents(), seeded())
    assert torch.isfinite(latents).all()
    assert latents.abs().max() < 100


@pytest.mark.parametrize("name", UNUSUAL)
def test_evaluations_are_counted_as_they_run(name: str) -> None:
    plan, told = planned(name), []

    def listening(sample: Tensor, timestep: float) -> Tensor:
        told.append(timestep)
        return bent(sample, timestep)

    walk(plan.stepper(), listening, init_latents(), seeded(), listening)
    assert plan.evaluations == len(told) == EVALUATIONS[name]
    assert all(0 <= timestep <= 999 for timestep in told)


@pytest.mark.parametrize("name", UNUSUAL)
def test_one_seed_gives_one_picture(name: str) -> None:
    first, second = (arrive(name, "epsilon", 0.7, init_latents()) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["KarrasVeScheduler", "ScoreSdeVeScheduler"])
def test_the_stochastic_ones_draw_beyond_the_start(name: str) -> None:
    generator = seeded()
    walk(planned(name).stepper(), bent, init_latents(), generator)
    after_start = seeded()
    torch.randn(SHAPE, generator=after_start)
    assert not torch.equal(generator.get_state(), after_start.get_state())


def test_three_of_the_four_are_tables_and_score_sde_is_an_object() -> None:
    assert [name for name in UNUSUAL if planned(name).table is None] == ["ScoreSdeVeScheduler"]


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_inversion_under_one_model_returns_to_the_init_latents(strength: float) -> None:
    model: Model = gaussian(schedule_of("epsilon"), WORLD, DEVIATION)
    stepper = planned("DDIMInverseScheduler", strength, steps=50).stepper()
    back = walk(stepper, model, init_latents(), seeded(), model)
    assert (back - init_latents()).abs().max() < 0.2 * init_latents().abs().max()


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("strength", [0.3, 0.7, 1.0])
def test_inversion_meets_the_denoising_at_one_level(strength: float, spacing: str) -> None:
    base = {**BASE, "timestep_spacing": spacing}
    table = tables.plan(SamplerChoice("DDIMInverseScheduler"), "", base, STEPS, strength).table
    assert table is not None
    half = table.unconditional
    assert half == int(STEPS * strength) == table.evaluations - half
    assert torch.equal(table.timesteps[:half], table.timesteps[half:].flip(0))
    assert table.start == (1.0, 0.0)
    assert not any(table.draws)
    alpha_bars = schedule_of("epsilon").alpha_bars
    climbed, fallen = table.coefficients[:half, 0].prod(), table.coefficients[half:, 0].prod()
    assert float(climbed * fallen) == pytest.approx(1, rel=1e-4), "the signal comes back whole"
    level = alpha_bars[int(table.timesteps[half])]
    assert float(climbed) == pytest.approx((level / alpha_bars[0]) ** 0.5, rel=1e-4)


def test_inversion_draws_nothing() -> None:
    assert torch.equal(*(arrive("DDIMInverseScheduler", "epsilon", 0.7, init_latents(), seed) for seed in (1, 2)))


@pytest.mark.parametrize("strength", [0.4, 0.99])
def test_ipndm_starts_on_its_own_axis_no_noisier_than_the_model(strength: float) -> None:
    table = planned("IPNDMScheduler", strength).table
    assert table is not None
    signal, noise = table.start
    assert signal**2 + noise**2 == pytest.approx(1)
    assert signal**2 >= schedule_of("epsilon").alpha_bars[-1] - 1e-9
    assert schedule_of("epsilon").timestep(noise / signal) == table.timesteps[0]
    assert table.reach == 3


def test_karras_adds_noise_inside_the_models_range_and_ends_without() -> None:
    table = planned("KarrasVeScheduler").table
    assert table is not None
    largest = schedule_of("epsilon").sigmas[-1]
    assert table.start == pytest.approx((0, hypot(1, largest)))
    assert (1 / table.input_scales.double() ** 2 - 1).sqrt().max() <= largest * (1 + 1e-4)
    assert not table.draws[-1]
    assert table.coefficients[-1, NOISE] == 0
    assert sum(table.draws) == STEPS - 1


def test_karras_levels_fall_to_zero() -> None:
    sigmas = karras_sigmas(14.6, 0.03, 10)
    assert len(sigmas) == 11
    assert sigmas[0] == pytest.approx(14.6)
    assert sigmas[-1] == 0
    assert sigmas == sorted(sigmas, reverse=True)


@pytest.mark.parametrize("name", ["IPNDMScheduler", "KarrasVeScheduler", "ScoreSdeVeScheduler"])
def test_a_zero_snr_schedule_stays_finite(name: str) -> None:
    base = {**BASE, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    latents = walk(tables.plan(SamplerChoice(name), "", base, 10, 1.0).stepper(), bent, init_latents(), seeded())
    assert torch.isfinite(latents).all()


def test_an_unknown_prediction_type_is_a_value_error() -> None:
    for name in UNUSUAL:
        with pytest.raises(ValueError, match="prediction_type"):
            planned(name, prediction="flow")
