"""The step loop: one thread that owns the device, one queue that it owns too.

Jobs run one at a time in the order they came; a cancel takes effect at the next step.
The loop tells each job's listener of its progress and then, once, how it ended.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from serve_app.engine.protocol import Generation, Pipeline
from serve_app.errors import Cancelled, DarkroomError, GenerationFailed, ModelUnavailable, Overloaded
from serve_app.messages import Img2ImgJob, Progress, Raster

log = logging.getLogger(__name__)

Event = Progress | Raster | DarkroomError
Listener = Callable[[Event], None]
"""Called from the step thread; must not block and must not raise."""
PROGRESS_SECONDS = 0.5


@dataclass(eq=False, slots=True)
class Ticket:
    """A job's place in the loop. `cancel` may be called from any thread, at any time."""

    job: Img2ImgJob
    listener: Listener
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Ask for the job to stop at the next step; its listener hears `Cancelled`."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked."""
        return self._cancelled.is_set()


class StepLoop:
    """Runs jobs on a pipeline in a thread of its own."""

    def __init__(
        self, pipeline: Pipeline[Any, Any], max_queued: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pipeline = pipeline
        self._queue: queue.Queue[Ticket | None] = queue.Queue(max_queued)
        self._clock = clock
        self._beat = clock()  # written by the step thread, read by health checks
        self._busy = False  # likewise
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="step-loop", daemon=True)

    def start(self) -> None:
        """Start the thread; jobs submitted before wait."""
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Finish the job in hand, fail those that wait with `ModelUnavailable`, end the thread."""
        self._stopping = True
        self._fail_waiting()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def submit(self, job: Img2ImgJob, listener: Listener) -> Ticket:
        """Queue a job. Raises `Overloaded` where the queue is full, `ModelUnavailable` after `stop`."""
        if self._stopping:
            raise ModelUnavailable("the replica is shutting down")
        ticket = Ticket(job, listener)
        try:
            self._queue.put_nowait(ticket)
        except queue.Full as error:
            raise Overloaded(f"{self._queue.maxsize} jobs wait already") from error
        return ticket

    @property
    def waiting(self) -> int:
        """Jobs in the queue, the one in hand not counted."""
        return self._queue.qsize()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def stalled_s(self) -> float:
        """Seconds since the job in hand last made a step; 0 where no job is in hand."""
        return self._clock() - self._beat if self._busy else 0.0

    def _run(self) -> None:
        while (ticket := self._queue.get()) is not None:
            self._beat, self._busy = self._clock(), True
            ticket.listener(self._outcome(ticket))
            self._busy = False

    def _outcome(self, ticket: Ticket) -> Event:
        try:
            return self._generate(ticket)
        except DarkroomError as error:
            return error
        except Exception as error:
            log.exception("job %d failed", ticket.job.id)
            return GenerationFailed(f"{type(error).__name__}: {error}")

    def _generate(self, ticket: Ticket) -> Raster:
        _check(ticket)
        generation = self._pipeline.encode(ticket.job)
        told = self._tell(ticket, generation)
        while generation.done < generation.total:
            _check(ticket)
            self._pipeline.advance(generation, self._pipeline.denoise(generation))
            self._beat = self._clock()
            if self._beat - told >= PROGRESS_SECONDS:
                told = self._tell(ticket, generation)
        _check(ticket)
        return self._pipeline.decode(generation)

    def _tell(self, ticket: Ticket, generation: Generation) -> float:
        ticket.listener(Progress(generation.done, generation.total))
        return self._clock()

    def _fail_waiting(self) -> None:
        while True:
            try:
                ticket = self._queue.get_nowait()
            except queue.Empty:
                return
            if ticket is not None:
                ticket.listener(ModelUnavailable("the replica is shutting down"))


def _check(ticket: Ticket) -> None:
    if ticket.cancelled:
        raise Cancelled(f"job {ticket.job.id}")
