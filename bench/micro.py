"""The parts by themselves: the UNet by rows, the samplers' update, LoRAs in one call."""

import time
from collections.abc import Sequence
from concurrent.futures import wait
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.peers.caller import Caller
from bench.timing import median_seconds, wait_for_device
from bench.workloads import LORA_SETS, SHARED_SAMPLERS, same
from serve_app.engine.budget import GUIDED
from serve_app.messages import Img2ImgJob, SamplerChoice
from serve_app.pipelines import directly
from serve_app.pipelines.latent import LatentPipeline
from serve_app.pipelines.noise_ahead import NoiseAhead
from serve_app.pipelines.rows import LatentRow
from serve_app.pipelines.text import TextEmbeds
from serve_app.samplers.noise import fresh_noise
from serve_app.samplers.probe import step_options

ROWS = (1, 2, 4, 8, 16, 32)
PLAIN_TWINS = ("EulerDiscreteScheduler", "DPMSolverMultistepScheduler")
"""With Karras sigmas and without: sixteen samplers together with the fourteen."""
CHOICES = (*(SamplerChoice(name) for name in SHARED_SAMPLERS), *(SamplerChoice(name, False) for name in PLAIN_TWINS))
SAMPLER_STEPS = 20
SAMPLER_LATENTS = (4, 64, 64)
LORA_STEPS = 10


@dataclass(frozen=True, slots=True)
class Knee:
    """One UNet call by its rows."""

    seconds: dict[int, float]
    flops_per_row: int

    @property
    def best_rows(self) -> int:
        """The rows of the call that makes most evaluations a second."""
        return max(self.seconds, key=lambda rows: rows / self.seconds[rows])

    def slowdown(self, rows: int) -> float:
        """What a call of so many rows costs, in calls of one guided sample."""
        return self.seconds[rows] / self.seconds[GUIDED]


def knee(pipeline: LatentPipeline, caller: Caller, side: int, repeats: int) -> Knee:
    """Time the engine's UNet call at pictures of `side` pixels. One row is a sample without guidance."""
    guided = directly.encode(pipeline, *same(max(ROWS) // GUIDED, side, 0))
    bare = directly.encode(pipeline, replace(same(1, side, 0)[0], guidance_scale=1.0))
    called = {rows: guided[: rows // GUIDED] or bare for rows in ROWS}
    seconds = {rows: median_seconds(partial(pipeline.denoise, them), repeats) for rows, them in called.items()}
    return Knee(seconds, _flops_per_row(caller.pipeline.unet, side))


@torch.inference_mode()
def _flops_per_row(unet: Any, side: int) -> int:  # noqa: ANN401 (diffusers' class is untyped)
    """As diffusers computes it: torch cannot count what our packed layers do."""
    place = {"device": unet.device, "dtype": unet.dtype}
    latents = torch.randn(1, unet.config.in_channels, side // 8, side // 8).to(**place)
    embeds = torch.randn(1, 77, unet.config.cross_attention_dim).to(**place)
    with FlopCounterMode(display=False) as counter:
        unet(latents, 500, encoder_hidden_states=embeds, return_dict=False)
    flops: int = counter.get_total_flops()
    return flops


def samplers(pipeline: LatentPipeline, caller: Caller, side: int, repeats: int) -> dict[str, float]:
    """Sixteen rows, sixteen samplers, latents of 64 × 64 × 4: our update against `scheduler.step` for each row.

    Ours finds its noise drawn, as in the engine, where another thread draws it while the UNet runs; `scheduler.step`
    draws its own. So there is a second ratio, with all that `noise_ms` says taken off the steps as well.
    """
    output = torch.randn(len(CHOICES), *SAMPLER_LATENTS).to(caller.pipeline.unet.device)
    updates = [update for _ in range(repeats) for update in _own_updates(pipeline, output, side)]
    noise, ours = (1000 * median(each) for each in zip(*updates, strict=True))
    steps = 1000 * median(seconds for _ in range(repeats) for seconds in _scheduler_steps(caller, output))
    return {
        "samplers.speedup": steps / ours,
        "samplers.speedup_without_noise": (steps - noise) / ours,
        "samplers.own_ms": ours,
        "samplers.noise_ms": noise,
        "samplers.scheduler_steps_ms": steps,
    }


@torch.inference_mode()
def _own_updates(pipeline: LatentPipeline, output: Tensor, side: int) -> list[tuple[float, float]]:
    """Seconds of drawing noise and of each update, first to last."""
    rows = [_bare_row(pipeline, choice, side, output[place]) for place, choice in enumerate(CHOICES)]
    ahead, taken = NoiseAhead(), []
    for _ in range(SAMPLER_STEPS):
        start = time.perf_counter()
        for row in rows:
            if row.draws:
                fresh_noise(row.latents, row.generator)
        drawn = time.perf_counter()
        ahead.draw(rows)
        wait([row.noise for row in rows if row.noise is not None])
        begun = time.perf_counter()
        pipeline.advance(rows, output)
        wait_for_device()
        taken.append((drawn - start, time.perf_counter() - begun))
    return taken


def _bare_row(pipeline: LatentPipeline, choice: SamplerChoice, side: int, like: Tensor) -> LatentRow:
    """A row that is never shown to a UNet."""
    asked = replace(same(1, side, 0)[0], sampler=choice, steps=SAMPLER_STEPS, strength=1.0)
    text = TextEmbeds(torch.zeros(77, 1), None)
    return LatentRow(
        pipeline.prepare(asked), torch.Generator().manual_seed(0), torch.randn_like(like), text, text, None
    )


@torch.inference_mode()
def _scheduler_steps(caller: Caller, output: Tensor) -> list[float]:
    """Seconds that all the schedulers take for each step, first to last."""
    outputs = output[:, None]
    latents = list(torch.randn_like(outputs))
    schedulers = [caller.sampler(choice) for choice in CHOICES]
    for scheduler in schedulers:
        scheduler.set_timesteps(SAMPLER_STEPS, device=output.device)
    generators = [torch.Generator().manual_seed(place) for place in range(len(schedulers))]
    options = [step_options(each, own, SAMPLER_STEPS) for each, own in zip(schedulers, generators, strict=True)]
    taken = []
    for step in range(SAMPLER_STEPS):
        for place, scheduler in enumerate(schedulers):  # some find their place in it; not timed, it is no step
            scheduler.scale_model_input(latents[place], scheduler.timesteps[step])
        start = time.perf_counter()
        for place, scheduler in enumerate(schedulers):
            at = scheduler.timesteps[step]
            latents[place] = scheduler.step(outputs[place], at, latents[place], **options[place], return_dict=False)[0]
        wait_for_device()
        taken.append(time.perf_counter() - start)
    return taken


def lora(pipeline: LatentPipeline, side: int, repeats: int) -> dict[str, float]:
    """Six rows with three LoRA sets in one call, against a call for each row and against a call for each set."""
    jobs = [_dressed(side, place, guidance=1.0) for place in range(6)]
    guided = [_dressed(side, place, guidance=7.5) for place in range(6)]
    figures = {"lora.max_diff": _lora_difference(pipeline, guided)}
    for name, asked in (("lora", jobs), ("lora.guided", guided)):
        rows = directly.encode(pipeline, *asked)
        together = median_seconds(partial(pipeline.denoise, rows), repeats)
        alone = sum(median_seconds(partial(pipeline.denoise, [row]), repeats) for row in rows)
        by_set = sum(median_seconds(partial(pipeline.denoise, rows[at::3]), repeats) for at in range(3))
        figures |= {
            f"{name}.speedup": alone / together,
            f"{name}.speedup_over_a_call_per_set": by_set / together,
            f"{name}.one_call_ms": 1000 * together,
        }
    return figures


def _dressed(side: int, place: int, guidance: float) -> Img2ImgJob:
    worn = LORA_SETS[1 + place % 3]
    return replace(same(6, side, 0)[place], loras=worn, guidance_scale=guidance, steps=LORA_STEPS)


def _lora_difference(pipeline: LatentPipeline, jobs: Sequence[Img2ImgJob]) -> float:
    """The largest difference of final latents between a common run and solo runs, relative to the largest latent."""
    together = directly.latents_of(pipeline, *jobs)
    alone = [directly.latents_of(pipeline, job)[0] for job in jobs]
    return max(
        float((one - other).abs().max() / other.abs().max()) for one, other in zip(together, alone, strict=True)
    )  # fmt: skip
