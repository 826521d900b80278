"""What a sampler becomes: a table of coefficients, or a stepper where it is not linear.

Both carry the same facts of the way from init latents to finished ones. Nothing here
moves a sample: an engine that advances many rows at once reads the table itself.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

LOOK_BACK = 4
"""How many samples and model outputs a coefficient row may reach, the present one counted."""

SAMPLE, OUTPUT, NOISE = 0, LOOK_BACK, 2 * LOOK_BACK
"""Where each kind begins among the columns; the k-th before the present one stands k further right."""

HISTORY = 10
"""Columns of a coefficient row: x[i], x[i-1], x[i-2], x[i-3], e[i], e[i-1], e[i-2], e[i-3], z[i], z[i-1]."""


@dataclass(frozen=True, slots=True, eq=False)
class SamplerTable:
    """A linear sampler, all its numbers: x[i+1] = coefficients[i] . history[i].

    x[i] is the sample before evaluation i, e[i] the model's raw output there (in its own
    prediction type), z[i] the fresh noise drawn after it. Float32 tensors on the CPU.
    """

    sampler: str
    """The class name, as in SAMPLER_NAMES."""
    timesteps: Tensor
    """(n,), what the UNet is told at each evaluation."""
    input_scales: Tensor
    """(n,), the UNet's input is scale * x."""
    coefficients: Tensor
    """(n, HISTORY). Entries that would reach before the start are zero."""
    draws: tuple[bool, ...]
    """(n,), whether fresh noise is drawn from the row's generator after evaluation i, used or not."""
    start: tuple[float, float]
    """x[0] = start[0] * init latents + start[1] * noise."""
    unconditional: int = 0
    """So many first evaluations run under the negative prompt alone, without guidance."""
    reach: int = 0
    """The furthest look back of any row, 0..3."""

    @property
    def evaluations(self) -> int:
        """UNet evaluations of one row."""
        return len(self.timesteps)


class Stepper(Protocol):
    """A sampler that is an object: one for each row, used once from start to end. Facts as in `SamplerTable`."""

    @property
    def sampler(self) -> str:
        """The class name."""

    @property
    def timesteps(self) -> Tensor:
        """(n,) float32."""

    @property
    def input_scales(self) -> Tensor:
        """(n,) float32."""

    @property
    def start(self) -> tuple[float, float]:
        """Weights of init latents and noise in x[0]."""

    @property
    def unconditional(self) -> int:
        """First evaluations without the prompt."""

    @property
    def evaluations(self) -> int:
        """UNet evaluations of one row."""

    def advance(self, index: int, latents: Tensor, output: Tensor, generator: torch.Generator) -> Tensor:
        """x[index + 1] from x[index] and e[index], both (1, 4, h, w); draws what it needs from `generator`."""


def reach_of(coefficients: Tensor) -> int:
    """The furthest look back with a weight in (n, HISTORY) coefficients."""
    used = coefficients.ne(0).any(0).nonzero().flatten().tolist()
    return max((column % LOOK_BACK for column in used), default=0)
