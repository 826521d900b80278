"""Drives accepted jobs to their end: runs them on replicas, renews their leases, writes down what comes of them.

Every process that accepts or claims jobs has one. It knows no Ray: `Replicas` is the seam.
"""

import asyncio
import contextvars
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TypeVar

from serve_app.config import AppConfig
from serve_app.errors import Cancelled, DarkroomError, RecordsUnavailable
from serve_app.jobs.held import Held, Stop
from serve_app.jobs.leases import Lease, Leases, Outcome
from serve_app.jobs.records import JobRecord
from serve_app.jobs.stopwatch import Laps, Stage
from serve_app.service.endings import Endings
from serve_app.service.lines import LINES, job_line
from serve_app.service.previews import preview_png
from serve_app.service.replicas import Replicas
from serve_app.service.runs import PAUSE_S, LeaseLost, MakeJob, Runs

T = TypeVar("T")
logger = logging.getLogger(__name__)

LEAST_ROUND_S = 0.1
"""Between two rounds, however much happens."""
LAST_WORD_S = 30.0
"""An outcome is offered to the records for at least this long, also after the deadline."""
CLOSE_S = 5.0
"""What is ending may take so long when the driver closes."""


@dataclass(eq=False, slots=True)
class _Flight:
    """A held job and the tasks over it."""

    held: Held
    task: asyncio.Task[None] = field(init=False)
    """From the first run to the end; nobody cancels it."""
    run: asyncio.Task[Outcome] | None = None
    """What `held.stop` breaks off."""


class Driver:
    """Start it on the event loop where it is used, and close it there."""

    def __init__(
        self,
        replicas: Replicas,
        leases: Leases,
        endings: Endings,
        config: AppConfig,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._leases = leases
        self._endings = endings
        self._records = config.records
        self._clock = clock
        self._owner = str(uuid.uuid4())
        # A job outlives the request that brought it, so it must not see that request's context: Serve would cancel
        # what the job has under way as soon as the client hangs up.
        self._context = contextvars.copy_context()
        self._flights: dict[int, _Flight] = {}
        self._news = asyncio.Event()
        self._runs = Runs(replicas, leases, endings, config, clock, self._news.set)
        self._rounds: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to make rounds, if it does not make them yet."""
        if not self.alive:
            self._rounds = self.task(self._keep_rounds(), "rounds")

    @property
    def alive(self) -> bool:
        """Whether rounds are made."""
        return self._rounds is not None and not self._rounds.done()

    @property
    def jobs(self) -> int:
        """How many it has."""
        return len(self._flights)

    def lease(self) -> Lease:
        """What it takes a job under now."""
        return Lease(self._owner, self._clock() + self._records.lease_s)

    def drive(self, record: JobRecord, make_job: MakeJob) -> None:
        """Begin to drive a job that was accepted or claimed under its lease."""
        if (older := self._flights.get(record.id)) is not None:
            self._stop(older, Stop.LOST)  # this driver came too late to renew its lease, and claimed it again
        held = Held.of(record)
        flight = self._flights[record.id] = _Flight(held)
        flight.task = self.task(self._drive(flight, make_job), f"job {record.id}")
        flight.task.add_done_callback(lambda _: self._landed(flight))

    async def wait(self, id: int, timeout_s: float) -> Laps:
        """Until the job has left this driver, or so long. Being cancelled does nothing to the job.

        Gives the laps of a job that it has ended meanwhile, and none of others.
        """
        flight = self._flights.get(id)
        if flight is None or timeout_s <= 0:
            return {}
        await asyncio.wait({flight.task}, timeout=timeout_s)
        laps = flight.held.watch.laps
        return laps if Stage.END in laps else {}

    async def close(self) -> None:
        """Give all jobs back, for another driver to take at once."""
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.wait({self._rounds})  # it lets go of its connection
        flights = list(self._flights.values())
        for flight in flights:
            if not flight.held.ending:
                self._stop(flight, Stop.CLOSING)
        if flights:
            await asyncio.wait({flight.task for flight in flights}, timeout=CLOSE_S)
        for flight in flights:
            if flight.held.stop is Stop.CLOSING:
                await self._give_back(flight.held.record)

    async def _give_back(self, record: JobRecord) -> None:
        try:
            await self._leases.release(record.id, record.fence)
        except RecordsUnavailable as error:
            logger.warning("the lease of job %d runs out by itself: %s", record.id, error)

    def task(self, work: Coroutine[None, None, T], name: str) -> asyncio.Task[T]:
        """Work that goes on when the request that began it is cancelled."""
        return asyncio.get_running_loop().create_task(work, name=name, context=self._context.copy())

    def _landed(self, flight: _Flight) -> None:
        id, task = flight.held.record.id, flight.task
        if self._flights.get(id) is flight:
            del self._flights[id]
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s is left to another driver", task.get_name(), exc_info=task.exception())

    def _stop(self, flight: _Flight, why: Stop) -> None:
        flight.held.stop = why
        if flight.run is not None:
            flight.run.cancel()

    async def _drive(self, flight: _Flight, make_job: MakeJob) -> None:
        held = flight.held
        if held.record.cancel_asked:
            held.stop = Stop.CANCELLED
        if held.stop is None:
            run = flight.run = self.task(self._runs.run(held, make_job), "run")
            await asyncio.wait({run})
            outcome = await self._judged(held, run)
        else:
            outcome = await self._stopped(held)
        if outcome is not None:
            await self._end(held, outcome)

    async def _judged(self, held: Held, run: asyncio.Task[Outcome]) -> Outcome | None:
        """What a run that is over comes to; None where that is not this driver's to say."""
        if run.cancelled():
            return await self._stopped(held)
        match run.exception():
            case None:
                return run.result()
            case LeaseLost():
                return None
            case DarkroomError() as error:
                # What the client reads of it keeps the detail back.
                logger.warning("job %d failed: %s: %s", held.record.id, type(error).__name__, error)
                return await self._endings.failure(held.record, error)
            case error:
                raise error

    async def _stopped(self, held: Held) -> Outcome | None:
        return await self._endings.failure(held.record, Cancelled()) if held.stop is Stop.CANCELLED else None

    async def _end(self, held: Held, outcome: Outcome) -> None:
        held.ending = True
        record, until = held.record, max(held.record.deadline_at, self._clock() + LAST_WORD_S)
        while True:
            try:
                if await self._leases.end(record.id, record.fence, outcome, self._clock(), held.started_at):
                    held.watch.lap(Stage.END)
                    LINES.info(job_line(record, outcome, held.watch.laps))
                else:
                    logger.warning("job %d was ended by another driver", record.id)
                return
            except RecordsUnavailable as error:
                if self._clock() >= until:
                    raise
                logger.warning("the end of job %d waits: %s", record.id, error)
            await asyncio.sleep(PAUSE_S)

    async def _keep_rounds(self) -> None:
        while True:
            await self._due()
            try:
                await self._round()
            except RecordsUnavailable as error:
                logger.warning("%d leases are not renewed: %s", len(self._flights), error)

    async def _due(self) -> None:
        """The next round: a tick after the last, or a little earlier where there is news."""
        await asyncio.sleep(min(LEAST_ROUND_S, self._records.tick_s))
        try:
            async with asyncio.timeout(self._records.tick_s - LEAST_ROUND_S):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()

    async def _round(self) -> None:
        beats = [flight.held.beat(preview_png) for flight in self._flights.values()]
        told = await self._leases.round(self.lease(), beats, self._clock())
        asked = {beat.id for beat in beats}
        for flight in list(self._flights.values()):
            if flight.held.record.id in asked and flight.held.learn(told) and flight.run is not None:
                flight.run.cancel()
