"""Steppers of one row: one that walks a table, one that asks diffusers' own object.

The second serves configurations that have no table (dynamic thresholding); the first is the
table's plain reading, for a row that runs by itself.
"""

from collections.abc import Sequence

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from serve_app.samplers.noise import fresh_noise
from serve_app.samplers.probe import step_options
from serve_app.samplers.table import HISTORY, LOOK_BACK, SamplerTable


class TableStepper:
    """A table walked for one row, one tensor operation a column."""

    def __init__(self, table: SamplerTable) -> None:
        self.sampler, self.start, self.unconditional = table.sampler, table.start, table.unconditional
        self.timesteps, self.input_scales = table.timesteps, table.input_scales
        self.evaluations = table.evaluations
        self._table = table
        self._past: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        """Samples, outputs and noises seen, latest first; written by `advance` only."""

    def advance(self, index: int, latents: Tensor, output: Tensor, generator: torch.Generator) -> Tensor:
        """As `Stepper.advance`."""
        samples, outputs, noises = self._past
        samples.insert(0, latents)
        outputs.insert(0, output)
        noises.insert(0, fresh_noise(latents, generator) if self._table.draws[index] else torch.zeros_like(latents))
        row = self._table.coefficients[index].tolist()
        weighted = zip(row, _columns(*self._past), strict=False)
        for kind in self._past:
            del kind[LOOK_BACK:]
        return torch.stack([weight * value for weight, value in weighted if weight]).sum(0)


class SchedulerStepper:
    """diffusers' own object, at its start, for a configuration that has no table."""

    def __init__(self, scheduler: SchedulerMixin, timesteps: Tensor, facts: SamplerTable) -> None:
        self.sampler, self.start, self.unconditional = facts.sampler, facts.start, facts.unconditional
        self.timesteps, self.input_scales, self.evaluations = facts.timesteps, facts.input_scales, facts.evaluations
        self._scheduler = scheduler
        self._own_timesteps = timesteps
        """In the object's own dtype, by which it finds its place."""

    def advance(self, index: int, latents: Tensor, output: Tensor, generator: torch.Generator) -> Tensor:
        """As `Stepper.advance`."""
        timestep = self._own_timesteps[index]
        self._scheduler.scale_model_input(latents, timestep)  # some find their place in it
        options = step_options(self._scheduler, generator, index)
        after: Tensor = self._scheduler.step(output, timestep, latents, **options, return_dict=False)[0]
        return after


def _columns(samples: Sequence[Tensor], outputs: Sequence[Tensor], noises: Sequence[Tensor]) -> list[Tensor]:
    """The past in the order of the columns; what lies before the start is zero."""
    zero = torch.zeros_like(samples[0])
    filled = [[*kind, zero, zero, zero][:LOOK_BACK] for kind in (samples, outputs, noises)]
    return [value for kind in filled for value in kind][:HISTORY]
