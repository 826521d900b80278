"""Which diffusers scheduler class stands behind each name, and the options it gets.

"Sampler" is our word for what diffusers calls a scheduler. One sampler object serves
one generation: they keep state from step to step.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers import SchedulerMixin

from serve_app.messages import SERVED_SAMPLERS, SamplerChoice

SIGMA_MIN_ALGORITHMS = ("dpmsolver", "sde-dpmsolver")
"""These divide by the last sigma, so their schedule must not end at zero (diffusers refuses it)."""


def build_sampler(choice: SamplerChoice, default: str, base: Mapping[str, Any]) -> SchedulerMixin:
    """Make the sampler a job asks for, on a model's noise schedule.

    `default` is the class name for a choice without one; `base` is the model's scheduler
    configuration, of which each class takes what it knows (as `from_config` does in diffusers).
    """
    name = choice.name or default
    if name not in SERVED_SAMPLERS:
        raise ValueError(f"{name} is not a sampler that this server runs")
    sampler_class = getattr(diffusers, name)
    return sampler_class.from_config(dict(base), **_options(sampler_class, choice))


def _options(sampler_class: type[SchedulerMixin], choice: SamplerChoice) -> dict[str, Any]:
    """The choice as constructor arguments, each only where the class has it."""
    known = inspect.signature(sampler_class.__init__).parameters
    options: dict[str, Any] = {}
    if "use_karras_sigmas" in known:
        options["use_karras_sigmas"] = choice.karras
    if "skip_prk_steps" in known:
        options["skip_prk_steps"] = True
    if choice.algorithm_type is not None and sampler_class.__name__.startswith("DPMSolver"):
        options["algorithm_type"] = choice.algorithm_type
        if choice.algorithm_type in SIGMA_MIN_ALGORITHMS:
            options["final_sigmas_type"] = "sigma_min"
    return options
