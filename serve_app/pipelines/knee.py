"""How many UNet rows a call should have, measured when a replica starts, on the device that will make the calls.

A small call takes as long as its launches, a large one as long as its arithmetic. Between them lies the knee: up to it
company is nearly free, behind it more rows wait for each other and gain nothing. On a GPU of its own a replica measures
that well; on cores that others use too it is better set (`rows_per_call`), for a wrong one stays until the next start.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch

from serve_app.config import ModelEntry
from serve_app.engine.budget import GUIDED
from serve_app.errors import ConfigError
from serve_app.messages import Img2ImgJob
from serve_app.pipelines.latent import LatentPipeline
from serve_app.pipelines.rows import SHRINK, LatentRow

SLOWDOWN = 2.0
"""A full call takes at most so many times as long as a guided sample's own: what company costs a short job."""
LEAST_GAIN = 1.1
"""Twice the rows have to bring so many times the evaluations a second."""
WIDTHS = (GUIDED, 4, 8, 16, 32, 64)
REPEATS = 9
LONG_S = 1.0
"""A call that takes as long as this is nothing but arithmetic: it is not repeated, and no wider one is tried."""


def measured_rows(entry: ModelEntry, pipeline: LatentPipeline) -> int:
    """UNet rows of a call at the entry's `knee_pixels`. Nobody else may use the pipeline meanwhile.

    Raises `ConfigError` where there is no memory for a guided sample.
    """
    side = math.isqrt(entry.knee_pixels) // SHRINK * SHRINK
    try:
        return knee_of(call_seconds(pipeline, side))
    except torch.OutOfMemoryError as error:
        reason = f"no memory for a guided sample of {side} x {side} (`knee_pixels`)"
        raise ConfigError(f"model {entry.id!r}: {reason}") from error


def knee_of(seconds: Mapping[int, float]) -> int:
    """The knee in UNet rows, by the seconds of calls of some of WIDTHS, from the first on."""
    limit = SLOWDOWN * seconds[GUIDED]
    for few, many in pairwise(sorted(seconds)):
        if many / seconds[many] < LEAST_GAIN * few / seconds[few]:
            return few
        if seconds[many] > limit:
            share = (limit - seconds[few]) / (seconds[many] - seconds[few])
            return GUIDED * round((few + share * (many - few)) / GUIDED)
    return max(seconds)


def call_seconds(
    pipeline: LatentPipeline, side: int, clock: Callable[[], float] = time.perf_counter
) -> dict[int, float]:
    """Seconds of UNet calls by their rows, doubling until the knee is passed; side in pixels.

    Raises torch's OutOfMemoryError where there is no memory for the smallest.
    """
    (rows,) = pipeline.encode([pipeline.prepare(_plain_job(side))])
    seconds: dict[int, float] = {}
    for width in WIDTHS:
        try:
            seconds[width] = _call_seconds(pipeline, rows[: width // GUIDED], clock)
        except torch.OutOfMemoryError:
            if not seconds:
                raise
            break
        if knee_of(seconds) < width or seconds[width] >= LONG_S:
            break
    return seconds


def _call_seconds(pipeline: LatentPipeline, rows: Sequence[LatentRow], clock: Callable[[], float]) -> float:
    """The shortest of a few calls: whatever else the machine does only adds to it."""

    def call() -> float:
        start = clock()
        pipeline.denoise(rows)[0, 0, 0, 0].item()  # waits for the device
        return clock() - start

    first = call()  # compiles kernels, fills the allocator
    return first if first >= LONG_S else min(call() for _ in range(REPEATS))


def _plain_job(side: int) -> Img2ImgJob:
    return Img2ImgJob(
        id=0, model_id="", prompt="", negative_prompt="", init_image=np.zeros((side, side, 3), np.uint8),
        samples=max(WIDTHS) // GUIDED, steps=20, guidance_scale=7.5, strength=1.0, seed=0, token_merging=False,
    )  # fmt: skip
