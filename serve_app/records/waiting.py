"""Jobs that wait and jobs that ran, as far as it matters to when others will end."""

from dataclasses import dataclass

from serve_app.engine.state import GroupKey

SHRINK = 8
"""Pixels on a side for each latent pixel."""
LEAST_MERGED = 32 * 32
"""Latent pixels; of fewer no tokens are merged (`pipelines.latent`, for models whose attention starts at full size)."""
RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Ran:
    """A job that ended well."""

    cost: int
    created_at: float
    started_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that was accepted and has not ended."""

    id: int
    cost: int
    """Of all of it: `service.eta.cost`."""
    done: int
    """Evaluations made by all its samples together, as they were last written down."""
    total: int
    """Evaluations of all its samples together: `samples` times `counts.evaluations`, or what its engine says."""
    created_at: float
    state: str
    """queued or running."""
    started_at: float | None
    """When it first ran; of the jobs that are running now at least."""
    samples: int
    group: GroupKey
    """`group_of` its picture."""

    @property
    def remaining(self) -> float:
        """Cost to come."""
        return self.cost * self.share_to_come

    @property
    def finished(self) -> float:
        """Cost that is behind it."""
        return self.cost - self.remaining

    @property
    def is_running(self) -> bool:
        """Whether it holds memory on a replica."""
        return self.state == RUNNING

    @property
    def evaluations(self) -> float:
        """To come, of one sample."""
        return self.total * self.share_to_come / self.samples

    @property
    def row_width(self) -> float:
        """UNet rows of one sample's evaluation, on average."""
        return self.cost / (max(1, self.total) * self.group.pixels)

    @property
    def share_to_come(self) -> float:
        """Of the whole job, as its evaluations tell."""
        return max(0.0, 1 - self.done / max(1, self.total))


def group_of(width: int, height: int, token_merging: bool) -> GroupKey:
    """The group that the samples of a job run in; width and height in pixels."""
    rows, columns = max(1, height // SHRINK), max(1, width // SHRINK)
    return GroupKey(rows, columns, token_merging and rows * columns >= LEAST_MERGED)
