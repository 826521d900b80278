"""What a model's past says of its pace: seconds a job, and seconds a unit of cost."""

import random
from collections.abc import Iterator, Sequence
from itertools import accumulate

import pytest

from serve_app.engine.state import GroupKey
from serve_app.records.waiting import Ran, Waiting
from serve_app.service.pace import ENDS, pace_of
from serve_app.service.rehearsal import Pace

JOB_S, COST_S = 0.06, 4e-5
BEFORE = -1000.0
"""When jobs were accepted that came in no rush."""


def waiting(id: int, done: int = 0, started_at: float | None = None) -> Waiting:
    state = "queued" if started_at is None else "running"
    return Waiting(id, 1000, done, 10, 0.0, state, started_at, 1, GroupKey(8, 8))


def crowd(costs: Sequence[int], begin: float = 0.0, slower: float = 1.0) -> Iterator[Ran]:
    """Eight jobs abreast, each behind the one before it by the seconds that it takes."""
    ends = [begin, *accumulate((slower * (JOB_S + COST_S * cost) for cost in costs), initial=begin)]
    for place, cost in enumerate(costs):
        yield Ran(cost, BEFORE, ends[max(0, place - 7)], ends[place + 2])


def seconds(pace: Pace | None, jobs: int, cost: float) -> float:
    assert pace is not None
    return pace.job_s * jobs + pace.cost_s * cost


def mixed(count: int) -> list[int]:
    rng = random.Random(1)
    return [rng.randint(10, 5000) for _ in range(count)]


def test_jobs_and_their_cost_are_told_apart_where_the_past_has_short_and_long_ones() -> None:
    pace = pace_of(list(crowd(sorted(mixed(100)))), [waiting(id) for id in range(8)], 100.0)
    assert pace is not None
    assert pace.job_s == pytest.approx(JOB_S, rel=0.25)
    assert pace.cost_s == pytest.approx(COST_S, rel=0.25)


def test_where_all_jobs_are_alike_such_jobs_are_told_right() -> None:
    pace = pace_of(list(crowd([1000] * 100)), [waiting(id) for id in range(8)], 100.0)
    assert seconds(pace, 50, 50_000) == pytest.approx(50 * (JOB_S + COST_S * 1000), rel=0.1)


def test_what_ran_at_once_counts_once() -> None:
    past = [Ran(100, BEFORE, 0, 10), Ran(100, BEFORE, 5, 15), Ran(100, BEFORE, 20, 25)]
    assert seconds(pace_of(past, (), 1000.0), 3, 300) == pytest.approx(20)


def test_a_long_jobs_work_is_spread_over_its_time() -> None:
    quick = [Ran(10, BEFORE, 1000 + start, 1001 + start) for start in range(63)]
    pace = pace_of([*quick, Ran(10_000, BEFORE, 0, 1063)], [waiting(1)] * 2, 1063.0)
    assert seconds(pace, 8, 8 * (10 + 10_000 / 1063)) == pytest.approx(8, rel=0.1)


def test_a_queue_goes_at_the_pace_of_a_crowd_and_a_lone_job_at_that_of_lone_ones() -> None:
    lone = [Ran(100, BEFORE, 2.0 * start, 2.0 * start + 1) for start in range(60)]
    past = [*lone, *crowd([100] * 40, begin=200.0)]
    assert seconds(pace_of(past, [waiting(1)], 300.0), 1, 100) == pytest.approx(1)
    queue = [waiting(id) for id in range(50)]
    assert seconds(pace_of(past, queue, 300.0), 50, 5000) == pytest.approx(50 * (JOB_S + COST_S * 100), rel=0.1)


def test_a_rush_of_new_jobs_says_little_of_the_time_after_it() -> None:
    calm, rushed = list(crowd([1000] * 32)), list(crowd([1000] * 32, begin=100.0, slower=4.0))
    queue = [Waiting(id, 1000, 0, 10, 100.0 + id / 20, "queued", None, 1, GroupKey(8, 8)) for id in range(200)]
    pace = pace_of([*calm, *rushed], queue, 120.0)
    assert seconds(pace, 50, 50_000) == pytest.approx(50 * (JOB_S + COST_S * 1000), rel=0.1)


def test_a_machine_that_was_slow_for_a_while_is_not_slow_for_ever() -> None:
    parts = [list(crowd([1000] * 4 * ENDS, begin=100.0 * part, slower=1 + part % 2)) for part in range(4)]
    pace = pace_of([ran for part in parts for ran in part], [waiting(id) for id in range(8)], 400.0)
    assert seconds(pace, 50, 50_000) < 1.5 * 50 * (JOB_S + COST_S * 1000)


def test_the_order_in_which_ended_jobs_are_told_does_not_matter() -> None:
    past = list(crowd(mixed(100)))
    assert pace_of(past, (), 200.0) == pace_of(past[::-1], (), 200.0)


def test_without_a_job_that_has_ended_the_progress_of_those_that_run_is_the_pace() -> None:
    assert pace_of((), [waiting(1, done=5, started_at=90.0)], 100.5) == Pace(0.0, 10 / 500, 5.0)
    assert pace_of((), [waiting(1)], 100.0) is None
    assert pace_of((), (), 100.0) is None
