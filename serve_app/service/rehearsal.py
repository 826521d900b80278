"""When the jobs of one model will end: the engine's order played through in numbers.

Knows what `engine.planner` decides and how fast the model works, and nothing else. Between two ends of rows the
planner's calls repeat themselves, so a queue costs one step of this for each row and not one for each call.
"""

import sys
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from serve_app.config import ModelEntry
from serve_app.engine.budget import LATENT_PIXEL, CallBudget
from serve_app.engine.planner import PATIENCE
from serve_app.engine.state import GroupKey
from serve_app.records.waiting import Waiting

HELD_BY_TEXTS = 2 * 77 * 768 * 2
"""Bytes of a prompt and its negative one, as Stable Diffusion's UNet reads them."""
HELD_BY_PIXEL = 8 * 4 * 4
"""Bytes for each latent pixel: four channels in float32, of eight tensors."""
GUESSED_ROWS = 16
"""UNet rows of a call where replicas measure them: only they know. It shapes the order of ends, not the pace."""
NOTHING_LEFT = 1e-9
"""Evaluations; below are rounding errors."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a model works while it has enough to do."""

    job_s: float
    """Seconds that each job takes, whatever it costs."""
    cost_s: float
    """Seconds for each unit of cost, of all replicas together."""
    lately: float
    """Cost per second since the oldest job that waits was accepted: by it the planner's clock has moved."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What decides how many rows of a model run at once, as its catalogue entry says it."""

    rows_per_call: int
    knee: int
    """Latent pixels of a UNet row that `rows_per_call` is meant for."""
    flight_bytes: int | None
    """None: the replica's own business, and mostly more than ever runs at once."""
    replicas: int = 1

    @classmethod
    def of(cls, entry: ModelEntry) -> Self:
        """The engine of a catalogue entry."""
        rows = entry.rows_per_call or GUESSED_ROWS
        return cls(rows, entry.knee_pixels // LATENT_PIXEL, entry.flight_bytes, entry.num_replicas)

    def budget(self, group: GroupKey) -> int:
        """UNet rows that the calls of a group may have now, on all replicas together."""
        return self.replicas * CallBudget(self.rows_per_call, self.knee).of(group)

    @property
    def room(self) -> int:
        """Bytes that may be in flight."""
        return sys.maxsize if self.flight_bytes is None else self.replicas * self.flight_bytes

    def held(self, group: GroupKey) -> int:
        """Bytes of a sample in flight, about: only replicas know them."""
        return HELD_BY_TEXTS + HELD_BY_PIXEL * group.pixels

    def clock_speed(self, groups: Iterable[GroupKey], rate: float) -> float:
        """Latent pixels a second by which each replica's planner ages its rows at `rate` cost per second in all, while
        all these groups have some: in a turn of one latent pixel each, every group spends its budget."""
        budgets = [self.budget(group) for group in groups]
        return rate * len(budgets) / sum(budgets)


@dataclass(slots=True)
class _Row:
    """One sample. `evaluations` is written at every step, the rest never."""

    rank: float
    created_at: float
    job: int
    group: GroupKey
    width: float
    evaluations: float


class Rehearsal:
    """One future of a queue, in which nobody comes and nobody is cancelled."""

    def __init__(self, waiting: Sequence[Waiting], engine: Engine, pace: Pace) -> None:
        self._engine = engine
        self._cost_s = pace.cost_s
        self._clock = 0.0
        self._room = engine.room
        self._ready: dict[GroupKey, list[_Row]] = {job.group: [] for job in waiting}
        """Rows that may run, in the planner's order."""
        self._left = Counter({job.id: job.samples for job in waiting})
        self._own_s = {job.id: pace.job_s * job.share_to_come for job in waiting}
        speed = engine.clock_speed(self._ready, pace.lately) if waiting else 0.0
        for job in (job for job in waiting if job.is_running):
            for row in _rows(job, speed):
                self._admit(row)
        queued = [row for job in waiting if not job.is_running for row in _rows(job, speed)]
        self._queued = sorted(queued, key=_order, reverse=True)
        """Those that wait for room; the next one is last."""

    def ends(self, until: int | None = None) -> dict[int, float]:
        """Seconds from now to the end of every job by id, or no further than to that of `until`. Used once."""
        ends: dict[int, float] = {}
        while until not in ends and (self._fill() or any(self._ready.values())):
            for job in self._step():
                self._clock += self._own_s[job]
                ends[job] = self._clock
        return ends

    def _fill(self) -> bool:
        """Let rows join in order while there is room; one may always run. Whether any joined."""
        before = len(self._queued)
        while self._queued and (
            self._room >= self._engine.held(self._queued[-1].group) or not any(self._ready.values())
        ):
            self._admit(self._queued.pop())
        return len(self._queued) < before

    def _admit(self, row: _Row) -> None:
        insort(self._ready[row.group], row, key=_order)
        self._room -= self._engine.held(row.group)

    def _step(self) -> list[int]:
        """All calls until the next row ends; gives the jobs that have ended with it.

        Groups pay for their calls in latent pixels and take turns evenly, so the calls that one makes while each
        pays `turn` are `turn / pixels`, and what they cost is `turn` times their rows.
        """
        calls = [self._call(group, rows) for group, rows in self._ready.items() if rows]
        turn = min(row.evaluations * row.group.pixels for call in calls for row in call)
        self._clock += turn * sum(row.width for call in calls for row in call) * self._cost_s
        return [job for call in calls for row in call for job in self._advance(row, turn)]

    def _call(self, group: GroupKey, rows: list[_Row]) -> list[_Row]:
        """As `Planner` fits rows into a call: the first, and of those behind it all that there is place for."""
        budget, picked, width = self._engine.budget(group), rows[:1], rows[0].width
        for row in rows[1:]:
            if width >= budget:
                break
            if width + row.width <= budget:
                picked.append(row)
                width += row.width
        return picked

    def _advance(self, row: _Row, turn: float) -> list[int]:
        """Move a row on; gives its job where that was the last of it."""
        row.evaluations -= turn / row.group.pixels
        if row.evaluations > NOTHING_LEFT:
            return []
        self._ready[row.group].remove(row)
        self._room += self._engine.held(row.group)
        self._left[row.job] -= 1
        return [] if self._left[row.job] else [row.job]


def _rows(job: Waiting, clock_speed: float) -> list[_Row]:
    rank = PATIENCE * job.remaining / job.samples + clock_speed * job.created_at
    made = (rank, job.created_at, job.id, job.group, job.row_width, job.evaluations)
    return [_Row(*made) for _ in range(job.samples)]


def _order(row: _Row) -> tuple[float, float, int]:
    return row.rank, row.created_at, row.job
