"""Taking times of small pieces of work."""

import time
from collections.abc import Callable
from statistics import median

import torch


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """The median time of `work`, which is done once before to warm up."""
    work()
    return median(_seconds(work) for _ in range(repeats))


def _seconds(work: Callable[[], object]) -> float:
    wait_for_device()
    start = time.perf_counter()
    work()
    wait_for_device()
    return time.perf_counter() - start


def wait_for_device() -> None:
    """Let a GPU finish what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
