"""Step coefficients' sums end where the sampler's table ends, on the same model, and most make one pass less."""

import pytest
import torch
from torch import Tensor

from serve_app.messages import SAMPLER_NAMES, SamplerChoice
from serve_app.pipelines.rows import NOTHING, LatentDraft, LatentRow
from serve_app.pipelines.step_coefficients import LEAST_SCALE, step_coefficients
from serve_app.pipelines.text import TextEmbeds
from serve_app.samplers.noise import fresh_noise
from serve_app.samplers.plan import Plan, SamplerTables
from tests.unit.pipelines.jobs import make_job
from tests.unit.samplers.walking import BASE, bent, init_latents, seeded, walk

SAME = 1e-4
"""Of the largest latent, between two orders of rounding that a model's answers spread."""
TEXT = TextEmbeds(torch.zeros(77, 1), None)


def planned(sampler: str, karras: bool = False, steps: int = 12) -> Plan:
    return SamplerTables().plan(SamplerChoice(sampler, karras=karras), sampler, BASE, steps, 1.0)


def walked(plan: Plan, init: Tensor, generator: torch.Generator) -> Tensor:
    """As `LatentPipeline.advance` does it, with `bent` for the model."""
    coefficients = step_coefficients(plan)
    noise = torch.randn(init.shape, generator=generator)
    latents = coefficients.start[0] * init + coefficients.start[1] * noise
    row = LatentRow(LatentDraft(make_job(), plan, coefficients, (), False, 0), generator, latents, TEXT, TEXT, None)
    for _ in range(plan.evaluations):
        output = bent(row.input_scale * row.latents, row.timestep)
        row.remember(output, fresh_noise(row.latents, row.generator) if row.draws else NOTHING)
        row.latents = row.next_latents()
        row.done += 1
    return row.latents


@pytest.mark.parametrize("karras", [False, True])
@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_a_course_ends_where_the_table_ends(sampler: str, karras: bool) -> None:
    plan = planned(sampler, karras)
    if plan.table is None:
        assert step_coefficients(plan).sums is None
        return
    ours, theirs = walked(plan, init_latents(), seeded()), walk(plan.stepper(), bent, init_latents(), seeded())
    assert (ours - theirs).abs().max() <= SAME * theirs.abs().max()


@pytest.mark.parametrize("sampler", ["DDIMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
def test_the_newest_sample_counts_once(sampler: str) -> None:
    sums = step_coefficients(planned(sampler)).sums
    assert sums is not None
    assert [one.weight for one in sums[:-1]] == [None] * (len(sums) - 1)
    assert sums[-1].weight is not None


def test_scales_stay_where_float32_is_exact() -> None:
    coefficients = step_coefficients(planned("DDPMScheduler", steps=200))
    assert all(LEAST_SCALE <= scale <= 1 / LEAST_SCALE for scale in coefficients.input_scales)
