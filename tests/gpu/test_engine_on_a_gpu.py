"""The engine's promises where the arithmetic is a GPU's."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline

from models.pocket.judge import judge
from serve_app.config import POCKET, PROJECT, ModelEntry
from serve_app.messages import SAMPLER_NAMES, Img2ImgJob, Lora, SamplerChoice
from serve_app.pipelines.directly import encode, finish, latents_of
from serve_app.pipelines.knee import WIDTHS, measured_rows
from serve_app.pipelines.sd import SdPipeline
from serve_app.prompts.weights import parse_weights
from serve_app.samplers import tempering
from serve_app.samplers.names import ORDINARY
from tests.unit.pipelines.jobs import make_job
from tests.unit.pipelines.marks import STARTED_OTHERWISE
from tests.unit.pipelines.test_parity import reference

LORAS = ((), (Lora("stripes", 1.0),), (Lora("frame", 0.6), Lora("stripes", 0.4)))


def entry_on(device: str, dtype: str) -> ModelEntry:
    return POCKET.model_copy(update={"device": device, "dtype": dtype})


@pytest.fixture(scope="module")
def exact(device: str) -> Iterator[SdPipeline]:
    """In float32, without the tensor cores' shorter products."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    yield SdPipeline(entry_on(device, "float32"), parse_weights)
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.fixture(scope="module")
def half(device: str) -> SdPipeline:
    return SdPipeline(entry_on(device, "auto"), parse_weights)


def varied(place: int, sampler: str) -> Img2ImgJob:
    return make_job(
        sampler=SamplerChoice(sampler, karras=place % 2 == 0), seed=place, steps=(6, 7, 10)[place % 3],
        guidance_scale=(1.0, 5.0, 7.5)[place % 3], strength=(0.5, 0.7, 1.0)[place % 3],
    )  # fmt: skip


def test_rows_of_a_mixed_batch_equal_diffusers_own_pipeline(
    exact: SdPipeline, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempering, "MOST", inf)
    theirs = StableDiffusionImg2ImgPipeline.from_pretrained(PROJECT / POCKET.source, safety_checker=None).to(device)
    theirs.set_progress_bar_config(disable=True)
    jobs = [varied(place, name) for place, name in enumerate(ORDINARY) if name not in STARTED_OTHERWISE]
    for job, ours in zip(jobs, latents_of(exact, *jobs), strict=True):
        wanted = reference(theirs, job)
        assert (ours - wanted).abs().max() <= 1e-3 * wanted.abs().max(), job.sampler


def test_loras_in_one_call_equal_solo_runs(exact: SdPipeline) -> None:
    jobs = [make_job(seed=place, loras=LORAS[place % 3]) for place in range(6)]
    for job, together in zip(jobs, latents_of(exact, *jobs), strict=True):
        alone = latents_of(exact, job)[0]
        assert (together - alone).abs().max() <= 1e-4 * alone.abs().max()


def test_all_eighteen_samplers_draw_the_colours_that_were_asked_for(half: SdPipeline) -> None:
    asked = make_job(steps=20, strength=0.95, guidance_scale=6.0)
    rows = encode(half, *(replace(asked, sampler=SamplerChoice(name)) for name in SAMPLER_NAMES))
    finish(half, rows)
    for name, picture in zip(SAMPLER_NAMES, half.decode(rows), strict=True):
        seen = judge(picture)
        assert (seen.ground, seen.colour) == ("blue", "red"), name


def test_the_device_is_measured(half: SdPipeline) -> None:
    assert measured_rows(POCKET.model_copy(update={"rows_per_call": None}), half) in range(2, max(WIDTHS) + 1, 2)
