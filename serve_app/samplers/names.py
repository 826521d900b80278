"""Which diffusers scheduler class stands behind each name, and the options it gets.

"Sampler" is our word for what diffusers calls a scheduler. The four names of `UNUSUAL`
do not run in diffusers' image-to-image loop; they have modules of their own here.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers import SchedulerMixin

from serve_app.messages import SAMPLER_NAMES, SamplerChoice

UNUSUAL = ("DDIMInverseScheduler", "IPNDMScheduler", "KarrasVeScheduler", "ScoreSdeVeScheduler")
"""The names that are not diffusers' own object stepped in diffusers' own loop."""

ORDINARY = tuple(name for name in SAMPLER_NAMES if name not in UNUSUAL)
"""The names whose diffusers object runs in an image-to-image loop as it is."""

LCM_STEPS = "original_inference_steps"

SIGMA_MIN_ALGORITHMS = ("dpmsolver", "sde-dpmsolver")
"""These divide by the last sigma, so their schedule must not end at zero (diffusers refuses it)."""


def sampler_name(choice: SamplerChoice, default: str) -> str:
    """The class name that runs; `default` is for a choice without one. ValueError for a name outside the contract."""
    name = choice.name or default
    if name not in SAMPLER_NAMES:
        raise ValueError(f"{name} is not a sampler that this server runs")
    return name


def sampler_options(name: str, choice: SamplerChoice) -> dict[str, Any]:
    """The choice as constructor arguments, each only where the class has it; the unusual four have none."""
    if name in UNUSUAL:
        return {}
    known = inspect.signature(getattr(diffusers, name).__init__).parameters
    options: dict[str, Any] = {}
    if "use_karras_sigmas" in known:
        options["use_karras_sigmas"] = choice.karras
    if "skip_prk_steps" in known:
        options["skip_prk_steps"] = True
    if "clip_sample" in known:
        options["clip_sample"] = False  # latents are not bounded by one; diffusers' own pipelines switch it off too
    if choice.algorithm_type is not None and name.startswith("DPMSolver"):
        options["algorithm_type"] = choice.algorithm_type
        if choice.algorithm_type in SIGMA_MIN_ALGORITHMS:
            options["final_sigmas_type"] = "sigma_min"
    return options


def build_sampler(choice: SamplerChoice, default: str, base: Mapping[str, Any]) -> SchedulerMixin:
    """Make diffusers' object for an ordinary choice, on a model's noise schedule; ValueError for other names.

    `default` is the class name for a choice without one; `base` is the model's scheduler
    configuration, of which each class takes what it knows (as `from_config` does in diffusers).
    """
    name = sampler_name(choice, default)
    if name not in ORDINARY:
        raise ValueError(f"{name} does not run in diffusers' image-to-image loop")
    options = sampler_options(name, choice)
    if name == "LCMScheduler":  # it takes its steps from so many, of which a short schedule has fewer
        options[LCM_STEPS] = min(base.get(LCM_STEPS, 50), base.get("num_train_timesteps", 1000))
    return getattr(diffusers, name).from_config(dict(base), **options)
