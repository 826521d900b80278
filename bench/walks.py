"""`python -m bench.walks`: where each sampler's walk ends with a perfect model, as a Markdown table.

The world's latents are N(1, 0.3^2), so the best answer to any question is known in closed form, and the init picture
is one of them: whatever the strength, a sampler that is right ends .3 from the mean. Tables are linear, so no picture
is drawn: what each of init picture, first noise and fresh noises weighs in the end says how far that is, on average.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import diffusers
import numpy as np
import numpy.typing as npt
from diffusers import DDIMScheduler

from serve_app.config import POCKET, PROJECT
from serve_app.messages import SAMPLER_NAMES, SamplerChoice
from serve_app.samplers.noise import NoiseSchedule, read_schedule
from serve_app.samplers.plan import SamplerTables
from serve_app.samplers.table import HISTORY, LOOK_BACK, NOISE, SamplerTable

Weights = npt.NDArray[np.float64]
"""What goes into a sample: the world's mean, the init picture, the first noise, then the noise of each evaluation."""
MEAN, INIT, NOISES = 0, 1, 2
DEVIATION = 0.3
STEPS = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50)
STRENGTHS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95, 1.0)
ALGORITHMS = (None, "dpmsolver", "sde-dpmsolver", "sde-dpmsolver++")


@dataclass(frozen=True, slots=True)
class End:
    """Where a walk ends, on average over noises."""

    distance: float
    """From the world's mean, where the init picture is one of that world: the square root of the mean square."""
    init: float
    """What the init picture weighs in it."""


def walked(table: SamplerTable, schedule: NoiseSchedule, deviation: float = DEVIATION) -> End:
    """The end of a walk of this table under the perfect model of a world N(1, deviation^2)."""
    ends = _weights(table, schedule, deviation)
    off = ends[MEAN] + ends[INIT] - 1
    spread = (ends[INIT] * deviation) ** 2 + float((ends[NOISES:] ** 2).sum())
    return End(float(np.sqrt(off**2 + spread)), float(ends[INIT]))


def _weights(table: SamplerTable, schedule: NoiseSchedule, deviation: float) -> Weights:
    units = np.eye(NOISES + 1 + table.evaluations)
    sample: Weights = table.start[0] * units[INIT] + table.start[1] * units[NOISES]
    rows, scales = table.coefficients.double().numpy(), table.input_scales.double().numpy()
    past: Weights = np.zeros((HISTORY, len(units)))
    for place, timestep in enumerate(table.timesteps.tolist()):
        output = _perfect(scales[place] * sample, units[MEAN], schedule, timestep, deviation)
        for first, seen in ((0, sample), (LOOK_BACK, output), (NOISE, units[NOISES + 1 + place])):
            last = min(first + LOOK_BACK, HISTORY)
            past[first + 1 : last] = past[first : last - 1].copy()
            past[first] = seen
        sample = np.asarray(rows[place] @ past, dtype=np.float64)
    return sample


def _perfect(sample: Weights, mean: Weights, schedule: NoiseSchedule, timestep: float, deviation: float) -> Weights:
    """The world's best answer to a preserving `sample`, at the level of a timestep, which need not be whole."""
    signal_2 = 1 / (1 + np.exp(2 * np.interp(timestep, np.arange(len(schedule.sigmas)), np.log(schedule.sigmas))))
    signal, noise = np.sqrt(signal_2), np.sqrt(1 - signal_2)
    epsilon = noise * (sample - signal * mean) / (signal_2 * deviation**2 + noise**2)
    clean = (sample - noise * epsilon) / signal
    answers = {"epsilon": epsilon, "v_prediction": signal * epsilon - noise * clean, "sample": clean}
    return np.asarray(answers[schedule.prediction])


def choices() -> Iterator[SamplerChoice]:
    """Every sampler that is a table, with and without Karras levels, under every algorithm that it has."""
    for name, karras in product(SAMPLER_NAMES, (True, False)):
        if name != "ScoreSdeVeScheduler":
            for algorithm in ALGORITHMS if name.startswith("DPMSolver") else (None,):
                if (name, algorithm) != ("DPMSolverSinglestepScheduler", "sde-dpmsolver"):
                    yield SamplerChoice(name, karras, algorithm)


def main() -> None:
    """The least and the largest distance of each choice, and where."""
    warnings.simplefilter("ignore")
    diffusers.logging.set_verbosity_error()
    base = DDIMScheduler.load_config(PROJECT / POCKET.source / "scheduler")
    tables, schedule = SamplerTables(capacity=10_000), read_schedule(base)
    print("| sampler | Karras | algorithm | least | at | largest | at |")
    print("|---|---|---|--:|---|--:|---|")
    for choice in choices():
        ends = {}
        for steps, strength in product(STEPS, STRENGTHS):
            table = tables.plan(choice, "", base, steps, strength).table
            assert table is not None
            ends[steps, strength] = walked(table, schedule).distance
        least, most = min(ends, key=ends.__getitem__), max(ends, key=ends.__getitem__)
        print(
            f"| {choice.name} | {choice.karras} | {choice.algorithm_type or ''} | {ends[least]:.3f} "
            f"| {least[0]} x {least[1]} | {ends[most]:.3f} | {most[0]} x {most[1]} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
