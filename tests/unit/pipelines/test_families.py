"""Each family from a diffusers folder and from a single file, in mixed batches, against diffusers' own pipeline."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from transformers import CLIPTextModel

from serve_app.config import ModelEntry
from serve_app.errors import InvalidFields
from serve_app.messages import SAMPLER_NAMES, Img2ImgJob, SamplerChoice
from serve_app.pipelines import load_pipeline
from serve_app.pipelines.directly import encode, finish, latents_of, step
from serve_app.pipelines.latent import LatentPipeline
from serve_app.prompts.weights import parse_weights
from serve_app.samplers.names import ORDINARY, build_sampler
from tests.unit.pipelines.jobs import make_job
from tests.unit.pipelines.marks import STARTED_OTHERWISE
from tests.unit.pipelines.small_models import (
    FAMILIES,
    Pipeline,
    make_model,
    make_schedule,
    save_configuration,
    save_single_file,
)

MIXED = [
    SamplerChoice(name, karras) for name, karras in product(ORDINARY, (True, False)) if name not in STARTED_OTHERWISE
]
STRENGTHS = (0.5, 0.7, 0.9)
PROMPTS = ("a red star", "", "a blue ring on a white background, " * 7)
NEGATIVES = ("", "blurry", "low quality, blurry and grey, " * 5)
Maker = Callable[[str], Any]

pytestmark = pytest.mark.usefixtures("untempered")


@pytest.fixture(scope="module")
def theirs() -> Maker:
    """diffusers' own pipelines, made once; shallow ones, for they run often."""
    made: dict[str, Pipeline] = {}

    def make(name: str) -> Pipeline:
        if name not in made:
            made[name] = make_model(name, layers_per_block=1)
        return made[name]

    return make


@pytest.fixture(scope="module")
def ours(theirs: Maker, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Ours, loaded from the folders that diffusers' own save."""
    folder = tmp_path_factory.mktemp("families")
    made: dict[str, LatentPipeline] = {}

    def make(name: str) -> LatentPipeline:
        if name not in made:
            theirs(name).save_pretrained(folder / name)
            made[name] = load(name, folder / name)
        return made[name]

    return make


def load(name: str, source: Path, config: Path | None = None) -> LatentPipeline:
    place = {"source": str(source), "config": None if config is None else str(config)}
    return load_pipeline(
        ModelEntry(id=name, family=FAMILIES[name], torch_threads=1, **place),
        parse_weights,
    )


def varied(place: int, **changes: object) -> Img2ImgJob:
    """A job whose prompts, guidance, seed and steps follow from its place, so that neighbours differ."""
    fields: dict[str, object] = {
        "prompt": PROMPTS[place % 3], "negative_prompt": NEGATIVES[place // 3 % 3], "seed": place,
        "guidance_scale": (5.0, 1.0, 7.5, 3.0)[place % 4], "steps": (6, 8)[place % 2],
    }  # fmt: skip
    return make_job(**{**fields, **changes})


def reference(pipeline: Pipeline, asked: Img2ImgJob, **options: object) -> torch.Tensor:
    """diffusers' own latents, run alone on the model's own noise schedule."""
    kept, base = pipeline.scheduler, dict(pipeline.scheduler.config)
    pipeline.scheduler = build_sampler(asked.sampler, "DDIMScheduler", base)
    try:
        return pipeline(
            prompt=asked.prompt, image=torch.from_numpy(asked.init_image.copy()).permute(2, 0, 1)[None] / 255,
            negative_prompt=asked.negative_prompt or None, strength=asked.strength, num_inference_steps=asked.steps,
            guidance_scale=asked.guidance_scale, generator=torch.Generator().manual_seed(asked.seed),
            output_type="latent", **options,
        ).images[0]  # fmt: skip
    finally:
        pipeline.scheduler = kept


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert (ours - theirs).abs().max() <= 1e-3 * theirs.abs().max()


# From every source


@pytest.mark.parametrize("name", FAMILIES)
def test_a_single_file_as_model_sites_have_it_equals_diffusers_own_pipeline(name: str, tmp_path: Path) -> None:
    pipeline = make_model(name)
    source = save_single_file(pipeline, tmp_path / "model.safetensors")
    loaded = load(name, source, save_configuration(pipeline, tmp_path / "config"))
    jobs = [varied(place, sampler=MIXED[5 * place], strength=STRENGTHS[place % 3]) for place in range(5)]
    for asked, latents in zip(jobs, latents_of(loaded, *jobs), strict=True):
        assert_close(latents, reference(pipeline, asked))


@pytest.mark.parametrize("name", ["sd1", "sd2"])
def test_rows_of_a_mixed_batch_equal_diffusers_own_pipeline_with_every_ordinary_sampler(
    ours: Maker, theirs: Maker, name: str
) -> None:
    names = [each for each in ORDINARY if each not in STARTED_OTHERWISE]
    jobs = [varied(place, sampler=SamplerChoice(each, False)) for place, each in enumerate(names)]
    for asked, latents in zip(jobs, latents_of(ours(name), *jobs), strict=True):
        assert_close(latents, reference(theirs(name), asked))


@pytest.fixture(scope="module")
def mixed(ours: Maker) -> dict[tuple[SamplerChoice, float], torch.Tensor]:
    """SDXL: every ordinary sampler, with and without Karras sigmas, at every strength, sixteen rows a call."""
    asked = list(product(MIXED, STRENGTHS))
    jobs = [sdxl_job(sampler, strength) for sampler, strength in asked]
    return dict(zip(asked, latents_of(ours("sdxl"), *jobs), strict=True))


def sdxl_job(sampler: SamplerChoice, strength: float) -> Img2ImgJob:
    return varied(MIXED.index(sampler) + 29 * STRENGTHS.index(strength), sampler=sampler, strength=strength)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("sampler", MIXED, ids=lambda sampler: f"{sampler.name}-{sampler.karras}")
def test_an_sdxl_row_of_a_mixed_batch_equals_diffusers_own_pipeline_run_alone(
    mixed: dict[tuple[SamplerChoice, float], torch.Tensor], theirs: Maker, sampler: SamplerChoice, strength: float
) -> None:
    assert_close(mixed[sampler, strength], reference(theirs("sdxl"), sdxl_job(sampler, strength)))


@pytest.mark.parametrize("name", FAMILIES)
def test_all_eighteen_samplers_run_in_one_call(ours: Maker, name: str) -> None:
    jobs = [varied(place, sampler=SamplerChoice(each), steps=6) for place, each in enumerate(SAMPLER_NAMES)]
    for each, latents in zip(SAMPLER_NAMES, latents_of(ours(name), *jobs), strict=True):
        assert torch.isfinite(latents).all(), each


@pytest.mark.parametrize("name", FAMILIES)
def test_what_happens_to_other_rows_changes_nothing_in_a_row(ours: Maker, name: str) -> None:
    asked = make_job(sampler=SamplerChoice("UniPCMultistepScheduler"), steps=8)
    alone = latents_of(ours(name), asked)[0]
    row, *rest = encode(ours(name), asked, *(varied(place) for place in range(4)))
    step(ours(name), [row, *rest])
    step(ours(name), [*rest[:2], row])  # two leave
    finish(ours(name), [row, *encode(ours(name), varied(9))])  # one joins
    assert (row.latents - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_a_schedule_that_leaves_things_unsaid_lets_each_sampler_choose_as_in_diffusers(tmp_path: Path) -> None:
    pipeline = make_model("sd1", layers_per_block=1)
    pipeline.save_pretrained(tmp_path)
    file = tmp_path / "scheduler" / "scheduler_config.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({name: fact for name, fact in said.items() if name != "timestep_spacing"}))
    pipeline.scheduler = DDIMScheduler.from_pretrained(tmp_path, subfolder="scheduler")
    names = ("DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
    jobs = [make_job(sampler=SamplerChoice(name)) for name in names]
    for asked, latents in zip(jobs, latents_of(load("sd1", tmp_path), *jobs), strict=True):
        assert_close(latents, reference(pipeline, asked))


# Stable Diffusion 2.x


@pytest.mark.parametrize("sampler", ["DDIMScheduler", "EulerDiscreteScheduler", "DDPMScheduler"])
def test_v_prediction_down_to_zero_signal_equals_diffusers(ours: Maker, theirs: Maker, sampler: str) -> None:
    schedule = make_schedule(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", steps_offset=0
    )
    mine, own = ours("sd2")._parts, theirs("sd2")
    kept = mine.scheduler, own.scheduler
    mine.scheduler = own.scheduler = schedule
    try:
        asked = make_job(sampler=SamplerChoice(sampler, False), strength=1.0)
        assert_close(latents_of(ours("sd2"), asked)[0], reference(own, asked))
    finally:
        mine.scheduler, own.scheduler = kept


@pytest.mark.parametrize("skip", [2, 3])
def test_clip_skip_of_an_open_clip_encoder_equals_diffusers(
    ours: Maker, theirs: Maker, monkeypatch: pytest.MonkeyPatch, skip: int
) -> None:
    asked = make_job(clip_skip=skip, guidance_scale=1.0)  # diffusers skips nothing in negative prompts
    latents = latents_of(ours("sd2"), asked)[0]
    # diffusers looks for the layers where transformers 4 had them
    monkeypatch.setattr(CLIPTextModel, "text_model", property(lambda self: self), raising=False)
    assert_close(latents, reference(theirs("sd2"), asked, clip_skip=skip - 1))


@pytest.mark.parametrize(("name", "deepest"), [("sd1", 3), ("sd2", 3), ("sdxl", 2)])
def test_a_clip_skip_past_the_encoders_layers_is_the_clients_to_mend(ours: Maker, name: str, deepest: int) -> None:
    ours(name).prepare(make_job(clip_skip=deepest))
    with pytest.raises(InvalidFields) as caught:
        ours(name).prepare(make_job(clip_skip=deepest + 1))
    assert list(caught.value.fields) == ["clip_skip"]


# Structural switches, previews


@pytest.mark.parametrize("name", FAMILIES)
def test_token_merging_acts_on_the_rows_that_want_it_and_on_no_others(ours: Maker, name: str) -> None:
    picture = np.tile(make_job().init_image, (8, 8, 1))
    asked = make_job(init_image=picture, steps=2, strength=1.0)
    before = latents_of(ours(name), asked)[0]
    merged = latents_of(ours(name), replace(asked, token_merging=True))[0]
    assert torch.isfinite(merged).all()
    assert not torch.allclose(merged, before, atol=1e-4)
    assert torch.equal(latents_of(ours(name), asked)[0], before)


def test_maps_of_few_tokens_are_never_merged_and_share_calls(ours: Maker) -> None:
    wanted, unwanted = (ours("sd1").prepare(make_job(token_merging=flag)) for flag in (True, False))
    assert wanted.group == unwanted.group


@pytest.mark.parametrize("name", FAMILIES)
def test_previews_and_pictures_have_the_jobs_size(ours: Maker, name: str) -> None:
    (row,) = encode(ours(name), make_job(init_image=make_job().init_image[:48]))
    step(ours(name), [row])
    assert ours(name).preview(row).shape == (6, 8, 3)
    finish(ours(name), [row])
    (picture,) = ours(name).decode([row])
    assert picture.shape == (48, 64, 3)
    assert picture.std() > 0
