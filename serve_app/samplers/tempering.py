"""Steps that leap too far for their order, tempered: what diffusers' own step would leave as noise in the picture.

With D for the clean picture that the model sees, a step from level s to r s is x' = r x + (1 - r) D'. Methods of
second order take D' = D1 + w (D2 - D1), where w is 1 / 2r (Heun) or 1 / sqrt(r) (midpoint): where r is small, D' lies
far beyond anything that the model saw. Here w is `MOST` at most. docs/samplers.md has the figures.
"""

from dataclasses import replace
from itertools import pairwise
from math import log, sqrt

import numpy as np
import torch
from diffusers import SchedulerMixin

from serve_app.samplers.noise import Row, column, epsilon_weights, input_scale_at
from serve_app.samplers.table import NOISE, OUTPUT, SAMPLE, SamplerTable, reach_of

MOST = 1.6
"""Half steps of every sampler at 20 Karras levels stay as they are. With 2.5 five steps end .36 from where .3 is
right, with 1 smooth pictures get smoother."""
MIDPOINT = ("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler")


def tempered(table: SamplerTable, scheduler: SchedulerMixin) -> SamplerTable:
    """The table of an ordinary sampler without its leaps; `scheduler` is what it was made of, its timesteps set."""
    algorithm = scheduler.config.get("algorithm_type")
    rows: dict[int, Row] = {}
    if table.sampler == "HeunDiscreteScheduler":
        rows = {at: tempered_heun(row, ratio) for at, row, ratio in _second_halves(table)}
    elif table.sampler in MIDPOINT:
        rows = {at: _tempered_midpoint(row, ratio) for at, row, ratio in _second_halves(table)}
    elif algorithm == "sde-dpmsolver":
        steps = enumerate(pairwise(_levels(table, scheduler)))
        rows = {
            at: _drifting(scheduler.config.prediction_type, *both) for at, both in steps if both[0] > MOST * both[1]
        }
    elif table.sampler == "DPMSolverSinglestepScheduler" and algorithm == "dpmsolver":
        levels = _levels(table, scheduler)
        second = [(at, row) for at, row in enumerate(table.coefficients.double().numpy()) if row[SAMPLE + 1]]
        rows = {at: _tempered_pair(row, *levels[at - 1 : at + 2]) for at, row in second}
    return _with_rows(table, rows) if rows else table


def tempered_heun(row: Row, low_by_high: float) -> Row:
    """The second half of Heun's step; x[i] is where its first half led."""
    return _blended(row, column(SAMPLE), 1 / (2 * low_by_high))


def _tempered_midpoint(row: Row, middle_by_high: float) -> Row:
    """The second half of a midpoint step whose middle is the geometric mean; x[i] lies there, x[i-1] at its start."""
    first = column(SAMPLE, 1 + middle_by_high) - column(SAMPLE + 1, middle_by_high)
    return _blended(row, first, 1 / middle_by_high)


def _tempered_pair(row: Row, high: float, middle: float, low: float) -> Row:
    """The second of two steps of the singlestep DPM-Solver-2, in whose preserving space x[i] lies between x[i-1]'s
    level and the one to reach; there w = 1 / 2 r0 q, with q = middle / high, of which r0 is the share of log r."""
    ratio, first = low / high, middle / high
    signal, middle_signal, next_signal = (input_scale_at(sigma) for sigma in (high, middle, low))
    of_middle = (1 - ratio) / (1 - first)
    to_low = column(SAMPLE, of_middle / middle_signal) + column(SAMPLE + 1, (ratio - first * of_middle) / signal)
    return _blended(row, next_signal * to_low, log(ratio) / (2 * log(first) * first))


def _blended(row: Row, first_order: Row, weight: float) -> Row:
    """Between the step of second order and the one of first order to the same level; fresh noise stays as it is."""
    if weight <= MOST:
        return row
    share = MOST / weight
    blended = share * row + (1 - share) * first_order
    blended[NOISE:] = row[NOISE:]
    return blended


def _drifting(prediction: str, high: float, low: float) -> Row:
    """sde-dpmsolver's equation from one level to another, solved as sde-dpmsolver++ does it (first order).

    Solved for the noise instead, it leaves sqrt(2 / r^2 - 4 / r + 3) times the noise that the next level has.
    """
    signal, next_signal, ratio = input_scale_at(high), input_scale_at(low), low / high
    of_sample, of_output = epsilon_weights(prediction, high)
    of_clean = next_signal * (1 - ratio**2)
    drift = ratio**2 * next_signal / signal + of_clean * (1 / signal - high * of_sample)
    fresh = low * next_signal * sqrt(1 - ratio**2)
    return column(SAMPLE, drift) - column(OUTPUT, of_clean * high * of_output) + column(NOISE, fresh)


def _levels(table: SamplerTable, scheduler: SchedulerMixin) -> list[float]:
    """The sigmas of the walk, and the one that it ends at."""
    sigmas: list[float] = scheduler.sigmas[-table.evaluations - 1 :].tolist()
    return sigmas


def _second_halves(table: SamplerTable) -> list[tuple[int, Row, float]]:
    """Of each step but the last: its place, its row, and its second level by its first; of an exploding sampler."""
    sigmas = np.sqrt((table.input_scales.double().numpy() ** -2 - 1).clip(min=0))
    rows = table.coefficients.double().numpy()
    return [(at, rows[at], float(sigmas[at] / sigmas[at - 1])) for at in range(1, len(rows), 2)]


def _with_rows(table: SamplerTable, rows: dict[int, Row]) -> SamplerTable:
    coefficients = table.coefficients.clone()
    for at, row in rows.items():
        coefficients[at] = torch.from_numpy(row)
    return replace(table, coefficients=coefficients, reach=reach_of(coefficients))
