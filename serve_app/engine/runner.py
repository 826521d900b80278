"""Does what a plan says: gathers its rows, makes the UNet call, scatters the results, reports.

Keeps the rows in flight and nothing else. An error concerns the rows of the plan it came from,
and never the loop.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

from serve_app.engine.attempts import as_ours, attempt
from serve_app.engine.protocol import D, Pipeline, R, Row
from serve_app.engine.state import Advance, Failure, StepPlan, StepReport
from serve_app.errors import DarkroomError
from serve_app.messages import Pixels

OUT_OF_MEMORY = "OutOfMemoryError"
"""The name of torch's exception on any device: this layer does not import torch."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row comes from: its job in the engine's count, the job's draft, and which sample it is."""

    job: int
    draft: Any
    sample: int


@dataclass(frozen=True, slots=True)
class Tick:
    """What came of a plan: the report for the planner, and by row id what the planner has no use for."""

    report: StepReport
    reasons: Mapping[int, DarkroomError] = field(default_factory=dict)
    """Why rows failed, or would fail if no second try helped."""
    pixels: Mapping[int, Pixels] = field(default_factory=dict)
    """Pictures (height, width, 3) of the rows that have ended."""


class Runner(Generic[D, R]):
    """Rows in flight on one pipeline. Used from the step thread only."""

    def __init__(self, pipeline: Pipeline[D, R, Any]) -> None:
        self._pipeline = pipeline
        self._places: dict[int, Place] = {}
        self._rows: dict[int, R] = {}

    def hold(self, row: int, place: Place) -> None:
        """Remember a row that is queued; it is encoded when a plan first names it."""
        self._places[row] = place

    def drop(self, rows: Iterable[int]) -> None:
        """Forget rows, whatever they are doing."""
        for row in rows:
            self._places.pop(row, None)
            self._rows.pop(row, None)

    def __len__(self) -> int:
        return len(self._places)

    def row(self, row: int) -> R | None:
        """A row in flight, for a preview."""
        return self._rows.get(row)

    def run(self, plan: StepPlan) -> Tick:
        """One tick: encode what is new, one UNet call, one step, decode what has ended."""
        refused = self._encode(plan.rows)
        ids = [row for row in plan.rows if row not in refused]
        rows = [self._rows[row] for row in ids]
        output, error = attempt(lambda: self._pipeline.denoise(rows) if rows else None)
        if error is not None:
            report = StepReport(plan, failed=tuple(refused), broken=_kind(error))
            return Tick(report, {**refused, **dict.fromkeys(ids, as_ours(error))})
        _, error = attempt(lambda: self._pipeline.advance(rows, output) if rows else None)
        if error is not None:  # a sampler that has moved cannot be moved again
            return Tick(StepReport(plan, failed=plan.rows), {**refused, **dict.fromkeys(ids, as_ours(error))})
        return self._ended(plan, ids, refused)

    def _ended(self, plan: StepPlan, ids: Sequence[int], refused: dict[int, DarkroomError]) -> Tick:
        done = [row for row in ids if self._rows[row].remaining == 0]
        pixels, lost = self._decode(done) if done else ({}, {})
        moved = [_advance(row, self._rows[row]) for row in ids if row not in done]
        moved += [Advance(row, 0, 1) for row in pixels]
        report = StepReport(plan, tuple(moved), failed=(*refused, *lost))
        self.drop(pixels)
        return Tick(report, {**refused, **lost}, pixels)

    def _decode(self, rows: Sequence[int]) -> tuple[dict[int, Pixels], dict[int, DarkroomError]]:
        """The rows' pictures, all in one micro-batch; where that breaks, each alone, and why some have none."""
        pictures, error = attempt(lambda: self._pipeline.decode([self._rows[row] for row in rows]))
        if error is None:
            return dict(zip(rows, pictures, strict=True)), {}
        if len(rows) == 1:
            return {}, {rows[0]: as_ours(error)}
        alone = [self._decode([row]) for row in rows]
        return (
            {row: picture for pictures, _ in alone for row, picture in pictures.items()},
            {row: reason for _, reasons in alone for row, reason in reasons.items()},
        )

    def _encode(self, rows: Sequence[int]) -> dict[int, DarkroomError]:
        """Bring the rows' jobs into flight, all in one micro-batch; where that breaks, each job alone."""
        jobs = {self._places[row].job: self._places[row].draft for row in rows if row not in self._rows}
        if not jobs or self._admit(jobs) is None:
            return {}
        reasons = {job: self._admit({job: draft}) for job, draft in jobs.items()}
        return {row: reason for row in rows if (reason := reasons.get(self._places[row].job)) is not None}

    def _admit(self, jobs: Mapping[int, D]) -> DarkroomError | None:
        made, error = attempt(lambda: self._pipeline.encode(list(jobs.values())))
        if error is not None:
            return as_ours(error)
        samples = dict(zip(jobs, made, strict=True))
        for row, place in self._places.items():
            if place.job in samples:
                self._rows[row] = samples[place.job][place.sample]
        return None


def _advance(id: int, row: Row) -> Advance:
    return Advance(id, row.remaining, row.width, row.held)


def _kind(error: Exception) -> Failure:
    return Failure.MEMORY if type(error).__name__ == OUT_OF_MEMORY else Failure.ERROR
