"""`python -m bench.engine`: the step engine against other ways to serve the same model.

Prints tables, then one JSON object on the last line; draws a plot. `--quick` ends within a minute.
"""

import argparse
import json
import logging
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import diffusers
import torch
import transformers

from bench import by_rows, micro, plot
from bench.figures import Figures, peers_table, table
from bench.models import Rig, make_rig
from bench.rounds import FULL, QUICK, Plan, Series
from serve_app.pipelines.knee import WIDTHS, knee_of

WORKLOADS = ("agreement", "knee", "samplers", "lora", "mixed", "same", "poisson", "by_rows")
SIDES = {"pocket": 128, "sd15": 512}
QUICK_SIDE = 64
"""Of pocket pictures in a quick run."""
PACKAGES = ("torch", "diffusers", "transformers", "peft", "ray", "darkroom")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, draw."""
    options = _options(arguments)
    _quiet()
    say = _sayer()
    with tempfile.TemporaryDirectory() as folder:
        threads = options.threads or os.cpu_count() or 1
        side = options.side or _side(options)
        rig = make_rig(options.shape, options.device, side, threads, options.rows_per_call, Path(folder))
        plan = _plan(options)
        figures = {**_setting(rig, plan, options.shape), **measure(rig, plan, options.only or WORKLOADS, say)}
    _report(figures, options)


def measure(rig: Rig, plan: Plan, wanted: Sequence[str], say: Callable[[str], None]) -> Figures:
    """All the figures that are wanted."""
    series = Series(rig, plan, say)
    say("loaded")
    repeats = 2 if plan.rounds == 1 else 9
    knee = micro.knee(series.pipeline, series.plain, rig.side, repeats)
    say("knee: measured")
    parts: dict[str, Callable[[], Figures]] = {
        "agreement": series.agreement,
        "knee": lambda: _knee_figures(knee),
        "samplers": lambda: {**micro.samplers(series.pipeline, series.plain, rig.side, repeats)},
        "lora": lambda: {**micro.lora(series.pipeline, rig.side, repeats)},
        "mixed": series.mixed,
        "same": series.same,
        "poisson": series.poisson,
    }
    if rig.entry.device == "cuda":
        parts["by_rows"] = lambda: by_rows.measure(rig, series.pipeline, series.plain, knee.flops_per_row)
    figures: Figures = {"unet_rows_per_call": series.budget}
    for name in wanted:
        if name in parts:
            figures |= parts[name]()
            say(f"{name}: done")
    return figures


def _knee_figures(knee: micro.Knee) -> Figures:
    return {
        "knee.rows_per_call": knee_of({rows: each for rows, each in knee.seconds.items() if rows in WIDTHS}),
        "knee.best_rows": knee.best_rows,
        "knee.unet_gflop_per_row": knee.flops_per_row / 1e9,
        **{f"knee.ms_of_{rows}_rows": 1000 * seconds for rows, seconds in knee.seconds.items()},
        **{f"knee.slowdown_of_{rows}_rows": knee.slowdown(rows) for rows in knee.seconds},
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: shows that all works, proves little")
    parser.add_argument("--rounds", type=int, help="default 5; figures are medians over them")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shape", choices=tuple(SIDES), default="pocket", help="sd15 has random weights")
    parser.add_argument("--side", type=int, help="pixels; default 512 for sd15, 128 for pocket, quick 64")
    parser.add_argument("--threads", type=int, help="of torch, for everybody; default: all cores")
    parser.add_argument("--rows-per-call", type=int, help="UNet rows of our calls at --side; default: as served")
    parser.add_argument("--workers", type=int, help="threads of the peer `threads`; default 2")
    parser.add_argument("--largest-batch", type=int, help="requests in one call of the peers that batch; default 16")
    parser.add_argument("--only", action="append", choices=WORKLOADS, help="may be given several times")
    parser.add_argument("--json", type=Path, help="write the JSON object here too")
    parser.add_argument("--plot", type=Path, help="write a PNG here, e.g. docs/bench-engine.png")
    return parser.parse_args(arguments)


def _plan(options: argparse.Namespace) -> Plan:
    plan = QUICK if options.quick else FULL
    given = {"rounds": options.rounds, "workers": options.workers, "largest_batch": options.largest_batch}
    return replace(plan, **{name: value for name, value in given.items() if value is not None})


def _side(options: argparse.Namespace) -> int:
    return QUICK_SIDE if options.quick and options.shape == "pocket" else SIDES[options.shape]


def _setting(rig: Rig, plan: Plan, shape: str) -> Figures:
    entry = rig.entry
    device = torch.cuda.get_device_name() if entry.device == "cuda" else platform.processor() or platform.machine()
    return {
        "setting": {
            "shape": shape, "side": rig.side, "device": device, "dtype": entry.dtype, "cores": os.cpu_count(),
            "torch_threads": entry.torch_threads, "rounds": plan.rounds, "jobs": plan.jobs, "clients": plan.clients,
            "open_jobs": plan.open_jobs, "largest_batch": plan.largest_batch,
            "threads_workers": plan.workers,
            "python": platform.python_version(), "versions": {name: version(name) for name in PACKAGES},
            "seeds": "parameters 0, order [1, round], arrivals [2, round], pictures [3, round, job]",
        }
    }  # fmt: skip


def _report(figures: Figures, options: argparse.Namespace) -> None:
    text = json.dumps(figures)
    for name in ("mixed", "same", "poisson"):
        if isinstance(raw := figures.get(f"{name}.raw"), dict):
            print(peers_table(name, raw["peers"]), end="\n\n")
    print(table(figures), end="\n\n")
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")
    if options.plot is not None:
        plot.draw(figures, options.plot)


def _sayer() -> Callable[[str], None]:
    start = time.monotonic()
    return lambda text: print(f"[{time.monotonic() - start:6.1f} s] {text}", file=sys.stderr, flush=True)


def _quiet() -> None:
    """Libraries' advice would bury the tables."""
    warnings.filterwarnings("ignore")
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    logging.getLogger("ray.serve").setLevel(logging.ERROR)


if __name__ == "__main__":
    main()
