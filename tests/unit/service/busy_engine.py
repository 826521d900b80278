"""A model at work under the real planner, on a clock that only counts: what the records would have said at any time."""

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from serve_app.engine.planner import Planner
from serve_app.engine.state import Advance, GroupKey, StepPlan, StepReport, Ticket
from serve_app.records.waiting import Ran, Waiting
from serve_app.service.eta import RECENT
from serve_app.service.rehearsal import Engine

PROGRESS_AGE_S = 0.5
"""Progress is read so late; starts too, but not ends."""
STORING_S = 0.25
"""From the last evaluation to a job's end."""


@dataclass(eq=False, slots=True)
class Asked:
    """A job, and what becomes of it; the second part is written by `Day`."""

    id: int
    at: float
    samples: int
    width: int
    evaluations: int
    group: GroupKey
    started_at: float | None = None
    ended_at: float = 0.0
    left: int = 0
    seen: list[tuple[float, int]] = field(default_factory=list)
    """Moments with the evaluations made until then."""

    @property
    def cost(self) -> int:
        return self.samples * self.width * self.evaluations * self.group.pixels

    @property
    def total(self) -> int:
        return self.samples * self.evaluations

    def told(self, now: float) -> Waiting:
        """As its row in the records reads."""
        known = now - PROGRESS_AGE_S
        started = self.started_at if self.started_at is not None and self.started_at <= known else None
        place = bisect_right(self.seen, known, key=lambda moment: moment[0])
        done = self.seen[place - 1][1] if place else 0
        state = "queued" if started is None else "running"
        return Waiting(self.id, self.cost, done, self.total, self.at, state, started, self.samples, self.group)


@dataclass(frozen=True, slots=True)
class Device:
    """How long a call takes: `overhead_s`, and `pixel_s` for each latent pixel of each UNet row."""

    overhead_s: float
    pixel_s: float
    job_s: float = 0.0
    """Of the same time goes to each job besides: pictures in and out, the check, storing."""

    def seconds(self, plan: StepPlan) -> float:
        return self.overhead_s + self.pixel_s * plan.width * plan.group.pixels


class Day:
    """Jobs from the first to the last, done."""

    def __init__(self, jobs: Sequence[Asked], engine: Engine, device: Device) -> None:
        self.jobs = sorted(jobs, key=lambda job: job.at)
        self._planner = Planner(engine.budget, engine.room)
        self._held = engine.held
        self._device = device
        self._rows: dict[int, tuple[Asked, int]] = {}
        self._now = 0.0
        self._coming = list(reversed(self.jobs))
        while self._tick():
            pass

    def records(self, now: float) -> tuple[list[Waiting], list[Ran]]:
        """The jobs that have not ended, and those accepted last that have."""
        waiting = [job.told(now) for job in self.jobs if job.at <= now < job.ended_at]
        ended = sorted((job for job in self.jobs if job.ended_at <= now), key=lambda job: -job.at)
        return waiting, [Ran(job.cost, job.at, job.started_at or 0.0, job.ended_at) for job in ended[:RECENT]]

    def _tick(self) -> bool:
        while self._coming and self._coming[-1].at <= self._now:
            self._accept(self._coming.pop())
        plan = self._planner.plan()
        if plan is None:
            self._now = self._coming[-1].at if self._coming else self._now
            return bool(self._coming)
        for job in self._of(plan):
            job.started_at = self._now if job.started_at is None else job.started_at
        self._now += self._device.seconds(plan)
        self._planner.update(StepReport(plan, tuple(self._advances(plan))))
        for job in self._of(plan):
            job.seen.append((self._now, job.total - job.left))
            self._now += 0.0 if job.left else self._device.job_s
            job.ended_at = self._now + STORING_S
        return True

    def _accept(self, job: Asked) -> None:
        job.left = job.total
        for _ in range(job.samples):
            row = len(self._rows)
            self._rows[row] = job, job.evaluations
            self._planner.add(Ticket(row, job.id, job.group, job.width, job.evaluations, self._held(job.group)))

    def _advances(self, plan: StepPlan) -> Iterator[Advance]:
        for row in plan.rows:
            job, left = self._rows[row]
            self._rows[row] = job, left - 1
            job.left -= 1
            yield Advance(row, left - 1, job.width)

    def _of(self, plan: StepPlan) -> Iterable[Asked]:
        """Its jobs, in the plan's order: a set's would be another in every process."""
        return dict.fromkeys(self._rows[row][0] for row in plan.rows)


ONE_SIZE = {GroupKey(8, 8): 1.0}
SIZES = {GroupKey(8, 8): 0.6, GroupKey(8, 8, merged=True): 0.15, GroupKey(12, 12): 0.1, GroupKey(16, 16): 0.15}


def mixed_jobs(
    rng: random.Random, count: int, at: Callable[[int], float], sizes: dict[GroupKey, float], samples: Sequence[int]
) -> list[Asked]:
    """Jobs whose cost varies 20 times and more, one in five without guidance."""
    return [
        Asked(
            id=number,
            at=at(number),
            samples=rng.choice(samples),
            width=rng.choice((1, 2, 2, 2, 2)),
            evaluations=rng.randint(2, 20),
            group=rng.choices(list(sizes), list(sizes.values()))[0],
        )
        for number in range(count)
    ]


def quiet_morning(jobs: Sequence[Asked], count: int) -> list[Asked]:
    """Lone jobs, one every half second, before the others come."""
    return [
        replace(jobs[number], id=-1 - number, at=0.5 * number, samples=1, evaluations=10, seen=[])
        for number in range(count)
    ]
