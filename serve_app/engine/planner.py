"""The whole policy of the step engine: which rows go through the UNet next.

Ids and integers only: no tensors, no threads, and no seconds. Waiting is measured in calls, so that the policy and its
bound are the same on any device. The loop alternates `plan` and `update`; both are called from its thread.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from serve_app.engine.state import Advance, Failure, GroupKey, StepPlan, StepReport, Ticket

PATIENCE = 4
AHEAD = 2
"""Calls of its own by which a group falls due later than it has paid: so the small ones go before a large call."""
RECOVERY = 512
"""Calls of a group in one piece after which its lowered budget is doubled: what took the memory may be gone."""


class Planner:
    """Picks the rows of the next UNet call.

    Inside a group, the shortest work to come goes first, with ageing. A row's rank is `patience × cost + arrived`,
    lowest first, where `arrived` is the clock at which it came, and each call moves the clock by its latent pixels.
    A row keeps its state once it has run: one that is overtaken pauses, and nothing is computed twice.

    Between groups turns are fair: a group pays its latent pixels for a call, and the group is next whose payments and
    AHEAD more calls of its own come to least. One that comes has paid what the group that has paid least has. So all
    are served alike in the long run, and a small group that comes goes before a call that is much larger than its own.

    A row joins when it is first picked, if the rows in flight leave room in memory for it, in bytes. Rows join strictly
    in order of rank, so a large one cannot be kept out by small ones that slip past it.

    **Nothing starves.** Let a row of group B, of cost C at its widest, come at clock V. Let E be the evaluations to
    come of all rows that are there then or come until the clock passes V + patience × C; none that comes later can
    outrank it. It ends within E × G calls, G = 1 + sum over other groups g of
    (2 + AHEAD × (pixels(B) + P) // pixels(g)), P the pixels of the largest group, second tries of broken calls not
    counted. For while it waits for room, only rows of that set are in flight or join; once there is room for it, one of
    G calls is of its group, and the first of that call is of that set, or itself.

    **Short work passes.** Let a job of W latent pixels in all come, alone in its group of calls of p. Before it ends,
    another group of calls of q > p makes the call in hand and (W + (AHEAD - 1) × (p - q)) // q more: none where q is
    over half of W + p.
    """

    def __init__(self, budget: Callable[[GroupKey], int], flight: int, patience: int = PATIENCE) -> None:
        """`budget` gives the UNet rows that a call of a group may have; a row wider than that still runs, alone.
        A call of that many is the slowest that a short row can be in, so it trades throughput for their latency.

        `flight` limits what the rows in flight hold between calls, in bytes; one row may always run, however large.
        `patience` says for how many times its own cost a row lets shorter ones pass: 0 is first come, first served.
        """
        self._given_budget = budget
        self._flight = flight
        self._patience = patience
        self._rows: dict[int, Ticket] = {}
        self._second_tries: list[tuple[int, ...]] = []  # halves of calls that broke; they go before anything else
        self._lowered: dict[GroupKey, int] = {}  # budgets learned from calls that ran out of memory
        self._whole: Counter[GroupKey] = Counter()  # calls in one piece since a budget was changed
        self._paid: dict[GroupKey, int] = {}  # of groups that can run, and of others that are ahead of the turn
        self._turn = 0  # the least that a group which could run had paid; it never falls
        self._clock = 0

    def add(self, ticket: Ticket) -> None:
        """Queue a row. Raises `ValueError` where its id is there already."""
        if ticket.id in self._rows:
            raise ValueError(f"row {ticket.id} is there already")
        ticket.arrived = self._clock
        self._rows[ticket.id] = ticket

    def cancel(self, job: int) -> tuple[int, ...]:
        """Forget a job, whatever its rows are doing; gives the rows that left, none where the job is unknown."""
        return self._drop({job})

    def plan(self) -> StepPlan | None:
        """The next call, or None where no row is left. Its report is due before the next `plan`."""
        if self._second_tries:
            return self._call([self._rows[row] for row in self._second_tries.pop(0)], attempt=2)
        ready = self._ready()
        if not ready:
            return None
        self._seat(ready)
        group = min(ready, key=lambda group: (self._due(group), self._rank(ready[group][0])))
        self._charge(group)
        return self._call(self._fitting(ready[group], self.budget(group)), attempt=1)

    def update(self, report: StepReport) -> tuple[int, ...]:
        """Learn what became of a plan; gives the rows that left because their job failed. Rows unknown are ignored."""
        for advance in report.advanced:
            self._learn(advance)
        gone = self._fail(report.failed)
        if report.broken is None:
            self._recover(report.plan.group)
            return gone
        told = {advance.id for advance in report.advanced}
        rest = tuple(row for row in report.plan.rows if row in self._rows and row not in told)
        if report.plan.attempt > 1:
            return gone + self._fail(rest)
        self._split(rest, report.broken)
        return gone

    def budget(self, group: GroupKey) -> int:
        """UNet rows that a call of this group may have now."""
        return min(self._given_budget(group), self._lowered.get(group, self._given_budget(group)))

    @property
    def backlog(self) -> int:
        """Work to come of all rows, in evaluations × UNet rows × latent pixels."""
        return sum(ticket.cost for ticket in self._rows.values())

    @property
    def waiting(self) -> int:
        """Rows that have not been in a plan yet."""
        return len(self._rows) - self.running

    @property
    def running(self) -> int:
        """Rows in flight."""
        return sum(ticket.running for ticket in self._rows.values())

    def _rank(self, ticket: Ticket) -> tuple[int, int]:
        return self._patience * ticket.cost + ticket.arrived, ticket.id

    def _ready(self) -> dict[GroupKey, list[Ticket]]:
        """The rows that may run now, in order of rank: those in flight, and those that there is room for."""
        room = self._flight - sum(ticket.held for ticket in self._rows.values() if ticket.running)
        empty = not self.running
        ready: dict[GroupKey, list[Ticket]] = {}
        for ticket in sorted(self._rows.values(), key=self._rank):
            if not ticket.running:
                room -= ticket.held
                if room < 0 and not empty:
                    continue  # and so must all behind it that are not in flight: room only shrinks
            ready.setdefault(ticket.group, []).append(ticket)
            empty = False
        return ready

    def _fitting(self, tickets: list[Ticket], budget: int) -> list[Ticket]:
        """The first, and of those behind it all that fit beside it."""
        picked, width = tickets[:1], tickets[0].width
        for ticket in tickets[1:]:
            if width + ticket.width <= budget:
                picked.append(ticket)
                width += ticket.width
        return picked

    def _call(self, tickets: list[Ticket], attempt: int) -> StepPlan:
        for ticket in tickets:
            ticket.running = True
        rows = tuple(sorted(ticket.id for ticket in tickets))
        return StepPlan(tickets[0].group, rows, sum(ticket.width for ticket in tickets), attempt)

    def _seat(self, ready: Iterable[GroupKey]) -> None:
        """A group that was away starts at the turn: it neither saved up nor owes."""
        there = set(ready)
        self._turn = max(self._turn, min((self._paid[group] for group in there & self._paid.keys()), default=0))
        self._paid = {group: paid for group, paid in self._paid.items() if group in there or paid > self._turn}
        self._paid |= dict.fromkeys(there - self._paid.keys(), self._turn)

    def _due(self, group: GroupKey) -> int:
        return self._paid[group] + AHEAD * group.pixels

    def _charge(self, group: GroupKey) -> None:
        self._clock += group.pixels
        self._paid[group] += group.pixels

    def _learn(self, advance: Advance) -> None:
        if advance.id not in self._rows:
            return
        if advance.remaining == 0:
            del self._rows[advance.id]
            return
        ticket = self._rows[advance.id]
        ticket.remaining, ticket.width = advance.remaining, advance.width
        ticket.held = max(ticket.held, advance.held)

    def _split(self, rows: tuple[int, ...], failure: Failure) -> None:
        """Two halves, each to be tried once; out of memory, the wider one is the group's budget for RECOVERY calls."""
        half = (len(rows) + 1) // 2
        halves = [part for part in (rows[:half], rows[half:]) if part]
        self._second_tries += halves
        if failure is Failure.MEMORY and len(halves) > 1:
            group = self._rows[rows[0]].group
            wider = max(sum(self._rows[row].width for row in part) for part in halves)
            self._lowered[group] = min(self.budget(group), wider)
            self._whole[group] = 0

    def _recover(self, group: GroupKey) -> None:
        if group not in self._lowered:
            return
        self._whole[group] += 1
        if self._whole[group] < RECOVERY:
            return
        self._lowered[group] *= 2
        self._whole[group] = 0
        if self._lowered[group] >= self._given_budget(group):
            del self._lowered[group]

    def _fail(self, rows: Iterable[int]) -> tuple[int, ...]:
        return self._drop({self._rows[row].job for row in rows if row in self._rows})

    def _drop(self, jobs: set[int]) -> tuple[int, ...]:
        gone = tuple(row for row, ticket in self._rows.items() if ticket.job in jobs)
        for row in gone:
            del self._rows[row]
        left = (tuple(row for row in half if row in self._rows) for half in self._second_tries)
        self._second_tries = [half for half in left if half]
        return gone
