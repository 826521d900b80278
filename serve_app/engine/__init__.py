"""The step engine: any mix of jobs on one model, one UNet call a tick."""

from typing import Any

from serve_app.config import ModelEntry
from serve_app.engine.loop import StepLoop
from serve_app.engine.planner import Planner
from serve_app.engine.protocol import Pipeline
from serve_app.engine.state import GroupKey

LATENT_PIXEL = 64
"""Pixels of a picture for each latent pixel."""


def build_engine(entry: ModelEntry, pipeline: Pipeline[Any, Any, Any]) -> StepLoop:
    """An engine, not started, with the budgets of a catalogue entry."""
    knee = entry.knee_pixels // LATENT_PIXEL

    def budget(group: GroupKey) -> int:
        return max(1, entry.rows_per_call * knee // group.pixels)

    return StepLoop(pipeline, Planner(budget, entry.rows_in_flight * knee), entry.max_jobs)
