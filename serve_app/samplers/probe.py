"""A diffusers scheduler in, a coefficient table out.

The scheduler's own `step` runs once on unit vectors, in float64; least squares finds the
coefficients. Random numbers ride along in every vector: what they show beside the fit is
the residual, so that a step which is not linear (clamping, thresholds) cannot pass for one.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import SchedulerMixin
from torch import Tensor
from torch.overrides import TorchFunctionMode

from serve_app.samplers.table import HISTORY, LOOK_BACK, NOISE, OUTPUT, SAMPLE, SamplerTable, reach_of

TOLERANCE = 1e-6
"""The largest residual, relative to the sample, at which a table stands for its scheduler."""

LANES = 32
"""Random numbers beside the unit vectors, at the size of real latents."""

LANE_SCALE = 4.0
RANK_TOLERANCE = 1e-9
ROUNDING = 1e-9
"""Coefficients smaller than this share of the largest are the solver's rounding errors, and 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """What a run on unit vectors gave."""

    table: SamplerTable
    """Its coefficients hold only if `fits`; all else holds in any case."""
    residual: float
    """The largest error of the table on any step, relative to that step's result."""

    @property
    def fits(self) -> bool:
        """Whether the table may stand for the scheduler."""
        return self.residual <= TOLERANCE


@torch.inference_mode(False)
@torch.no_grad()
def probe(sampler: str, scheduler: SchedulerMixin, timesteps: Tensor) -> Probe:
    """Run `scheduler`, its timesteps set and its begin index too, over `timesteps` (n,).

    The scheduler is used up by it. Raises what its methods raise.
    """
    run = _Run(len(timesteps))
    start = _start(scheduler, timesteps)
    for index, timestep in enumerate(timesteps):
        run.step(scheduler, index, timestep)
    coefficients = torch.stack(run.rows).float() if run.rows else torch.zeros(0, HISTORY)
    table = SamplerTable(
        sampler=sampler,
        timesteps=timesteps.float().clone(),
        input_scales=torch.tensor(run.scales, dtype=torch.float32),
        coefficients=coefficients,
        draws=tuple(run.draws),
        start=start,
        reach=reach_of(coefficients),
    )
    return Probe(table, max(run.residuals, default=0.0))


class _Run:
    """The vectors of one run. Vector 0 is the first sample, 1..n the model outputs, n+1..2n the noises."""

    def __init__(self, evaluations: int) -> None:
        count = 1 + 2 * evaluations
        generator = torch.Generator().manual_seed(0)
        lanes = LANE_SCALE * torch.randn(count, LANES, generator=generator)
        self._vectors = torch.cat([torch.eye(count), lanes], 1).double()
        self._units = count
        self._evaluations = evaluations
        self._past: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        self._sample = self._vectors[0]
        self.rows: list[Tensor] = []
        self.scales: list[float] = []
        self.draws: list[bool] = []
        self.residuals: list[float] = []

    def step(self, scheduler: SchedulerMixin, index: int, timestep: Tensor) -> None:
        """One evaluation: the input's scale, the step, the fit."""
        output = self._vectors[1 + index]
        noise = _UnitNoise(self._vectors[1 + self._evaluations + index])
        with noise:
            scaled = scheduler.scale_model_input(_as_latents(self._sample), timestep).flatten()
            self.scales.append(float(scaled @ self._sample / (self._sample @ self._sample)))
            options = step_options(scheduler, torch.Generator(), index)
            latents = _as_latents(self._sample)
            after = scheduler.step(_as_latents(output), timestep, latents, **options, return_dict=False)[0]
        self.draws.append(noise.drawn)
        self._learn(output, noise.vector if noise.drawn else torch.zeros_like(output), after.flatten().double())

    def _learn(self, output: Tensor, noise: Tensor, after: Tensor) -> None:
        for kind, value in zip(self._past, (self._sample, output, noise), strict=True):
            kind.insert(0, value)
            del kind[LOOK_BACK:]
        row, residual = _fit(*self._past, after, self._units)
        self.rows.append(row)
        self.residuals.append(residual)
        self._sample = after


class _UnitNoise(TorchFunctionMode):
    """Inside it `torch.randn` hands out one given vector, once. Acts on the entering thread alone, patches nothing."""

    def __init__(self, vector: Tensor) -> None:
        super().__init__()
        self.vector = vector
        self.drawn = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 (whatever torch returns)
        kwargs = kwargs or {}
        if func is not torch.randn:
            return func(*args, **kwargs)
        if self.drawn:
            raise NotImplementedError("a scheduler that draws noise twice in a step has no table")
        self.drawn = True
        return _as_latents(self.vector).to(kwargs.get("dtype") or torch.float64)


def step_options(scheduler: SchedulerMixin, generator: torch.Generator, index: int) -> dict[str, Any]:
    """What `step` takes beside its usual three, at evaluation `index` of a walk.

    `generator` for those schedulers whose step draws noise, and `order` for the one (LMS) that would else count it from
    the schedule's start, and so read more history than a walk from its middle has.
    """
    known = inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {"generator": generator} if "generator" in known else {}
    if "order" in known:
        options["order"] = min(index + 1, known["order"].default)
    return options


def _start(scheduler: SchedulerMixin, timesteps: Tensor) -> tuple[float, float]:
    """What `add_noise` weighs init latents and noise with; init latents alone where there is nothing to do."""
    if not len(timesteps) or not hasattr(scheduler, "add_noise"):
        return 1.0, 0.0
    clean, noise = _as_latents(torch.eye(2, dtype=torch.float64))
    mixed = scheduler.add_noise(clean[None], noise[None], timesteps[:1]).flatten().tolist()
    return mixed[0], mixed[1]


def _as_latents(vector: Tensor) -> Tensor:
    """(..., width) to (..., 1, 1, width), the rank of latents."""
    return vector[..., None, None, :] if vector.dim() > 1 else vector[None, None, None]


def _fit(
    samples: list[Tensor], outputs: list[Tensor], noises: list[Tensor], after: Tensor, units: int
) -> tuple[Tensor, float]:
    """A coefficient row (HISTORY,) and its residual, with the shortest look back that fits, else the longest."""
    row, residual = torch.zeros(HISTORY, dtype=torch.float64), float("inf")
    for back in range(len(samples) if after.isfinite().all() else 0):
        columns = {SAMPLE + k: samples[k] for k in range(back + 1)} | {OUTPUT + k: outputs[k] for k in range(back + 1)}
        columns |= {NOISE + k: noises[k] for k in range(min(back + 1, HISTORY - NOISE)) if noises[k].any()}
        row, residual = _solve(columns, after, units)
        if residual <= TOLERANCE:
            break
    return row, residual


def _solve(columns: Mapping[int, Tensor], after: Tensor, units: int) -> tuple[Tensor, float]:
    """Least squares on the unit part of the vectors, columns brought to length 1; residual over the whole."""
    matrix = torch.stack(list(columns.values()), 1)
    lengths = matrix[:units].norm(dim=0).clamp_min(1e-300)
    scaled = matrix[:units] / lengths
    found = torch.linalg.lstsq(scaled, after[:units, None], rcond=RANK_TOLERANCE, driver="gelsd").solution[:, 0]
    row = torch.zeros(HISTORY, dtype=torch.float64)
    row[list(columns)] = found / lengths
    row[row.abs() < ROUNDING * row.abs().max()] = 0.0
    residual = (matrix @ row[list(columns)] - after).abs().max() / after.abs().max().clamp_min(1e-300)
    return row, float(residual)
