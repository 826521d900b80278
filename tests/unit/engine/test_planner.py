"""The planner's policy, one sentence a test, and a day at the counter in integer time beside request-level batching."""

import random
from collections.abc import Sequence

import pytest

from serve_app.engine.planner import RECOVERY, Planner
from serve_app.engine.state import Advance, Failure, GroupKey, StepPlan, StepReport, Ticket

SMALL, LARGE, MERGED = GroupKey(8, 8), GroupKey(16, 16), GroupKey(8, 8, merged=True)
ROOM = 100 * LARGE.pixels


class Counter:
    """A planner and a runner that only counts; rows keep their width."""

    def __init__(self, budget: int = 8, flight: int = ROOM, patience: int = 4) -> None:
        self.planner = Planner(lambda _: budget, flight, patience)
        self.left: dict[int, int] = {}
        self._widths: dict[int, int] = {}

    def add(self, row: int, evaluations: int, group: GroupKey = SMALL, width: int = 2, job: int | None = None) -> None:
        self.planner.add(Ticket(row, row if job is None else job, group, width, evaluations, group.pixels))
        self.left[row], self._widths[row] = evaluations, width

    def add_rows(self, count: int, evaluations: int) -> None:
        for row in range(count):
            self.add(row, evaluations)

    def plan(self) -> StepPlan:
        plan = self.planner.plan()
        assert plan is not None
        return plan

    def ran(self, plan: StepPlan) -> StepReport:
        for row in plan.rows:
            self.left[row] -= 1
        return StepReport(plan, tuple(Advance(row, self.left[row], self._widths[row]) for row in plan.rows))

    def tick(self) -> StepPlan:
        plan = self.plan()
        assert self.planner.update(self.ran(plan)) == ()
        return plan

    def breaks(self, failure: Failure = Failure.ERROR) -> tuple[int, ...]:
        return self.planner.update(StepReport(self.plan(), broken=failure))


def test_rows_join_and_leave_at_every_call_until_there_is_nothing_to_plan() -> None:
    counter = Counter()
    counter.add(1, 2)
    assert counter.tick().rows == (1,)
    counter.add(2, 2)
    assert [counter.tick().rows for _ in range(2)] == [(1, 2), (2,)]
    assert counter.planner.plan() is None


def test_a_call_holds_rows_of_one_size_and_one_switch() -> None:
    counter = Counter()
    for row, group in enumerate((SMALL, LARGE, MERGED, SMALL)):
        counter.add(row, 1, group)
    assert {counter.tick().rows for _ in range(3)} == {(0, 3), (1,), (2,)}


def test_rows_without_guidance_take_half_the_place() -> None:
    counter = Counter(budget=4)
    for row, width in enumerate((1, 2, 1, 2)):
        counter.add(row, 4 // width, width=width)
    plan = counter.plan()
    assert (plan.rows, plan.width) == ((0, 1, 2), 4)


def test_a_row_that_gains_guidance_takes_its_twins_place_at_the_next_call() -> None:
    counter = Counter(budget=3)
    counter.add(1, 3, width=1)
    counter.add(2, 3, width=2)
    plan = counter.plan()
    assert plan.rows == (1, 2)
    counter.planner.update(StepReport(plan, (Advance(1, 2, 2), Advance(2, 2, 2))))
    assert counter.plan().width == 2


def test_a_row_wider_than_the_budget_runs_alone() -> None:
    counter = Counter(budget=1)
    counter.add_rows(2, 1)
    assert [counter.tick().rows for _ in range(2)] == [(0,), (1,)]


def test_the_shortest_work_to_come_goes_first() -> None:
    counter = Counter(budget=2)
    counter.add(1, 50)
    counter.tick()
    counter.add(2, 3)
    assert [counter.tick().rows for _ in range(4)] == [(2,), (2,), (2,), (1,)]


def test_a_long_row_lets_shorter_ones_pass_for_its_patience_and_then_no_more() -> None:
    counter, calls = Counter(budget=2, patience=4), 0
    counter.add(0, 10)
    while counter.left[0] and calls < 200:
        calls += 1
        counter.add(calls, 1)
        counter.tick()
    assert calls == 4 * (10 * 2 - 1 * 2) + 10  # patience × the difference in cost, then its own ten


def test_without_patience_the_first_come_is_the_first_served() -> None:
    counter = Counter(budget=2, patience=0)
    counter.add(1, 2)
    counter.tick()
    counter.add(2, 1)
    assert [counter.tick().rows for _ in range(2)] == [(1,), (2,)]


def test_sizes_take_turns_in_pixels_however_many_rows_each_has() -> None:
    counter = Counter(budget=4)
    counter.add_rows(40, 5)
    counter.add(99, 50, LARGE)
    calls = [counter.tick().group for _ in range(60)]
    assert [calls[start : start + 25].count(LARGE) for start in (10, 35)] == [5, 5]


def test_a_size_that_comes_goes_before_calls_that_are_much_larger_than_its_own() -> None:
    counter = Counter()
    counter.add(1, 50, LARGE)
    for _ in range(3):
        counter.tick()
    counter.add(2, 5)
    assert [counter.tick().group for _ in range(6)] == [SMALL] * 5 + [LARGE]


def cost_of(plan: StepPlan) -> int:
    """What a call costs: the clock of the tests below."""
    return plan.width * plan.group.pixels


ALONE = {side: 2 * (side // 8) ** 2 for side in (64, 128, 512, 1024)}
"""What an evaluation of one guided row costs, by the side of its picture."""


@pytest.mark.parametrize("calls_before", range(12))
@pytest.mark.parametrize("evaluations", [1, 14, 18, 50])
def test_small_jobs_beside_large_ones_take_twice_their_time_alone_and_one_large_call_at_most(
    evaluations: int, calls_before: int
) -> None:
    counter, clock = Counter(budget=2), 0
    groups = {side: GroupKey(side // 8, side // 8, merged=side > 256) for side in ALONE}
    for side in (512, 1024):
        counter.add(side, 50, groups[side])
    for _ in range(calls_before):
        counter.tick()
    in_hand = counter.plan()  # the small ones come when a large call has just begun
    for side in (64, 128):
        counter.add(side, evaluations, groups[side])
    plan, ends = in_hand, dict[int, int]()
    while len(ends) < 2:
        clock += cost_of(plan)
        counter.planner.update(counter.ran(plan))
        ends |= {side: clock for side in plan.rows if counter.left[side] == 0}
        plan = counter.plan()
    assert all(ends[side] <= 2 * evaluations * ALONE[side] + ALONE[1024] for side in (64, 128)), ends


def test_a_row_that_holds_more_than_was_expected_leaves_room_for_fewer() -> None:
    counter = Counter(flight=4 * SMALL.pixels)
    counter.add(1, 5)
    plan = counter.plan()
    counter.planner.update(StepReport(plan, (Advance(1, 4, 2, held=3 * SMALL.pixels),)))
    for row in (2, 3):
        counter.add(row, 5)
    counter.tick()
    assert (counter.planner.running, counter.planner.waiting) == (2, 1)


def test_a_size_that_was_away_has_saved_up_no_turns() -> None:
    counter = Counter()
    counter.add(1, 1, MERGED)
    counter.add(2, 100)
    assert [counter.tick().group for _ in range(51)].count(MERGED) == 1
    counter.add(3, 20, MERGED)
    assert 4 <= [counter.tick().group for _ in range(10)].count(MERGED) <= 6


def test_rows_wait_where_those_in_flight_leave_no_room() -> None:
    counter = Counter(flight=2 * SMALL.pixels)
    counter.add_rows(5, 2)
    assert [counter.tick().rows for _ in range(3)] == [(0, 1), (0, 1), (2, 3)]
    assert (counter.planner.running, counter.planner.waiting) == (2, 1)


def test_one_row_runs_however_large() -> None:
    counter = Counter(flight=1)
    for row in range(2):
        counter.add(row, 1, LARGE)
    assert [counter.tick().rows for _ in range(2)] == [(0,), (1,)]


def test_small_rows_cannot_keep_a_large_one_out() -> None:
    counter = Counter(flight=LARGE.pixels, patience=0)
    counter.add(1, 3)
    counter.tick()
    counter.add(2, 1, LARGE)
    counter.add(3, 1)
    assert [counter.tick().rows for _ in range(4)] == [(1,), (1,), (2,), (3,)]


def test_a_cancelled_job_takes_all_its_rows() -> None:
    counter = Counter()
    for row in range(3):
        counter.add(row, 5, job=7)
    counter.add(3, 5)
    counter.tick()
    assert counter.planner.cancel(7) == (0, 1, 2)
    assert counter.planner.cancel(7) == ()
    assert counter.tick().rows == (3,)


@pytest.mark.parametrize("failure", Failure)
def test_a_call_that_breaks_is_tried_again_in_halves_before_anything_else(failure: Failure) -> None:
    counter = Counter()
    counter.add_rows(3, 5)
    assert counter.breaks(failure) == ()
    counter.add(9, 1)
    halves = [counter.tick() for _ in range(2)]
    assert [(half.rows, half.attempt) for half in halves] == [((0, 1), 2), ((2,), 2)]
    assert counter.tick().attempt == 1


def test_a_half_that_breaks_fails_its_jobs_and_nobody_else() -> None:
    counter = Counter(budget=6)
    for row, job in enumerate((7, 8, 7, 9)):
        counter.add(row, 5, job=job)
    counter.breaks()
    assert counter.breaks() == (0, 1, 2)
    assert counter.tick().rows == (3,)


def test_rows_that_advanced_before_the_call_broke_are_not_tried_again() -> None:
    counter = Counter()
    counter.add_rows(2, 5)
    counter.planner.update(StepReport(counter.plan(), (Advance(0, 4, 2),), broken=Failure.ERROR))
    assert counter.plan().rows == (1,)


def test_a_row_alone_is_tried_once_more() -> None:
    counter = Counter()
    counter.add(1, 5)
    assert counter.breaks(Failure.MEMORY) == ()
    assert counter.planner.budget(SMALL) == 8
    assert counter.breaks(Failure.MEMORY) == (1,)
    assert counter.planner.plan() is None


def test_a_row_that_no_second_try_can_save_fails_at_once_and_the_others_advance() -> None:
    counter = Counter()
    counter.add_rows(2, 2)
    plan = counter.plan()
    assert counter.planner.update(StepReport(plan, (Advance(0, 1, 2),), failed=(1,))) == (1,)
    assert counter.plan().rows == (0,)


@pytest.mark.parametrize(("failure", "budget"), [(Failure.MEMORY, 4), (Failure.ERROR, 8)])
def test_out_of_memory_halves_the_budget_of_that_size_and_an_error_does_not(failure: Failure, budget: int) -> None:
    counter = Counter(budget=8)
    counter.add_rows(3, 5)
    counter.breaks(failure)
    assert [counter.planner.budget(group) for group in (SMALL, LARGE)] == [budget, 8]
    assert [len(counter.tick().rows) for _ in range(3)] == [2, 1, min(3, budget // 2)]


def test_a_lowered_budget_doubles_after_many_calls_in_one_piece_until_it_is_what_was_given() -> None:
    counter = Counter(budget=10)
    counter.add_rows(3, 3 * RECOVERY)
    counter.breaks(Failure.MEMORY)
    for budget in (4, 8, 10):
        assert counter.planner.budget(SMALL) == budget
        for _ in range(RECOVERY):
            assert counter.planner.budget(SMALL) == budget
            counter.tick()


def test_the_backlog_is_counted_in_evaluations_and_pixels() -> None:
    counter = Counter()
    counter.add(1, 10, SMALL, width=1)
    counter.add(2, 5, LARGE, width=2)
    assert counter.tick().group == SMALL
    assert counter.planner.backlog == 9 * 64 + 5 * 2 * 256


def test_a_row_is_added_once_and_has_something_to_evaluate() -> None:
    counter = Counter()
    counter.add(1, 1)
    with pytest.raises(ValueError, match="there already"):
        counter.add(1, 1)
    with pytest.raises(ValueError, match="nothing to evaluate"):
        Ticket(2, 2, SMALL, 2, 0, 1)


Visit = tuple[int, int]
"""When a job of one guided row arrives, and its evaluations."""
BUDGET = 12


def call_time(width: int) -> int:
    """A device that twelve UNet rows keep twice as long as two."""
    return 8 + width


def day(seed: int, jobs: int = 600, load: float = 0.7) -> list[Visit]:
    """Poisson arrivals at a share of what full calls could carry; one in five jobs is long."""
    draw, now, visits = random.Random(seed), 0.0, list[Visit]()
    per_job = (0.8 * 14 + 0.2 * 38) * 2 * call_time(BUDGET) / BUDGET
    for _ in range(jobs):
        now += draw.expovariate(load / per_job)
        visits.append((int(now), draw.randint(25, 50) if draw.random() < 0.2 else draw.randint(8, 20)))
    return visits


def by_steps(visits: Sequence[Visit]) -> list[int]:
    """When each visit ends if the planner picks the rows of every call."""
    counter, ends, now, come = Counter(BUDGET, 4 * BUDGET * SMALL.pixels), [0] * len(visits), 0, 0
    while come < len(visits) or counter.planner.backlog:
        if not counter.planner.backlog:
            now = max(now, visits[come][0])
        while come < len(visits) and visits[come][0] <= now:
            counter.add(come, visits[come][1])
            come += 1
        plan = counter.tick()
        now += call_time(plan.width)
        for row in plan.rows:
            ends[row] = now
    return ends


def by_requests(visits: Sequence[Visit]) -> list[int]:
    """When each visit ends if batches of whole requests run to their end, first come, first served."""
    ends, now = list[int](), 0
    while len(ends) < len(visits):
        now = max(now, visits[len(ends)][0])
        batch = [length for at, length in visits[len(ends) : len(ends) + BUDGET // 2] if at <= now]
        now += sum(call_time(2 * sum(left > step for left in batch)) for step in range(max(batch)))
        ends += [now] * len(batch)
    return ends


def slowdowns(visits: Sequence[Visit], ends: Sequence[int]) -> list[float]:
    """How many times as long as alone on an idle device each took."""
    return [(end - at) / (length * call_time(2)) for (at, length), end in zip(visits, ends, strict=True)]


def p95(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * len(values))]


@pytest.mark.parametrize("seed", range(3))
def test_short_jobs_stay_within_two_and_a_half_times_their_time_alone_under_load(seed: int) -> None:
    visits = day(seed)
    steps, requests = (slowdowns(visits, ends) for ends in (by_steps(visits), by_requests(visits)))
    short = [index for index, (_, evaluations) in enumerate(visits) if evaluations <= 20]
    assert p95([steps[index] for index in short]) <= min(2.5, 0.4 * p95([requests[index] for index in short]))
    assert p95(steps) <= 0.5 * p95(requests)
    assert max(steps) <= 6  # the long ones wait, and not for ever
