"""Walks from init latents to finished ones: ours by a stepper, diffusers' by its own object, on the same model."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from diffusers import LMSDiscreteScheduler, PNDMScheduler, SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from serve_app.samplers.counts import kept_steps
from serve_app.samplers.noise import NoiseSchedule
from serve_app.samplers.table import Stepper

Model = Callable[[Tensor, float], Tensor]
"""The UNet's part: scaled sample and timestep in, output out."""

SHAPE = (1, 4, 8, 8)
SEED = 7
BASE: dict[str, Any] = {
    "_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "num_train_timesteps": 1000,
    "prediction_type": "epsilon", "timestep_spacing": "leading",
}  # fmt: skip
"""Stable Diffusion's noise schedule, and the pocket model's."""


def bent(sample: Tensor, timestep: float) -> Tensor:
    """A model of no meaning that is linear in nothing."""
    return torch.tanh(1.3 * sample.roll(1, -1) - 0.4 * sample + timestep / 700 - 0.5)


def init_latents() -> Tensor:
    """Latents of the size that a VAE gives."""
    return 1.5 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))


def walk(stepper: Stepper, model: Model, init: Tensor, generator: torch.Generator, inverted: Model = bent) -> Tensor:
    """As an engine does it; `inverted` stands for the model in the unconditional evaluations."""
    noise = torch.randn(init.shape, generator=generator)
    latents = stepper.start[0] * init + stepper.start[1] * noise
    for index in range(stepper.evaluations):
        answer = inverted if index < stepper.unconditional else model
        output = answer(stepper.input_scales[index] * latents, float(stepper.timesteps[index]))
        latents = stepper.advance(index, latents, output, generator)
    return latents


def walk_diffusers(
    scheduler: SchedulerMixin, model: Model, init: Tensor, steps: int, strength: float, generator: torch.Generator
) -> Tensor:
    """As StableDiffusionImg2ImgPipeline does it (get_timesteps, prepare_latents, the denoising loop), but for what
    docs/samplers.md says: strength 1 is StableDiffusionPipeline, LMS is told its order, PNDM its timesteps."""
    scheduler.set_timesteps(steps)
    begin = (steps - kept_steps(steps, strength)) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    noise = randn_tensor(init.shape, generator)
    timesteps = scheduler.timesteps[begin:]
    if isinstance(scheduler, PNDMScheduler) and begin:
        timesteps = torch.cat([timesteps[1:3], timesteps[2:]])  # its list has one level twice, before the first here
    mixed = scheduler.add_noise(init, noise, timesteps[:1])
    latents = noise * scheduler.init_noise_sigma if strength == 1 else mixed
    takes = inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {"generator": generator} if "generator" in takes else {}
    for place, timestep in enumerate(timesteps):
        if isinstance(scheduler, LMSDiscreteScheduler):
            options["order"] = min(place + 1, 4)
        output = model(scheduler.scale_model_input(latents, timestep), float(timestep))
        latents = scheduler.step(output, timestep, latents, **options, return_dict=False)[0]
    return latents


def gaussian(schedule: NoiseSchedule, mean: Tensor, deviation: float) -> Model:
    """The perfect model of a world whose latents are N(mean, deviation^2), in the schedule's prediction type."""

    def answer(sample: Tensor, timestep: float) -> Tensor:
        kept = float(schedule.alpha_bars[round(timestep)])
        total = kept * deviation**2 + 1 - kept
        epsilon = (1 - kept) ** 0.5 * (sample - kept**0.5 * mean) / total
        clean = (sample - (1 - kept) ** 0.5 * epsilon) / kept**0.5
        velocity = kept**0.5 * epsilon - (1 - kept) ** 0.5 * clean
        return {"epsilon": epsilon, "v_prediction": velocity, "sample": clean}[schedule.prediction]

    return answer


def seeded(seed: int = SEED) -> torch.Generator:
    """A row's generator."""
    return torch.Generator().manual_seed(seed)
