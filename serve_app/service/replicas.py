"""The seam to whatever makes and finishes pictures: two methods. Ray's side of it is `deployments.replicas`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from serve_app.messages import FinishOrder, Img2ImgJob, Progress, StoredImage


class BrokenOff(Exception):
    """A replica died or fell silent over a job: whoever drives it counts that and tries again. No client hears it."""


class PixelsLost(Exception):
    """They went with the replica that had made them, before they were stored. The job runs again, not to be blamed."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """How a job runs whose replica died: it may be what killed it."""

    group: str
    """A replica runs suspects of one group at a time, whoever drives them: else a job that kills replicas would take
    other drivers' suspects with it."""
    alone: bool
    """Without any other job on its replica."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A generation's end."""

    pixels: object
    """Where they lie, uint8 (samples, height, width, 3): a reference that `finish` understands."""
    sampler: str
    """The class name that ran."""
    seconds: float
    queued_s: float = 0.0
    """In the engine's queue, before those seconds."""


class Replicas(Protocol):
    """Both methods raise BrokenOff, Overloaded and ModelUnavailable, after which they can be called again.

    Other DarkroomErrors are the job's own failures. Cancelling a call cancels the work.
    """

    async def generate(
        self, job: Img2ImgJob, told: Callable[[Progress], None], suspicion: Suspicion | None
    ) -> Generated:
        """The pixels of a job. `told` hears of progress, now and then, from the caller's event loop."""

    async def finish(self, generated: Generated, order: FinishOrder) -> tuple[StoredImage, ...]:
        """Check, redact, encode and store. Raises PixelsLost besides."""
