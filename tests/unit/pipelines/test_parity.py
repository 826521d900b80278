"""Rows of a mixed batch against diffusers' own pipeline run alone: the same seed gives the same latents."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline

from serve_app.config import POCKET, PROJECT
from serve_app.errors import InvalidFields
from serve_app.messages import SAMPLER_NAMES, Img2ImgJob, SamplerChoice
from serve_app.pipelines.directly import encode, finish, latents_of, step
from serve_app.pipelines.sd import SdPipeline
from serve_app.prompts.weights import parse_weights
from serve_app.samplers.counts import INVERSION
from serve_app.samplers.levels import FEW_FROM_NOISE
from serve_app.samplers.names import ORDINARY, build_sampler
from tests.unit.pipelines.jobs import make_job
from tests.unit.pipelines.marks import STARTED_OTHERWISE, needs_avx512

MIXED = [SamplerChoice(name, karras) for name, karras in product(ORDINARY, (True, False))]
BASE = DDIMScheduler.load_config(PROJECT / POCKET.source / "scheduler")
STRENGTHS = (0.5, 0.7, 1.0)

pytestmark = pytest.mark.usefixtures("untempered")


@pytest.fixture(scope="module")
def ours() -> SdPipeline:
    return SdPipeline(POCKET.model_copy(update={"torch_threads": 1}), parse_weights)


@pytest.fixture(scope="module")
def forgetful() -> SdPipeline:
    """No prompt, no picture is remembered, so company may change what is encoded too."""
    entry = POCKET.model_copy(update={"torch_threads": 1, "prompt_cache_bytes": 0, "picture_cache_bytes": 0})
    return SdPipeline(entry, parse_weights)


@pytest.fixture(scope="module")
def theirs() -> StableDiffusionImg2ImgPipeline:
    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(PROJECT / POCKET.source)
    pipeline.safety_checker = None
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def mixed(ours: SdPipeline) -> dict[tuple[SamplerChoice, float], torch.Tensor]:
    """Every ordinary sampler, with and without Karras sigmas, at every strength: sixteen different rows a call."""
    asked = list(product(MIXED, STRENGTHS))
    jobs = [varied(sampler, strength) for sampler, strength in asked]
    return dict(zip(asked, latents_of(ours, *jobs), strict=True))


def varied(sampler: SamplerChoice, strength: float) -> Img2ImgJob:
    """A job whose prompt, guidance, seed, steps and clip_skip follow from its sampler, so that neighbours differ."""
    place = MIXED.index(sampler) + 100 * STRENGTHS.index(strength)
    return make_job(
        sampler=sampler, strength=strength, seed=place, guidance_scale=(1.0, 5.0, 7.5)[place % 3],
        steps=(6, 7, 10)[place % 3], prompt=("a red star", "a blue ring on a white background")[place % 2],
    )  # fmt: skip


def reference(pipeline: StableDiffusionImg2ImgPipeline, asked: Img2ImgJob) -> torch.Tensor:
    """What diffusers' image-to-image pipeline gives, and for a strength of 1 its text-to-image one."""
    from_noise = asked.strength == 1
    spacing = {"timestep_spacing": "trailing"} if from_noise and asked.steps < FEW_FROM_NOISE else {}
    pipeline.scheduler = build_sampler(asked.sampler, "DDIMScheduler", {**BASE, **spacing})
    generator = torch.Generator().manual_seed(asked.seed)
    common = {
        "negative_prompt": asked.negative_prompt, "num_inference_steps": asked.steps, "generator": generator,
        "guidance_scale": asked.guidance_scale, "output_type": "latent",
    }  # fmt: skip
    if from_noise:
        shape = (1, 4, asked.height // 8, asked.width // 8)
        torch.randn(shape, generator=generator)  # the picture's latents are drawn first
        noise = torch.randn(shape, generator=generator)
        whole = StableDiffusionPipeline(**pipeline.components, requires_safety_checker=False)
        whole.set_progress_bar_config(disable=True)
        return whole(asked.prompt, latents=noise, **common).images[0]
    picture = torch.from_numpy(asked.init_image.copy()).permute(2, 0, 1)[None] / 255
    return pipeline(asked.prompt, picture, strength=asked.strength, **common).images[0]


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("sampler", MIXED, ids=lambda sampler: f"{sampler.name}-{sampler.karras}")
def test_a_row_of_a_mixed_batch_equals_diffusers_own_pipeline_run_alone(
    mixed: dict[tuple[SamplerChoice, float], torch.Tensor],
    theirs: StableDiffusionImg2ImgPipeline,
    sampler: SamplerChoice,
    strength: float,
) -> None:
    if strength < 1 and sampler.name in STARTED_OTHERWISE:
        pytest.skip("diffusers' pipeline starts it wrongly here; test_tables judges it")
    wanted = reference(theirs, varied(sampler, strength))
    assert (mixed[sampler, strength] - wanted).abs().max() <= 1e-3 * wanted.abs().max()


ROUGH = [("PNDMScheduler", 7), ("PNDMScheduler", 31), ("EulerAncestralDiscreteScheduler", 7), ("KarrasVeScheduler", 10)]
"""Samplers with seeds whose steps amplify the rounding of calls of other widths most: to 1.3e-5 and more."""


def changed_by_others(pipeline: SdPipeline, name: str, seed: int) -> float:
    """How far a row's latents are from those of a run alone, when others start with it, leave and join."""
    asked = make_job(sampler=SamplerChoice(name), steps=8, seed=seed)
    alone = latents_of(pipeline, asked)[0]
    others = [
        replace(
            asked, seed=other, sampler=SamplerChoice(SAMPLER_NAMES[other]), steps=10, prompt=f"number {other}",
            init_image=255 - asked.init_image // (other + 1),
        )
        for other in range(5)
    ]  # fmt: skip
    row, *rest = encode(pipeline, asked, *others)
    step(pipeline, [row, *rest])
    step(pipeline, [*rest[:3], row])  # two leave
    finish(pipeline, [row, *encode(pipeline, replace(asked, prompt="another one", guidance_scale=1.0))])  # one joins
    return float((row.latents - alone).abs().max() / alone.abs().max())


@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_what_happens_to_other_rows_changes_nothing_in_a_row(forgetful: SdPipeline, name: str) -> None:
    assert changed_by_others(forgetful, name, seed=42) <= 1e-5


@needs_avx512
@pytest.mark.parametrize(("name", "seed"), ROUGH)
def test_nor_does_it_where_a_sampler_amplifies_rounding(forgetful: SdPipeline, name: str, seed: int) -> None:
    assert changed_by_others(forgetful, name, seed) == 0


@pytest.mark.parametrize("name", ["EulerAncestralDiscreteScheduler", "ScoreSdeVeScheduler"])
def test_a_call_that_is_made_again_takes_the_noise_that_was_begun(ours: SdPipeline, name: str) -> None:
    asked = make_job(sampler=SamplerChoice(name), steps=4)
    (row,) = encode(ours, asked)
    while row.remaining:
        ours.denoise([row])
        step(ours, [row])
    assert torch.equal(row.latents, latents_of(ours, asked)[0])


def test_guidance_one_runs_no_unconditional_twin(ours: SdPipeline) -> None:
    plain, guided = encode(ours, make_job(guidance_scale=1.0), make_job())
    assert (plain.width, guided.width) == (1, 2)
    assert (len(plain.texts), len(guided.texts)) == (1, 2)


@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_every_sampler_runs_at_every_number_of_steps(ours: SdPipeline, steps: int) -> None:
    jobs = [
        make_job(sampler=SamplerChoice(name), steps=steps, strength=1.0, guidance_scale=1.0) for name in SAMPLER_NAMES
    ]
    for name, latents in zip(SAMPLER_NAMES, latents_of(ours, *jobs), strict=True):
        assert torch.isfinite(latents).all(), name


@pytest.mark.filterwarnings("ignore:.*algorithm_types.*:FutureWarning")  # the contract has them all the same
@pytest.mark.parametrize("algorithm", ["dpmsolver", "dpmsolver++", "sde-dpmsolver++"])
@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"])
@pytest.mark.parametrize("karras", [True, False])
def test_the_algorithm_types_equal_diffusers(
    ours: SdPipeline, theirs: StableDiffusionImg2ImgPipeline, name: str, algorithm: str, karras: bool
) -> None:
    asked = make_job(sampler=SamplerChoice(name, karras, algorithm), steps=8)
    wanted = reference(theirs, asked)
    assert (latents_of(ours, asked)[0] - wanted).abs().max() <= 1e-3 * wanted.abs().max()


def test_the_default_sampler_is_the_models_own(ours: SdPipeline) -> None:
    assert ours.prepare(make_job()).sampler == POCKET.default_sampler


def test_samples_are_the_pictures_of_the_seeds_that_follow(ours: SdPipeline) -> None:
    together = latents_of(ours, make_job(samples=3, seed=2**32 - 1))
    alone = latents_of(ours, *(make_job(seed=seed) for seed in (2**32 - 1, 0, 1)))
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_a_strength_of_zero_needs_no_evaluation_and_any_other_at_least_one(ours: SdPipeline) -> None:
    assert ours.prepare(make_job(strength=0.0)).evaluations == 0
    assert ours.prepare(make_job(strength=0.01)).evaluations == 1


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_a_strength_of_one_keeps_nothing_of_the_init_picture(ours: SdPipeline, steps: int) -> None:
    """Inversion makes its noise of the picture, so it is another thing."""
    names = [name for name in SAMPLER_NAMES if name != INVERSION]
    jobs = [make_job(sampler=SamplerChoice(name), strength=1.0, steps=steps, guidance_scale=1.0) for name in names]
    others = [replace(job, init_image=255 - job.init_image) for job in jobs]
    made = latents_of(ours, *jobs, *others)
    for name, one, other in zip(names, made, made[len(names) :], strict=False):
        assert (one - other).abs().max() <= 1e-4 * one.abs().max(), name


def test_a_single_step_at_a_strength_under_one_changes_the_picture(ours: SdPipeline) -> None:
    jobs = [make_job(sampler=SamplerChoice(name), strength=0.7, steps=1) for name in SAMPLER_NAMES]
    (kept,) = latents_of(ours, make_job(strength=0.0))
    for name, latents in zip(SAMPLER_NAMES, latents_of(ours, *jobs), strict=True):
        assert (latents - kept).norm() > 0.2 * kept.norm(), name


@pytest.mark.parametrize("skip", range(2, 9))
def test_every_clip_skip_gives_embeddings_of_its_own(ours: SdPipeline, skip: int) -> None:
    usual, skipped = encode(ours, make_job(), make_job(clip_skip=skip))
    assert usual.prompt.embeds.shape == skipped.prompt.embeds.shape == (77, 64)
    assert not torch.allclose(usual.prompt.embeds, skipped.prompt.embeds)


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_prompt_of_very_many_chunks_is_refused(ours: SdPipeline, field: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        ours.prepare(make_job(**{field: "BREAK " * 1000}))
    assert list(refused.value.fields) == [field]


def test_long_and_weighted_prompts_share_a_call_with_short_ones(ours: SdPipeline) -> None:
    jobs = [make_job(prompt=prompt) for prompt in ("a star", ", ".join(["a (red:1.3) star"] * 40), "a [red] star")]
    together = latents_of(ours, *jobs)
    for asked, latents in zip(jobs, together, strict=True):
        assert torch.allclose(latents, latents_of(ours, asked)[0], atol=1e-4)


def test_another_vae_changes_a_jobs_picture_and_not_its_neighbours(ours: SdPipeline) -> None:
    rows = encode(ours, make_job(), make_job(vae="pastel"), make_job())
    finish(ours, rows)
    before, between, after = ours.decode(rows)
    assert np.abs(before.astype(int) - between).mean() > 10
    assert np.array_equal(before, after)


def test_a_preview_shows_the_colours_that_come(ours: SdPipeline) -> None:
    asked = make_job(prompt="a yellow circle on a green background", guidance_scale=1.0, strength=0.2, steps=10)
    (row,) = encode(ours, asked)
    step(ours, [row])
    preview = ours.preview(row).astype(int)
    assert preview.shape == (8, 8, 3)
    assert np.abs(preview[0, 0] - asked.init_image[0, 0]).max() < 60
