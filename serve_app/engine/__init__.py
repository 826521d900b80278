"""The step engine: any mix of jobs on one model, one UNet call a tick."""

from typing import Any

from serve_app.config import ModelEntry
from serve_app.engine.budget import LATENT_PIXEL, CallBudget
from serve_app.engine.loop import StepLoop
from serve_app.engine.planner import Planner
from serve_app.engine.protocol import Pipeline


def build_engine(
    entry: ModelEntry, pipeline: Pipeline[Any, Any, Any], rows_per_call: int, flight_bytes: int
) -> StepLoop:
    """An engine, not started, for a catalogue entry: UNet rows of a call at its `knee_pixels`, bytes of all rows."""
    planner = Planner(CallBudget(rows_per_call, entry.knee_pixels // LATENT_PIXEL).of, flight_bytes)
    return StepLoop(pipeline, planner, entry.max_jobs)
