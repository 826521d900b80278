"""Our four verbs against diffusers' own pipeline: the same seed gives the same picture."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline

from models.pocket.world import Scene, draw
from serve_app.config import POCKET, PROJECT
from serve_app.messages import SERVED_SAMPLERS, Img2ImgJob, SamplerChoice
from serve_app.pipelines.sd import SdPipeline
from serve_app.samplers.names import build_sampler

PROMPT, NEGATIVE = "a red star on a blue background", "blurry"
STEPS, SEED = 5, 31


@pytest.fixture(scope="module")
def ours() -> SdPipeline:
    return SdPipeline(POCKET.model_copy(update={"torch_threads": 1}))


@pytest.fixture(scope="module")
def theirs() -> StableDiffusionImg2ImgPipeline:
    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(PROJECT / POCKET.source)
    pipeline.safety_checker = None
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def job(**changes: object) -> Img2ImgJob:
    fields: dict[str, object] = {
        "id": 1, "model_id": "pocket", "prompt": PROMPT, "negative_prompt": NEGATIVE,
        "init_image": draw(Scene("circle", "yellow", "green"), 64), "samples": 1, "steps": STEPS,
        "guidance_scale": 5.0, "strength": 0.7, "seed": SEED, "token_merging": False, **changes,
    }  # fmt: skip
    return Img2ImgJob(**fields)  # type: ignore[arg-type]


def run(pipeline: SdPipeline, asked: Img2ImgJob) -> torch.Tensor:
    generation = pipeline.encode(asked)
    while generation.done < generation.total:
        pipeline.advance(generation, pipeline.denoise(generation))
    return generation.latents


def reference(pipeline: StableDiffusionImg2ImgPipeline, asked: Img2ImgJob) -> torch.Tensor:
    pipeline.scheduler = build_sampler(asked.sampler, "DDIMScheduler", pipeline.scheduler.config)
    picture = torch.from_numpy(asked.init_image.copy()).permute(2, 0, 1)[None] / 255
    return pipeline(
        asked.prompt, picture, negative_prompt=asked.negative_prompt, strength=asked.strength,
        num_inference_steps=asked.steps, guidance_scale=asked.guidance_scale,
        generator=torch.Generator().manual_seed(asked.seed), output_type="latent",
    ).images  # fmt: skip


@pytest.mark.parametrize("strength", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("name", SERVED_SAMPLERS)
def test_every_sampler_equals_diffusers_own_pipeline(
    ours: SdPipeline, theirs: StableDiffusionImg2ImgPipeline, name: str, strength: float
) -> None:
    asked = job(sampler=SamplerChoice(name), strength=strength)
    mine, wanted = run(ours, asked), reference(theirs, asked)
    assert (mine - wanted).abs().max() <= 1e-3 * wanted.abs().max()


def test_guidance_one_runs_no_unconditional_twin_and_equals_diffusers(
    ours: SdPipeline, theirs: StableDiffusionImg2ImgPipeline
) -> None:
    asked = job(guidance_scale=1.0)
    assert ours.encode(asked).text.shape[0] == 1
    assert torch.allclose(run(ours, asked), reference(theirs, asked), atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 3, 50])
@pytest.mark.parametrize("name", SERVED_SAMPLERS)
def test_every_sampler_runs_at_every_number_of_steps(ours: SdPipeline, name: str, steps: int) -> None:
    asked = job(sampler=SamplerChoice(name), steps=steps, strength=1.0, guidance_scale=1.0)
    assert torch.isfinite(run(ours, asked)).all()


@pytest.mark.filterwarnings("ignore:.*algorithm_types.*:FutureWarning")  # the contract has them all the same
@pytest.mark.parametrize("algorithm", ["dpmsolver", "dpmsolver++", "sde-dpmsolver++"])
@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"])
@pytest.mark.parametrize("karras", [True, False])
def test_the_algorithm_types_run(ours: SdPipeline, name: str, algorithm: str, karras: bool) -> None:
    assert torch.isfinite(run(ours, job(sampler=SamplerChoice(name, karras, algorithm)))).all()


def test_the_default_sampler_is_the_models_own(ours: SdPipeline) -> None:
    assert type(ours.encode(job()).sampler).__name__ == POCKET.default_sampler


def test_strength_that_leaves_no_step_returns_the_init_image(ours: SdPipeline) -> None:
    asked = job(strength=0.1, samples=2)
    generation = ours.encode(asked)
    assert generation.total == 0
    assert np.array_equal(ours.decode(generation).pixels, np.stack([asked.init_image] * 2))


@pytest.mark.parametrize("skip", range(1, 9))
def test_every_clip_skip_gives_embeddings_of_its_own(ours: SdPipeline, skip: int) -> None:
    text = ours.encode(job(clip_skip=skip)).text
    assert text.shape[1:] == (77, 64)
    assert skip == 1 or not torch.allclose(text, ours.encode(job(clip_skip=1)).text)


def test_another_vae_changes_a_jobs_picture_and_not_the_next_jobs(ours: SdPipeline) -> None:
    def shown(vae: str | None) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        generation = ours.encode(job(vae=vae))
        while generation.done < generation.total:
            ours.advance(generation, ours.denoise(generation))
        return ours.decode(generation).pixels

    before, worn, after = shown(None), shown("pastel"), shown(None)
    assert np.abs(before.astype(int) - worn).mean() > 10
    assert np.array_equal(before, after)
