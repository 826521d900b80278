"""Which noise levels a job walks, by its steps and strength, and whether any of the init picture is in its start.

Mostly those of diffusers' image-to-image pipelines: the last `kept` of `steps` levels. Where these would be so few
that the start lies far below what strength says, the levels are laid from strength's own level down.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffusers import DDIMScheduler

from serve_app.samplers.counts import kept_steps

FEW = 2
"""With so few kept steps diffusers' usual spacing ("leading") starts under half of the level asked for; with one at
the very last."""
FEW_FROM_NOISE = 10
"""With fewer steps that spacing starts where noise alone is not what the model expects: over a tenth is picture."""
LEAST_SHARE = 0.01
"""Of the training timesteps; below, there is nothing to lay levels over."""


@dataclass(frozen=True, slots=True)
class Walk:
    """How far a job goes: the last `kept` of `steps` steps."""

    steps: int
    kept: int
    share: float | None
    """Where not None, `steps` are laid evenly over this share of the training timesteps, the first at its very end."""
    from_noise: bool
    """Whether nothing of the init picture is in the start."""


def walk_of(steps: int, strength: float) -> Walk:
    """What `steps` and `strength` come to."""
    kept, from_noise = kept_steps(steps, strength), strength >= 1
    if from_noise:
        return Walk(steps, kept, 1.0 if steps < FEW_FROM_NOISE else None, from_noise=True)
    if 0 < kept <= FEW:
        return Walk(kept, kept, max(strength, LEAST_SHARE), from_noise=False)
    return Walk(steps, kept, None, from_noise=False)


def laid_over(base: Mapping[str, Any], share: float) -> dict[str, Any]:
    """A model's scheduler configuration, cut to `share` (0..1] of its training timesteps, from whose end to start."""
    whole = {**base, "timestep_spacing": "trailing"}
    if share >= 1:
        return whole
    betas = DDIMScheduler.from_config(dict(base)).betas.tolist()  # a zero-SNR schedule is rescaled in them
    count = min(max(2, round(share * len(betas))), len(betas) - 1)
    return {**whole, "trained_betas": betas[:count], "num_train_timesteps": count, "rescale_betas_zero_snr": False}
