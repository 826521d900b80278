"""What a driver knows of one of its jobs, and what it learns of it. Pure: no database, no replica, and no
clock but the stopwatch that it carries for those who run it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from serve_app.messages import Pixels, Progress
from serve_app.records.leases import Heartbeat, Renewal
from serve_app.records.rows import JobRecord
from serve_app.service.stopwatch import Stopwatch


class Stop(Enum):
    """Why a run is broken off before its end."""

    CANCELLED = "somebody asked for it"
    LOST = "it has ended, or another driver has it"
    CLOSING = "this driver shuts down"


@dataclass(eq=False, slots=True)
class DrivenJob:
    """One job under a driver. Its run writes it, and the round over all jobs; both on one event loop."""

    record: JobRecord
    """As it was accepted or claimed."""
    attempts: int
    done: int
    """UNet evaluations of this attempt, of `total`."""
    total: int
    started_at: float | None
    preview: Pixels | None = None  # (samples, height, width, 3)
    """The newest, until a round takes it for those who watch."""
    watched: bool = False
    ending: bool = False
    """Its outcome is being written; nothing stops it any more."""
    stop: Stop | None = None
    watch: Stopwatch = field(default_factory=Stopwatch)
    """Runs from the moment the driver has the job; its run takes the laps."""

    @classmethod
    def of(cls, record: JobRecord) -> "DrivenJob":
        """A job at the start of its driver's first run."""
        watched = record.watched_until > record.created_at
        return cls(record, record.attempts, 0, record.total, record.started_at, watched=watched)

    def follow(self, progress: Progress, now: float) -> bool:
        """Take note of a replica's progress; whether the job has started just now."""
        self.done = progress.done
        self.total = progress.total or self.total
        self.preview = self.preview if progress.preview is None else progress.preview
        return self._start(now) if progress.done else False

    def generated(self, seconds: float, now: float) -> None:
        """Its pixels are there, after so many seconds of work."""
        self.done = self.total
        self._start(now - seconds)

    def broke_off(self) -> None:
        """Its attempt came to nothing: the next one begins at its start."""
        self.done, self.preview = 0, None

    def heartbeat(self, encode: Callable[[Pixels], bytes]) -> Heartbeat:
        """What the records are told now; takes the preview where somebody watches."""
        png = None
        if self.watched and self.preview is not None:
            png, self.preview = encode(self.preview), None
        return Heartbeat(self.record.id, self.record.fence, self.attempts, self.done, self.total, self.started_at, png)

    def learn(self, told: Renewal) -> bool:
        """Take note of what a round told; whether the run is to be broken off, for `stop`."""
        id = self.record.id
        self.watched = id in told.watched
        if self.ending or self.stop is not None:
            return False
        if id in told.lost:
            self.stop = Stop.LOST
        elif id in told.cancelled:
            self.stop = Stop.CANCELLED
        return self.stop is not None

    def _start(self, at: float) -> bool:
        first, self.started_at = self.started_at is None, at if self.started_at is None else self.started_at
        return first
