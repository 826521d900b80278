"""The records that the planner exchanges with the rest of the engine: ids and integers, no tensors.

A `Ticket` is the planner's own account of one row; plans and reports are frozen and cross to the runner and back.
"""

from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True, slots=True)
class GroupKey:
    """What the rows of one UNet call must share beside the weights: the shape of the latents, and the switch that
    changes the shapes inside the network.

    Left out, because each row brings its own: prompt, negative prompt, seed, steps, strength, sampler and its tables,
    guidance (a row with a twin is two UNet rows), LoRA set (slots, chosen per row), clip skip, VAE.
    """

    height: int  # of the latents
    width: int  # of the latents
    merged: bool = False  # token merging on

    @property
    def pixels(self) -> int:
        """Latent pixels of one UNet row."""
        return self.height * self.width


@dataclass(eq=False, slots=True)
class Ticket:
    """One row: one sample of a job. Made by the loop, handed to `Planner.add`, the planner's from then on.

    Raises `ValueError` for a row without anything to evaluate.
    """

    id: int  # one per row, never used again
    job: int  # rows of a job leave together when it is cancelled or fails
    group: GroupKey
    width: int  # UNet rows that its next evaluation takes: 2 with guidance, else 1; the planner writes it from reports
    remaining: int  # evaluations to come, at least 1; the planner writes it from reports
    held: int  # bytes on the device between calls, once it runs: expected, then raised to what reports say
    arrived: int = field(default=0, init=False)  # the planner's clock when it was added; written once, by `add`
    running: bool = field(default=False, init=False)  # was in a plan, so holds its bytes; written once, by `plan`

    def __post_init__(self) -> None:
        if self.width < 1 or self.remaining < 1:
            raise ValueError(f"row {self.id} has nothing to evaluate: {self.remaining} evaluations of {self.width}")

    @property
    def cost(self) -> int:
        """Work to come at the present width, in evaluations × UNet rows × latent pixels."""
        return self.remaining * self.width * self.group.pixels


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One UNet call: these rows, all of one group."""

    group: GroupKey
    rows: tuple[int, ...]  # ids, ascending, so that a batch that stays the same looks the same
    width: int  # UNet rows of the call
    attempt: int = 1  # 2: half of a call that broke; if this one breaks too, its rows fail


@dataclass(frozen=True, slots=True)
class Advance:
    """Where a row stands after one evaluation."""

    id: int
    remaining: int  # evaluations to come; 0: the row has ended
    width: int  # UNet rows of the next evaluation
    held: int = 0  # bytes that it holds, where that is more than its ticket says


class Failure(Enum):
    """Why a call broke."""

    MEMORY = "out of memory"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class StepReport:
    """What became of a plan. A row that broke must stand where it stood: it may be tried again."""

    plan: StepPlan
    advanced: tuple[Advance, ...] = ()
    failed: tuple[int, ...] = ()  # rows that cannot be saved by another try: their jobs fail now
    broken: Failure | None = None  # the call broke; concerns the rows of the plan in neither of the two above
