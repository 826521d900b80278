"""A model's noise schedule, as the samplers with a time axis of their own read it.

Two ways to write a noisy sample: the variance preserving x = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps
that the UNet sees, and the variance exploding X = x / sqrt(alpha_bar) = x0 + sigma eps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from serve_app.samplers.table import HISTORY, OUTPUT, SAMPLE

Row = npt.NDArray[np.float64]
"""A coefficient row in the making, (HISTORY,)."""

Space = Literal["preserving", "exploding"]

SMALLEST_ALPHA_BAR = 2.0**-24
"""Stands for the zero at the end of a zero-SNR schedule (as in diffusers' EulerDiscreteScheduler)."""


@dataclass(frozen=True, slots=True, eq=False)
class NoiseSchedule:
    """The levels a model was trained on."""

    alpha_bars: npt.NDArray[np.float64]
    """(T,), falling."""
    prediction: str
    """What the model's output is: epsilon, v_prediction or sample."""

    @property
    def sigmas(self) -> npt.NDArray[np.float64]:
        """(T,), rising: sqrt((1 - alpha_bar) / alpha_bar)."""
        return np.sqrt((1 - self.alpha_bars) / self.alpha_bars)

    def sigma_at(self, share: float) -> float:
        """The level where `share` (0..1] of the training timesteps lie below: where an image-to-image job starts."""
        return float(self.sigmas[max(round(share * len(self.alpha_bars)), 1) - 1])

    def timestep(self, sigma: float) -> int:
        """The training timestep whose sigma is nearest, by ratio."""
        return int(np.abs(np.log(self.sigmas) - np.log(sigma)).argmin())

    def epsilon(self, sigma: float, space: Space, back: int = 0) -> Row:
        """The noise that the model sees at evaluation i - back, at level `sigma`, in terms of x and e there.

        v and x0 outputs after Salimans and Ho 2022 (arXiv 2202.00512, appendix D). A row of zeros but for two columns.
        """
        input_scale = 1.0 if space == "preserving" else input_scale_at(sigma)
        of_input, of_output = epsilon_weights(self.prediction, sigma)
        return column(SAMPLE + back, of_input * input_scale) + column(OUTPUT + back, of_output)


def read_schedule(base: Mapping[str, Any]) -> NoiseSchedule:
    """The schedule of a model's scheduler configuration, its betas by diffusers' own code. ValueError if impossible."""
    prediction = str(base.get("prediction_type", "epsilon"))
    epsilon_weights(prediction, 1.0)
    alpha_bars = DDIMScheduler.from_config(dict(base)).alphas_cumprod.double().numpy()
    return NoiseSchedule(alpha_bars.clip(min=SMALLEST_ALPHA_BAR), prediction)


def epsilon_weights(prediction: str, sigma: float) -> tuple[float, float]:
    """(a, b) with eps = a * UNet input + b * UNet output at level `sigma` > 0. ValueError for an unknown prediction."""
    signal, noise = input_scale_at(sigma), sigma * input_scale_at(sigma)
    weights = {"epsilon": (0.0, 1.0), "v_prediction": (noise, signal), "sample": (1 / noise, -signal / noise)}
    if prediction not in weights:
        raise ValueError(f"prediction_type {prediction} is none of {', '.join(weights)}")
    return weights[prediction]


def input_scale_at(sigma: float) -> float:
    """sqrt(alpha_bar) at `sigma`: what turns an exploding sample into the UNet's input."""
    return 1 / sqrt(1 + sigma**2)


def column(index: int, value: float = 1.0) -> Row:
    """A row of zeros but for one column."""
    row = np.zeros(HISTORY)
    row[index] = value
    return row


def fresh_noise(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise like `latents`, drawn where the generator lives (as diffusers' randn_tensor does)."""
    noise = torch.randn(latents.shape, generator=generator, device=generator.device, dtype=latents.dtype)
    return noise.to(latents.device)
