"""The step loop: one thread that owns the device. Every tick it takes what came, plans, runs, and tells.

Jobs join and leave at every tick. What a job needs from disk is loaded by a few other threads first,
so that a first use delays that job alone. Each job's listener hears its progress and then, once, how it ended.
"""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serve_app.engine.attempts import as_ours, attempt
from serve_app.engine.planner import Planner
from serve_app.engine.protocol import Draft, Pipeline
from serve_app.engine.runner import Place, Runner, Tick
from serve_app.engine.state import Ticket
from serve_app.errors import Cancelled, DarkroomError, ModelUnavailable, Overloaded
from serve_app.messages import Img2ImgJob, Pixels, Progress, Raster

Event = Progress | Raster | DarkroomError
Listener = Callable[[Event], None]
"""Called from the step thread; must not block and must not raise."""
PROGRESS_SECONDS = 0.5
PREVIEW_SHRINK = 8
SAMPLED = 2
"""Every second pixel of a picture that has ended is enough for its preview."""
PREPARERS = 2
"""Threads that load what jobs need."""


@dataclass(eq=False, slots=True)
class Flight:
    """A job from `submit` to its end. `cancel` may be called from any thread, at any time."""

    job: Img2ImgJob
    listener: Listener
    number: int
    """The engine's own count: clients' ids may come twice."""
    previews: bool
    came: float
    """When the engine took it."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    draft: Draft | None = None
    """Written once, by the thread that prepared it."""
    rows: dict[int, int] = field(default_factory=dict)
    """Row ids with their samples; written when the job joins."""
    pixels: dict[int, Pixels] = field(default_factory=dict)
    """By sample, those that have ended; written by the step thread."""
    done: int = 0
    """Evaluations made by all its rows; written by the step thread."""
    started: float | None = None
    """When one of its rows was first in a plan."""
    told: float = 0.0

    def cancel(self) -> None:
        """Ask for the job to stop at the next tick; its listener hears `Cancelled`."""
        self.cancelled.set()

    @property
    def total(self) -> int:
        """Evaluations that all its rows need."""
        return self.job.samples * self.draft.evaluations if self.draft else 0


def reduced(picture: Pixels) -> Pixels:
    """A picture that has ended, as small as `Pipeline.preview` makes one."""
    height, width = (side // PREVIEW_SHRINK for side in picture.shape[:2])
    blocks = picture.reshape(height, PREVIEW_SHRINK, width, PREVIEW_SHRINK, 3)
    small: Pixels = blocks[:, ::SAMPLED, :, ::SAMPLED].mean((1, 3)).astype(np.uint8)
    return small


@dataclass(frozen=True, slots=True)
class _Ready:
    """What a preparing thread hands over: a job that can join, or why it cannot."""

    flight: Flight
    error: DarkroomError | None = None


class StepLoop:
    """Runs any mix of jobs on a pipeline."""

    def __init__(
        self,
        pipeline: Pipeline[Any, Any, Any],
        planner: Planner,
        max_jobs: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipeline = pipeline
        self._planner = planner
        self._runner: Runner[Any, Any] = Runner(pipeline)
        self._max_jobs = max_jobs
        self._clock = clock
        self._numbers = itertools.count()
        self._inbox: queue.SimpleQueue[_Ready | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._flights: dict[int, Flight] = {}  # all that have not ended; under the lock
        self._joined: dict[int, Flight] = {}  # by row id; step thread only
        self._beat = clock()  # written by the step thread, read by health checks
        self._busy = False  # likewise
        self._stopping = False
        self._preparers = ThreadPoolExecutor(PREPARERS, thread_name_prefix="prepare")
        self._thread = threading.Thread(target=self._run, name="step-loop", daemon=True)

    def start(self) -> None:
        """Start the thread; jobs submitted before wait."""
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Finish the tick in hand, fail all jobs with `ModelUnavailable`, end the threads."""
        self._stopping = True
        self._inbox.put(None)
        self._preparers.shutdown(wait=False, cancel_futures=True)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        for flight in list(self._flights.values()):
            self._end(flight, ModelUnavailable("the replica is shutting down"))

    def submit(self, job: Img2ImgJob, listener: Listener, previews: bool = False) -> Flight:
        """Take a job. Raises `Overloaded` where too many have not ended, `ModelUnavailable` after `stop`."""
        flight = Flight(job, listener, next(self._numbers), previews, self._clock())
        with self._lock:
            if self._stopping:
                raise ModelUnavailable("the replica is shutting down")
            if len(self._flights) >= self._max_jobs:
                raise Overloaded(f"{self._max_jobs} jobs are here already")
            self._flights[flight.number] = flight
        self._preparers.submit(self._prepare, flight)
        return flight

    @property
    def jobs(self) -> int:
        """Jobs that have not ended."""
        return len(self._flights)

    @property
    def rows(self) -> int:
        """Rows that are queued or in flight."""
        return len(self._runner)

    @property
    def backlog(self) -> int:
        """Work to come, in evaluations × UNet rows × latent pixels."""
        return self._planner.backlog

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def stalled_s(self) -> float:
        """Seconds since the last tick ended; 0 where there is nothing to do."""
        return self._clock() - self._beat if self._busy else 0.0

    def _prepare(self, flight: Flight) -> None:
        error: Exception | None = None
        if not flight.cancelled.is_set():
            flight.draft, error = attempt(lambda: self._pipeline.prepare(flight.job))
        self._inbox.put(_Ready(flight, as_ours(error) if error else None))

    def _run(self) -> None:
        while not self._stopping:
            self._take()
            self._drop_cancelled()
            self._tick()

    def _take(self) -> None:
        """Let jobs join; wait for one where there is nothing to do."""
        self._busy = bool(self._joined)
        while self._busy is False or not self._inbox.empty():
            ready = self._inbox.get()
            self._beat, self._busy = self._clock(), True
            if ready is not None:
                self._join(ready)

    def _join(self, ready: _Ready) -> None:
        flight, draft = ready.flight, ready.flight.draft
        if ready.error is not None:
            self._end(flight, ready.error)
        elif draft is None or flight.cancelled.is_set():
            self._end(flight, Cancelled(f"job {flight.job.id}"))
        elif draft.evaluations == 0:
            self._finish(flight, [flight.job.init_image] * flight.job.samples)
        else:
            self._queue(flight, draft)

    def _queue(self, flight: Flight, draft: Draft) -> None:
        for sample in range(flight.job.samples):
            row = next(self._numbers)
            flight.rows[row] = sample
            self._joined[row] = flight
            self._runner.hold(row, Place(flight.number, draft, sample))
            self._planner.add(Ticket(row, flight.number, draft.group, draft.width, draft.evaluations, draft.held))
        self._tell(flight)

    def _drop_cancelled(self) -> None:
        for flight in {id(flight): flight for flight in self._joined.values()}.values():
            if flight.cancelled.is_set():
                self._planner.cancel(flight.number)
                self._end(flight, Cancelled(f"job {flight.job.id}"))

    def _tick(self) -> None:
        plan = self._planner.plan()
        if plan is None:
            return
        now = self._clock()
        for row in plan.rows:
            flight = self._joined[row]
            flight.started = now if flight.started is None else flight.started
        tick = self._runner.run(plan)
        gone = self._planner.update(tick.report)
        self._beat = self._clock()
        self._settle(tick, gone)

    def _settle(self, tick: Tick, gone: Sequence[int]) -> None:
        for row in gone:
            if (flight := self._joined.get(row)) is not None:
                self._end(flight, next(tick.reasons[one] for one in flight.rows if one in tick.reasons))
        moved: dict[int, Flight] = {}
        for advance in tick.report.advanced:
            if (flight := self._joined.get(advance.id)) is None:
                continue  # another of its job's rows failed in this tick
            moved[flight.number] = flight
            flight.done += 1
            if advance.id in tick.pixels:
                flight.pixels[flight.rows[advance.id]] = tick.pixels[advance.id]
        for flight in moved.values():
            self._follow(flight)

    def _follow(self, flight: Flight) -> None:
        """Finish a job whose rows have all ended; tell the others' progress now and then."""
        if len(flight.pixels) == flight.job.samples:
            self._finish(flight, [flight.pixels[sample] for sample in range(flight.job.samples)])
        elif self._clock() - flight.told >= PROGRESS_SECONDS:
            self._tell(flight)

    def _tell(self, flight: Flight) -> None:
        preview = self._preview(flight) if flight.previews else None
        flight.told = self._clock()
        flight.listener(Progress(flight.done, flight.total, preview))

    def _preview(self, flight: Flight) -> Pixels | None:
        """Of all samples, those that have ended too, once they are in flight."""
        tiles = [self._tile(flight, row) for row in flight.rows]
        there = [tile for tile in tiles if tile is not None]
        return np.stack(there) if len(there) == len(tiles) else None

    def _tile(self, flight: Flight, row: int) -> Pixels | None:
        if (picture := flight.pixels.get(flight.rows[row])) is not None:
            return reduced(picture)
        going = self._runner.row(row)
        return None if going is None else self._pipeline.preview(going)

    def _finish(self, flight: Flight, pictures: Sequence[Pixels]) -> None:
        assert flight.draft is not None
        now = self._clock()
        started = now if flight.started is None else flight.started
        self._end(flight, Raster(np.stack(pictures), flight.draft.sampler, now - started, started - flight.came))

    def _end(self, flight: Flight, event: Event) -> None:
        self._runner.drop(flight.rows)
        for row in flight.rows:
            self._joined.pop(row, None)
        with self._lock:
            self._flights.pop(flight.number, None)
        flight.listener(event)
