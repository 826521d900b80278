"""KarrasVeScheduler and ScoreSdeVeScheduler: sampling in variance exploding space.

The sample kept is X = x0 + sigma eps; the UNet is given X / sqrt(1 + sigma^2) and the nearest
training timestep. The first sampler is linear and becomes a table; the second is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from serve_app.samplers.noise import (
    NoiseSchedule,
    Row,
    column,
    epsilon_weights,
    fresh_noise,
    input_scale_at,
    read_schedule,
)
from serve_app.samplers.table import NOISE, SAMPLE, SamplerTable, reach_of
from serve_app.samplers.tempering import tempered_heun

RHO = 7.0
"""How the steps of Karras crowd towards the clean end (Karras et al. 2022, arXiv 2206.00364, eq. 5)."""

CHURN = 8.0
"""S_churn, the noise added over all steps; each step raises sigma by at most CHURN / steps of itself."""

LARGEST_CHURN = sqrt(2) - 1

SNR = 0.16
"""The Langevin corrector's signal-to-noise ratio (Song et al. 2021, arXiv 2011.13456, Algorithm 4)."""


def karras_sigmas(largest: float, smallest: float, count: int) -> list[float]:
    """`count` levels from largest to smallest, then zero (Karras et al. 2022, eq. 5)."""
    ramp = np.linspace(largest ** (1 / RHO), smallest ** (1 / RHO), count) ** RHO
    return [*ramp.tolist(), 0.0]


def geometric_sigmas(largest: float, smallest: float, count: int) -> list[float]:
    """`count` levels of one ratio, then zero (Song et al. 2021, appendix C)."""
    return [*np.geomspace(largest, smallest, count).tolist(), 0.0]


def karras_ve_table(base: Mapping[str, Any], steps: int, kept: int) -> SamplerTable:
    """`kept` >= 1 steps of Algorithm 2 (Karras et al. 2022) from the level of kept / steps.

    It has 2 * kept - 1 evaluations. The noise that a step adds first is drawn with the update before
    it, and for the first step is part of the start. ValueError for an impossible `base`.
    """
    schedule = read_schedule(base)
    sigmas = karras_sigmas(schedule.sigma_at(kept / steps), schedule.sigma_at(0), kept)
    churned = [_churn(sigma, steps, float(schedule.sigmas[-1])) for sigma in sigmas[:-1]]
    rows, seen = _heun_rows(schedule, sigmas, churned)
    timesteps, input_scales = _told(schedule, seen)
    coefficients = torch.tensor(np.array(rows), dtype=torch.float32)
    return SamplerTable(
        sampler="KarrasVeScheduler",
        timesteps=timesteps,
        input_scales=input_scales,
        coefficients=coefficients,
        draws=tuple(bool(row[NOISE]) for row in rows),
        start=(1.0, churned[0]),
        reach=reach_of(coefficients),
    )


def _churn(sigma: float, steps: int, largest: float) -> float:
    """The level after noise is added, never above what the model knows."""
    return max(sigma, min(sigma * (1 + min(CHURN / steps, LARGEST_CHURN)), largest))


def _heun_rows(
    schedule: NoiseSchedule, sigmas: Sequence[float], churned: Sequence[float]
) -> tuple[list[Row], list[float]]:
    """The coefficient rows and the level seen at each evaluation."""
    rows: list[Row] = []
    seen: list[float] = []
    for high, low, following in zip(churned, sigmas[1:], [*churned[1:], 0.0], strict=True):
        rows.append(column(SAMPLE) + (low - high) * schedule.epsilon(high, "exploding"))
        seen.append(high)
        if low:
            slopes = schedule.epsilon(high, "exploding", 1) + schedule.epsilon(low, "exploding")
            fresh = column(NOISE, sqrt(following**2 - low**2))
            rows.append(tempered_heun(column(SAMPLE + 1) + (low - high) / 2 * slopes, low / high) + fresh)
            seen.append(low)
    return rows, seen


@dataclass(frozen=True, slots=True, eq=False)
class LangevinSteps:
    """The levels of predictor and corrector, shared by all rows on the same way."""

    sigmas: tuple[float, ...]
    """Falling, the last is zero: predictor k goes from sigmas[k] to sigmas[k + 1], corrector k stays at sigmas[k]."""
    seen: tuple[float, ...]
    """(n,), the level at each evaluation: predictor 0, corrector 1, predictor 1, ..., the last predictor."""
    timesteps: Tensor
    """(n,) float32."""
    input_scales: Tensor
    """(n,) float32."""
    prediction: str
    start: tuple[float, float]
    """As in SamplerTable."""


def langevin_steps(base: Mapping[str, Any], steps: int, kept: int) -> LangevinSteps:
    """`kept` >= 1 predictors from the level of kept / steps, correctors between: 2 * kept - 1 evaluations.

    ValueError for an impossible `base`.
    """
    schedule = read_schedule(base)
    sigmas = geometric_sigmas(schedule.sigma_at(kept / steps), schedule.sigma_at(0), kept)
    seen = [sigmas[(index + 1) // 2] for index in range(2 * kept - 1)]
    told = _told(schedule, seen)
    return LangevinSteps(tuple(sigmas), tuple(seen), *told, schedule.prediction, start=(1.0, sigmas[0]))


class LangevinStepper:
    """Predictor-corrector sampling of Song et al. 2021 (arXiv 2011.13456, Algorithms 2 and 4), for one row.

    The last predictor takes the mean: it ends in latents without noise. Not linear, since the
    corrector's step follows from the norms of score and noise. Keeps no state.
    """

    sampler = "ScoreSdeVeScheduler"
    unconditional = 0

    def __init__(self, steps: LangevinSteps) -> None:
        self.timesteps, self.input_scales = steps.timesteps, steps.input_scales
        self.start = steps.start
        self.evaluations = len(steps.timesteps)
        self._steps = steps

    def advance(self, index: int, latents: Tensor, output: Tensor, generator: torch.Generator) -> Tensor:
        """As `Stepper.advance`."""
        sigma = self._steps.seen[index]
        of_input, of_output = epsilon_weights(self._steps.prediction, sigma)
        epsilon = of_input * input_scale_at(sigma) * latents + of_output * output
        if index % 2:
            return _correct(latents, -epsilon / sigma, sigma, generator)
        return _predict(latents, epsilon, sigma, self._steps.sigmas[index // 2 + 1], generator)


def _predict(latents: Tensor, epsilon: Tensor, sigma: float, lower: float, generator: torch.Generator) -> Tensor:
    """The ancestral predictor for the exploding SDE (Song et al. 2021, appendix F), score = -epsilon / sigma.

    Not reverse diffusion (appendix E), which leaves more noise than the next level says: in the
    steps that a request has, too much of it stays for the pictures to be clean.
    """
    variance = sigma**2 - lower**2
    mean = latents - variance / sigma * epsilon
    return mean + lower / sigma * sqrt(variance) * fresh_noise(latents, generator) if lower else mean


def _correct(latents: Tensor, score: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """One annealed Langevin step; a row has the norms of its own.

    It adds no more noise than the level has: after a predictor that leaps far, the sample lies nearer to the world's
    middle than it should, so the score is small and the step by Algorithm 4 would be far too large.
    """
    noise = fresh_noise(latents, generator)
    size = (2 * (SNR * noise.norm() / score.norm().clamp_min(1e-12)) ** 2).clamp_max(sigma**2 / 2)
    return latents + size * score + (2 * size).sqrt() * noise


def _told(schedule: NoiseSchedule, seen: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Timesteps and input scales, both (n,), of the levels seen."""
    timesteps = [schedule.timestep(sigma) for sigma in seen]
    scales = [input_scale_at(sigma) for sigma in seen]
    return torch.tensor(timesteps, dtype=torch.float32), torch.tensor(scales, dtype=torch.float32)
