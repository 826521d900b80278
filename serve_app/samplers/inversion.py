"""DDIMInverseScheduler: the init latents are carried to noise without chance, then denoised under the prompt.

diffusers' inverse scheduler and its DDIMScheduler, each as a table, one after the other.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, SchedulerMixin
from torch import Tensor

from serve_app.samplers.probe import probe
from serve_app.samplers.table import SamplerTable

NAME = "DDIMInverseScheduler"


def inversion_table(base: Mapping[str, Any], steps: int, kept: int) -> SamplerTable:
    """`kept` evaluations up, then `kept` down from the level reached, in one table that draws nothing.

    Both use the same `kept` least noisy of `steps` timesteps. ValueError for what diffusers refuses,
    and for a noise schedule on which the way down divides by zero (an epsilon model with zero SNR).
    """
    up, down = _build(DDIMInverseScheduler, base, steps), _build(DDIMScheduler, base, steps)
    climb = probe(NAME, up, up.timesteps[:kept])
    descent = probe(NAME, down, down.timesteps[steps - kept :])
    if not (climb.fits and descent.fits):
        raise ValueError("this model's noise schedule cannot be inverted")
    told = _told_on_the_way_up(up, climb.table)
    return _chain(replace(climb.table, timesteps=told), descent.table)


def _build(kind: type[SchedulerMixin], base: Mapping[str, Any], steps: int) -> SchedulerMixin:
    """A scheduler with its timesteps set; "leading" where `base` spaces them in a way the inverse one lacks.

    The clean end is the first trained level for both (as in Stable Diffusion), so that up and down meet at both ends.
    """
    spacing = base.get("timestep_spacing", "leading")
    spacing = spacing if spacing == "trailing" else "leading"
    options = {"clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": spacing}
    if kind is DDIMScheduler:
        options["thresholding"] = False  # the inverse one has none
    scheduler = kind.from_config(dict(base), **options)
    scheduler.set_timesteps(steps)
    return scheduler


def _told_on_the_way_up(up: SchedulerMixin, climb: SamplerTable) -> Tensor:
    """What the UNet is told: the level a step goes to, as diffusers has it, except for a model that predicts x0.

    Such a model is told the level the sample is at: its noise is (x - x0) / sigma there, and a
    small sigma would blow the difference up.
    """
    if up.config.prediction_type != "sample":
        return climb.timesteps
    return (climb.timesteps - up.config.num_train_timesteps // up.num_inference_steps).clamp_min(0)


def _chain(climb: SamplerTable, descent: SamplerTable) -> SamplerTable:
    """Both look back at nothing, so their rows may follow each other."""
    return replace(
        climb,
        timesteps=torch.cat([climb.timesteps, descent.timesteps]),
        input_scales=torch.cat([climb.input_scales, descent.input_scales]),
        coefficients=torch.cat([climb.coefficients, descent.coefficients]),
        draws=climb.draws + descent.draws,
        start=(1.0, 0.0),
        unconditional=climb.evaluations,
        reach=max(climb.reach, descent.reach),
    )
