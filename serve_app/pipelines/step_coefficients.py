"""A sampler's plan as the step thread reads it: plain numbers, and sums with as few passes over memory as can be.

A pass over latents is all that an update costs, so one is saved: between two steps a row's latents are kept in such a
scale that the newest sample counts once in the next sum. The UNet's input is scaled anyway.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from serve_app.samplers.plan import Plan
from serve_app.samplers.table import LOOK_BACK, SAMPLE

Term = tuple[float, int, int]
"""A coefficient that counts, the place of its kind in `LatentRow.past`, and how many evaluations ago it was."""
LEAST_SCALE = 1e-3
"""Scales stay between this and its inverse, so that no sum leaves what float32 holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """What the next latents are, as `LatentRow.past` has the parts: the first times its weight, and the others."""

    weight: Tensor | None
    """Without dimensions, by which torch multiplies faster than by a float; None stands for 1."""
    first: tuple[int, int]
    """As in Term."""
    others: list[Term]


@dataclass(frozen=True, slots=True, eq=False)
class StepCoefficients:
    """All lists have one entry an evaluation. Finished latents and those at the start are the sampler's own."""

    timesteps: list[float]
    input_scales: list[float]
    """The UNet's input is this times the row's latents."""
    sums: list[Sum] | None
    """None where each row has a stepper."""
    draws: tuple[bool, ...]
    start: tuple[float, float]
    unconditional: int
    reach: int


def step_coefficients(plan: Plan) -> StepCoefficients:
    """The numbers of a plan."""
    table = plan.table
    if table is None:
        facts = plan.stepper()
        told = facts.timesteps.tolist(), facts.input_scales.tolist()
        return StepCoefficients(
            *told, sums=None, draws=(), start=facts.start, unconditional=facts.unconditional, reach=0
        )
    rows = table.coefficients.tolist()
    scales = _scales([row[SAMPLE] for row in rows])
    return StepCoefficients(
        timesteps=table.timesteps.tolist(),
        input_scales=[own * scale for own, scale in zip(table.input_scales.tolist(), scales, strict=False)],
        sums=[_sum(row, scales[: place + 2]) for place, row in enumerate(rows)],
        draws=table.draws,
        start=table.start,
        unconditional=table.unconditional,
        reach=table.reach,
    )


def _scales(weights: Sequence[float]) -> list[float]:
    """What a row's latents are to be multiplied by to be the sampler's own: before each evaluation, and at the end.

    `weights` are those of the newest sample.
    """
    scales = [1.0]
    for weight in weights[:-1]:
        scale = scales[-1] * weight
        scales.append(scale if LEAST_SCALE <= scale <= 1 / LEAST_SCALE else 1.0)
    return [*scales, 1.0]


def _sum(coefficients: Sequence[float], scales: Sequence[float]) -> Sum:
    """`scales` are those up to the next latents'."""
    *seen, made = scales
    (weight, kind, ago), *others = [
        (weight * (seen[-1 - column] if column < LOOK_BACK else 1.0) / made, column // LOOK_BACK, column % LOOK_BACK)
        for column, weight in enumerate(coefficients)
        if weight
    ]
    return Sum(None if weight == 1 and others else torch.tensor(weight), (kind, ago), others)
