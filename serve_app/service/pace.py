"""How fast a model works, learned from the jobs that it ended. Pure: numbers in, numbers out.

A job takes some seconds whatever it asks for (texts, pictures in and out, the check, the store), and some for each unit
of its cost. Both are read off stretches of work in which about as many jobs ran abreast as will now.
The constants below were chosen on the records of ten runs of `bench.eta`, and on tests/unit/service/busy_engine.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import log

from serve_app.records.waiting import Ran, Waiting
from serve_app.service.rehearsal import Pace

ENDS = 8
"""Of jobs, in a stretch."""
STRETCHES = 16
"""So many are looked at, the latest that are alike."""
LEAST_S = 0.6
"""What is shorter tells more of chance than of speed."""
CALM_S = 1.0
"""Likewise, of all stretches without a rush."""
ALIKE = 4.0
"""Times as many jobs abreast, or as few."""
RUSH = 2.0
"""Times as many jobs accepted as ended: a rush, which takes a small machine away from the model. It will be over."""
PACE_QUANTILE = 0.2
"""Of all stretches this share may have been faster than the pace: what else a machine did makes many of them slow."""
BY_JOBS = 0.25
"""Of the time that goes by cost, the time that goes by jobs where nothing else is known."""
EVENLY = 0.015
"""What it costs to tell other than that, in misfits of a whole stretch: it decides where the stretches do not."""
PROGRESS_AGE_S = 0.5
"""How old the progress of a running job is when it is read: a tick of the engine, half a tick of its driver. Nothing
is learned from what came after."""
PARALLEL = 1e-9


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was done between two moments."""

    accepted: int
    """Jobs."""
    ended: int
    """Jobs."""
    made: float
    """Cost, each job's spread evenly over its time."""
    busy_s: float
    """Seconds in which any ran."""
    abreast: float
    """Jobs at once, on average, while any ran."""

    def over(self, job_s: float, cost_s: float) -> float:
        """What it took more than these say, as a share of its time."""
        return 1 - (job_s * self.ended + cost_s * self.made) / self.busy_s


@dataclass(frozen=True, slots=True)
class _Past:
    """Jobs of one model, and what is known of them."""

    work: Sequence[Ran]
    """In the order of their starts: those that ended, and as much of the running ones as is done."""
    came: Sequence[float]
    """When jobs were accepted."""
    ended: Sequence[float]
    """When jobs ended, in order."""
    seen: float
    """Until when."""

    def moments(self) -> list[float]:
        """Where one stretch ends and the next begins: every ENDS ends, but the first and the last may have fewer."""
        begin = min((ran.started_at for ran in self.work), default=self.seen)
        moments = [begin, *self.ended[(len(self.ended) - 1) % ENDS :: ENDS]]
        return [*moments, self.seen] if self.seen - moments[-1] >= LEAST_S else moments

    def stretch(self, start: float, end: float) -> Stretch:
        """Between two moments."""
        made = busy_s = run_s = 0.0
        reached = start
        for ran in self.work:
            first, last = max(ran.started_at, start), min(ran.ended_at, end)
            if last > first:
                run_s += last - first
                made += ran.cost * (last - first) / (ran.ended_at - ran.started_at)
                busy_s += max(0.0, last - max(first, reached))
                reached = max(reached, last)
        accepted, ended = (sum(start < moment <= end for moment in kind) for kind in (self.came, self.ended))
        return Stretch(accepted, ended, made, busy_s, run_s / busy_s if busy_s else 0.0)


def pace_of(recent: Sequence[Ran], waiting: Sequence[Waiting], now: float) -> Pace | None:
    """Learned from jobs that ended, in any order, and from the progress of those that run; None where there is neither.

    `waiting` are all jobs of one model that have not ended. Takes a few milliseconds for 256 ended jobs.
    """
    past = _past(recent, waiting, now - PROGRESS_AGE_S)
    stretches = [past.stretch(start, end) for start, end in pairwise(past.moments())]
    stretches = [one for one in stretches if one.busy_s > 0 and one.made > 0]
    if not stretches:
        return None
    job_s, cost_s = _fitted(_calm(_alike(stretches, len(waiting)))[-STRETCHES:])
    return Pace(job_s, cost_s, _lately(past, waiting))


def _past(recent: Sequence[Ran], waiting: Sequence[Waiting], seen: float) -> _Past:
    begun = [
        Ran(round(job.finished), job.created_at, job.started_at, max(seen, job.started_at))
        for job in waiting
        if job.is_running and job.started_at is not None and job.done
    ]
    return _Past(
        work=sorted([*recent, *begun], key=lambda ran: ran.started_at),
        came=[*(job.created_at for job in recent), *(job.created_at for job in waiting)],
        ended=sorted(ran.ended_at for ran in recent if ran.ended_at <= seen),
        seen=seen,
    )


def _calm(stretches: Sequence[Stretch]) -> Sequence[Stretch]:
    """Those without a rush, where they are long enough to tell."""
    calm = [one for one in stretches if one.accepted <= RUSH * one.ended]
    return calm if sum(one.busy_s for one in calm) >= CALM_S else stretches


def _alike(stretches: Sequence[Stretch], abreast: int) -> Sequence[Stretch]:
    """Those with about as many jobs at once as will be; a model takes no more of a crowd than it can."""
    most = min((one.abreast for one in stretches), key=lambda one: abs(log(one / max(1, abreast))))
    return [one for one in stretches if most / ALIKE <= one.abreast <= most * ALIKE]


def _fitted(stretches: Sequence[Stretch]) -> tuple[float, float]:
    """Seconds a job and seconds a unit of cost, neither below 0: a regression to a quantile (Koenker and Bassett 1978).

    Its best line goes through two of the points, or through one where something else is given: here that one of the
    two is 0, or that they take time as BY_JOBS says.
    """
    jobs, cost = sum(one.ended for one in stretches), sum(one.made for one in stretches)
    busy_s = sum(one.busy_s for one in stretches)

    def loss(line: tuple[float, float]) -> float:
        over = (one.over(*line) for one in stretches)
        uneven = abs(line[0] * jobs - BY_JOBS * line[1] * cost) / busy_s
        return sum(max(PACE_QUANTILE * rest, (PACE_QUANTILE - 1) * rest) for rest in over) + EVENLY * uneven

    return min(_lines(stretches, BY_JOBS * cost / jobs if jobs else 0.0), key=loss)


def _lines(stretches: Sequence[Stretch], usual: float) -> Iterator[tuple[float, float]]:
    """`usual` is how much of the other each second counts for: the seconds of a job are so many of its cost's units."""
    for one in stretches:
        both = one.busy_s / (one.ended * usual + one.made)
        yield both * usual, both
        yield 0.0, one.busy_s / one.made
        if one.ended:
            yield one.busy_s / one.ended, 0.0
    for one, other in combinations(stretches, 2):
        if abs(cross := one.ended * other.made - other.ended * one.made) > PARALLEL:
            job_s = (one.busy_s * other.made - other.busy_s * one.made) / cross
            cost_s = (one.ended * other.busy_s - other.ended * one.busy_s) / cross
            if job_s >= 0 and cost_s >= 0:
                yield job_s, cost_s


def _lately(past: _Past, waiting: Sequence[Waiting]) -> float:
    """Cost per second since the oldest job that waits was accepted."""
    since = min((job.created_at for job in waiting), default=past.seen)
    return past.stretch(since, past.seen).made / (past.seen - since) if past.seen > since else 0.0
