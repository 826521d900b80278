"""When a model's jobs will end, as the records tell it now: read and worked out at most every half second."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from serve_app.config import ModelEntry
from serve_app.records.document import read_job
from serve_app.records.jobs import JobRecord, JobRecords
from serve_app.records.rows import OPEN
from serve_app.records.waiting import Ran, Waiting, group_of
from serve_app.service.eta import FIRST_GUESS, LEAST_ETA_S, RECENT, Load, eta_s, etas, queue_position
from serve_app.service.pace import pace_of
from serve_app.service.rehearsal import Engine, Pace

KEPT_S = 0.5
SHARE = 0.1
"""Of one processor, at most, is spent on working it out."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a client is told of a job that has not ended."""

    eta_s: float = 0.0
    """Seconds until its end."""
    queue_position: int = 0


@dataclass(frozen=True, slots=True)
class _Outlook:
    """All unended jobs of a model at one moment."""

    at: float
    good_until: float
    waiting: Sequence[Waiting]
    pace: Pace
    ends: Mapping[int, float]


class Forecast:
    """Of one model. Methods raise RecordsUnavailable."""

    def __init__(self, records: JobRecords, entry: ModelEntry, clock: Callable[[], float] = time.time) -> None:
        self._records = records
        self._model_id = entry.id
        self._engine = Engine.of(entry)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._outlook: _Outlook | None = None  # under the lock

    async def estimate(self, record: JobRecord) -> Estimate:
        """Of one job of this model; all zero where it has ended."""
        if record.state not in OPEN:
            return Estimate()
        seen, own = await self._seen(), waiting_of(record)
        if record.id in seen.ends:
            left = seen.ends[record.id] - (self._clock() - seen.at)
        else:
            left = await asyncio.to_thread(eta_s, own, seen.waiting, seen.pace, self._engine)
        return Estimate(max(LEAST_ETA_S, left), queue_position(own, seen.waiting))

    async def load(self) -> Load:
        """Of all its jobs together."""
        seen = await self._seen()
        return Load(len(seen.waiting), round(max(seen.ends.values(), default=0.0)))

    async def _seen(self) -> _Outlook:
        async with self._lock:
            if self._outlook is None or self._clock() >= self._outlook.good_until:
                self._outlook = await self._look()
            return self._outlook

    async def _look(self) -> _Outlook:
        waiting = await self._records.unended(self._model_id)
        recent = await self._records.recent(self._model_id, RECENT) if waiting else ()
        at, began = self._clock(), time.monotonic()
        pace, ends = await asyncio.to_thread(self._rehearse, waiting, recent, at)
        kept_s = max(KEPT_S, (time.monotonic() - began) / SHARE)
        return _Outlook(at, at + kept_s, waiting, pace, ends)

    def _rehearse(
        self, waiting: Sequence[Waiting], recent: Sequence[Ran], now: float
    ) -> tuple[Pace, Mapping[int, float]]:
        pace = pace_of(recent, waiting, now) or FIRST_GUESS
        return pace, etas(waiting, pace, self._engine)


def waiting_of(record: JobRecord) -> Waiting:
    """A job as `eta` sees it."""
    job = read_job(record.job)
    return Waiting(
        id=record.id,
        cost=record.cost,
        done=record.done,
        total=record.total,
        created_at=record.created_at,
        state=record.state,
        started_at=record.started_at,
        samples=job.samples,
        group=group_of(job.width, job.height, job.token_merging),
    )
