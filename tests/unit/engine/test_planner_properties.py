"""What holds of the planner whatever comes: no row lost, none starved, one key per plan, no limit exceeded."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serve_app.engine.planner import AHEAD, Planner
from serve_app.engine.state import Advance, Failure, GroupKey, StepPlan, StepReport, Ticket

GROUPS = (GroupKey(1, 2), GroupKey(1, 2, merged=True), GroupKey(3, 3))
BUDGETS = {GROUPS[0]: 5, GROUPS[1]: 1, GROUPS[2]: 4}
FLIGHT = 20
groups = st.sampled_from(GROUPS)
lives = st.lists(st.integers(1, 2), min_size=1, max_size=5).map(sorted)
"""The width of each evaluation of a row: without guidance first, then with."""


@dataclass(eq=False, slots=True)
class Row:
    """What the test knows of a row."""

    job: int
    group: GroupKey
    life: list[int]  # widths of the evaluations to come
    picked: bool = False


class PlannerMachine(RuleBasedStateMachine):
    """Anything may happen between a plan and its report."""

    def __init__(self) -> None:
        super().__init__()
        self.planner = Planner(BUDGETS.__getitem__, FLIGHT)
        self.rows: dict[int, Row] = {}
        self.out: StepPlan | None = None
        self.ended: list[int] = []
        self.added = 0
        self.budgets = dict(BUDGETS)

    @rule(group=groups, samples=st.lists(lives, min_size=1, max_size=3))
    def a_job_comes(self, group: GroupKey, samples: list[list[int]]) -> None:
        job = self.added
        for life in samples:
            self.planner.add(Ticket(self.added, job, group, life[0], len(life), group.pixels))
            self.rows[self.added] = Row(job, group, list(life))
            self.added += 1

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def a_job_is_cancelled(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted({row.job for row in self.rows.values()})))
        self.leave({job}, self.planner.cancel(job))

    @precondition(lambda self: self.out is None)
    @rule()
    def a_call_is_planned(self) -> None:
        plan = self.planner.plan()
        assert (plan is None) == (not self.rows)
        if plan is None:
            return
        self.out = plan
        rows = [self.rows[row] for row in plan.rows]  # none that left
        assert len(set(plan.rows)) == len(rows) > 0
        assert {row.group for row in rows} == {plan.group}
        assert plan.width == sum(row.life[0] for row in rows)
        assert plan.width <= self.planner.budget(plan.group) or len(rows) == 1
        for row in rows:
            row.picked = True

    @precondition(lambda self: self.out is not None)
    @rule()
    def the_call_ran(self) -> None:
        plan = self.take()
        assert self.planner.update(StepReport(plan, tuple(self.advance(row) for row in plan.rows))) == ()

    @precondition(lambda self: self.out is not None)
    @rule(failure=st.sampled_from(Failure))
    def the_call_broke(self, failure: Failure) -> None:
        plan = self.take()
        there = [row for row in plan.rows if row in self.rows]
        gone = self.planner.update(StepReport(plan, broken=failure))
        self.leave({self.rows[row].job for row in there} if plan.attempt == 2 else set(), gone)

    @precondition(lambda self: self.out is not None)
    @rule(data=st.data())
    def one_row_of_the_call_is_beyond_saving(self, data: st.DataObject) -> None:
        plan = self.take()
        lost = data.draw(st.sampled_from(plan.rows))
        jobs = {self.rows[lost].job} if lost in self.rows else set()
        advanced = tuple(self.advance(row) for row in plan.rows if row != lost)
        left = {job for job in jobs if any(row.job == job for row in self.rows.values())}
        self.leave(left, self.planner.update(StepReport(plan, advanced, failed=(lost,))))

    @invariant()
    def every_row_is_there_or_ended_once(self) -> None:
        assert sorted([*self.rows, *self.ended]) == list(range(self.added))
        assert self.planner.running == sum(row.picked for row in self.rows.values())
        assert self.planner.waiting == len(self.rows) - self.planner.running
        assert self.planner.backlog == sum(len(row.life) * row.life[0] * row.group.pixels for row in self.rows.values())

    @invariant()
    def rows_in_flight_keep_their_limit(self) -> None:
        flying = [row.group.pixels for row in self.rows.values() if row.picked]
        assert sum(flying) <= FLIGHT or len(flying) == 1

    @invariant()
    def budgets_only_fall_and_leave_room_for_a_row(self) -> None:
        for group, before in self.budgets.items():
            assert 1 <= self.planner.budget(group) <= before
            self.budgets[group] = self.planner.budget(group)

    def teardown(self) -> None:
        """Left alone, the planner serves every row to its end, in no more calls than there are evaluations."""
        if self.out is not None:
            self.the_call_ran()
        for _ in range(sum(len(row.life) for row in self.rows.values())):
            if self.rows:
                self.a_call_is_planned()
                self.the_call_ran()
        assert not self.rows
        self.every_row_is_there_or_ended_once()
        assert self.planner.plan() is None

    def take(self) -> StepPlan:
        assert self.out is not None
        plan, self.out = self.out, None
        return plan

    def advance(self, row: int) -> Advance:
        if row not in self.rows:
            return Advance(row, 7, 2)  # it left meanwhile, and the runner does not know
        life = self.rows[row].life
        life.pop(0)
        if not life:
            del self.rows[row]
            self.ended.append(row)
        return Advance(row, len(life), life[0] if life else 1)

    def leave(self, jobs: set[int], gone: tuple[int, ...]) -> None:
        """Exactly the rows of these jobs went."""
        assert sorted(gone) == [number for number, row in self.rows.items() if row.job in jobs]
        for row in gone:
            del self.rows[row]
        self.ended += gone


PlannerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPlannerKeepsItsPromises = PlannerMachine.TestCase


Arrival = tuple[GroupKey, int, int]
"""Group, width, evaluations."""
arrivals = st.tuples(groups, st.integers(1, 2), st.integers(1, 8))
shorter = st.tuples(groups, st.integers(1, 2), st.integers(1, 2))


@dataclass(slots=True)
class Crowd:
    """A planner under arrivals that never end, and the clock it must go by."""

    planner: Planner
    left: dict[int, int] = field(default_factory=dict)
    widths: dict[int, int] = field(default_factory=dict)
    clock: int = 0

    def add(self, arrival: Arrival) -> int:
        group, width, evaluations = arrival
        row = len(self.widths)
        self.planner.add(Ticket(row, row, group, width, evaluations, group.pixels))
        self.left[row], self.widths[row] = evaluations, width
        return row

    def call(self) -> None:
        plan = self.planner.plan()
        assert plan is not None
        self.clock += plan.group.pixels
        self.planner.update(StepReport(plan, tuple(self.advance(row) for row in plan.rows)))

    def advance(self, row: int) -> Advance:
        self.left[row] -= 1
        return Advance(row, self.left[row], self.widths[row])


def between_turns(group: GroupKey) -> int:
    """The planner's G: calls from one of this group to the next."""
    largest = max(other.pixels for other in GROUPS)
    return 1 + sum(2 + AHEAD * (group.pixels + largest) // other.pixels for other in GROUPS if other != group)


@settings(max_examples=150, deadline=None)
@given(
    before=st.lists(arrivals, max_size=12),
    warm=st.integers(0, 8),
    victim=arrivals,
    stream=st.lists(st.lists(shorter, max_size=4), min_size=1, max_size=4),
    patience=st.integers(0, 3),
    flight=st.integers(1, 60),
)
def test_no_row_starves_under_shorter_ones_that_come_for_ever(
    before: Sequence[Arrival],
    warm: int,
    victim: Arrival,
    stream: Sequence[Sequence[Arrival]],
    patience: int,
    flight: int,
) -> None:
    crowd, calls = Crowd(Planner(BUDGETS.__getitem__, flight, patience)), 0
    for arrival in before:
        crowd.add(arrival)
    for _ in range(warm):
        if crowd.planner.backlog:
            crowd.call()
    group, width, evaluations = victim
    last = crowd.clock + patience * evaluations * width * group.pixels
    row = crowd.add(victim)
    ahead = sum(crowd.left.values())
    while crowd.left[row]:
        for arrival in stream[calls % len(stream)]:
            crowd.add(arrival)
            ahead += arrival[2] if crowd.clock <= last else 0
        crowd.call()
        calls += 1
        assert calls <= ahead * between_turns(group) or crowd.clock <= last
