"""IPNDMScheduler: the fourth-order multistep of F-PNDM on a time axis of its own.

diffusers' class has the axis and the Adams-Bashforth weights, but no `add_noise`, and it feeds
the UNet times of 0..1. Here the same axis is laid over the model's own noise levels.
"""

from collections.abc import Mapping
from math import asin, sin, sqrt
from typing import Any

import numpy as np
import torch

from serve_app.samplers.noise import NoiseSchedule, Row, column, input_scale_at, read_schedule
from serve_app.samplers.table import SAMPLE, SamplerTable, reach_of

WEIGHTS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Adams-Bashforth on an even axis, latest first (Liu et al. 2022, arXiv 2202.09778, eq. 9; scheduling_ipndm.py)."""


def ipndm_table(base: Mapping[str, Any], steps: int, kept: int) -> SamplerTable:
    """`kept` steps from the level of kept / steps, an evaluation each. ValueError for an impossible `base`."""
    schedule = read_schedule(base)
    levels = _axis(schedule.sigma_at(kept / steps), kept)
    rows = [_row(schedule, levels, index) for index in range(kept)]
    coefficients = torch.tensor(np.array(rows), dtype=torch.float32)
    return SamplerTable(
        sampler="IPNDMScheduler",
        timesteps=torch.tensor([schedule.timestep(_sigma(level)) for level in levels[:kept]], dtype=torch.float32),
        input_scales=torch.ones(kept),
        coefficients=coefficients,
        draws=(False,) * kept,
        start=levels[0],
        reach=reach_of(coefficients),
    )


def _axis(sigma: float, kept: int) -> list[tuple[float, float]]:
    """(signal, noise) at kept + 1 points from `sigma` to clean, even on IPNDM's axis, where noise = sin^2(pi t / 2).

    diffusers lays them over the whole axis (`set_timesteps` of scheduling_ipndm.py), in whose middle there is much less
    noise than in the middle of a model's training timesteps: strength would mean less than with other samplers.
    """
    start = asin(sqrt(sigma * input_scale_at(sigma)))
    noises = [sin(start * left / kept) ** 2 for left in range(kept, -1, -1)]
    return [(sqrt(1 - noise**2), noise) for noise in noises]


def _sigma(level: tuple[float, float]) -> float:
    signal, noise = level
    return noise / signal


def _row(schedule: NoiseSchedule, levels: list[tuple[float, float]], index: int) -> Row:
    """DDIM (Song et al. 2020, arXiv 2010.02502, eq. 12) from one level to the next, with the blended epsilon."""
    (signal, noise), (next_signal, next_noise) = levels[index], levels[index + 1]
    weights = WEIGHTS[min(index, len(WEIGHTS) - 1)]
    epsilons = [
        weight * schedule.epsilon(_sigma(levels[index - back]), "preserving", back)
        for back, weight in enumerate(weights)
    ]
    ratio = next_signal / signal
    return column(SAMPLE, ratio) + (next_noise - ratio * noise) * np.sum(epsilons, axis=0)
