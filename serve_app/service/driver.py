"""Drives accepted jobs to their end: runs them on replicas, renews their leases, writes down what comes of them.

Every process that accepts or claims jobs has one. It knows no Ray: `Replicas` is the seam.
"""

import asyncio
import contextvars
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TypeVar

from serve_app.api.answers import parameters_text
from serve_app.api.stored import load_request
from serve_app.config import AppConfig
from serve_app.errors import (
    AttemptsExhausted,
    Cancelled,
    DarkroomError,
    DeadlineExceeded,
    GenerationFailed,
    ModelNotFound,
    ModelUnavailable,
    Overloaded,
    RecordsUnavailable,
    StorageFailed,
)
from serve_app.inputs.kept import kept_png
from serve_app.jobs.held import Held, Stop
from serve_app.jobs.leases import Lease, Leases, Outcome
from serve_app.jobs.records import JobRecord
from serve_app.messages import FinishOrder, Img2ImgJob, Progress
from serve_app.service.endings import Endings
from serve_app.service.lanes import Lane
from serve_app.service.replicas import BrokenOff, Generated, Replicas
from serve_app.service.viewing import used_by

T = TypeVar("T")
logger = logging.getLogger(__name__)

PAUSE_S = 0.5
"""Before something that failed is tried again."""
LEAST_ROUND_S = 0.1
"""Between two rounds, however much happens."""
STORE_SPARE_S = 1.0
"""Postprocess gives up this long before the deadline, so that its own reason is told."""
LAST_WORD_S = 30.0
"""An outcome is offered to the records for at least this long, also after the deadline."""
CLOSE_S = 5.0
"""What is ending may take so long when the driver closes."""

MakeJob = Callable[[], Img2ImgJob]
"""Raises ValueError or OSError where the records hold no such job. May take its time: it runs in a thread."""


class _Lost(Exception):
    """The lease is somebody else's."""


@dataclass(eq=False, slots=True)
class _Flight:
    """A held job and the tasks over it."""

    held: Held
    task: asyncio.Task[None]
    run: asyncio.Task[Outcome] | None = None


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
        self._replicas = replicas
        self._leases = leases
        self._endings = endings
        self._catalogue = {entry.id: entry for entry in config.catalogue}
        self._lanes = {entry.id: Lane(entry) for entry in config.catalogue}
        self._records = config.records
        self._clock = clock
        self._owner = str(uuid.uuid4())
        # A job outlives the request that brought it, so it must not see that request's context: Serve would cancel
        # what the job has under way as soon as the client hangs up.
        self._context = contextvars.copy_context()
        self._flights: dict[int, _Flight] = {}
        self._news = asyncio.Event()
        self._rounds: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to make rounds."""
        self._rounds = self._task(self._keep_rounds(), "rounds")

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
        held = Held.of(record)
        flight = _Flight(held, self._task(self._drive(held, make_job), f"job {record.id}"))
        self._flights[record.id] = flight
        flight.task.add_done_callback(lambda task: self._landed(record.id, task))

    async def wait(self, id: int, timeout_s: float) -> None:
        """Until the job has left this driver, or so long. Being cancelled does nothing to the job."""
        if (flight := self._flights.get(id)) is not None and timeout_s > 0:
            await asyncio.wait({flight.task}, timeout=timeout_s)

    async def close(self) -> None:
        """Give all jobs back, for another driver to take at once."""
        if self._rounds is not None:
            self._rounds.cancel()
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

    def _task(self, work: Coroutine[None, None, T], name: str) -> asyncio.Task[T]:
        return asyncio.get_running_loop().create_task(work, name=name, context=self._context.copy())

    def _landed(self, id: int, task: asyncio.Task[None]) -> None:
        del self._flights[id]
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s is left to another driver", task.get_name(), exc_info=task.exception())

    def _stop(self, flight: _Flight, why: Stop) -> None:
        flight.held.stop = why
        if flight.run is not None:
            flight.run.cancel()

    async def _drive(self, held: Held, make_job: MakeJob) -> None:
        if held.record.cancel_asked:
            held.stop = Stop.CANCELLED
        if held.stop is None:
            run = self._flights[held.record.id].run = self._task(self._run_in_time(held, make_job), "run")
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
            case _Lost():
                return None
            case DarkroomError() as error:
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
                if not await self._leases.end(record.id, record.fence, outcome, self._clock()):
                    logger.warning("job %d was ended by another driver", record.id)
                return
            except RecordsUnavailable as error:
                if self._clock() >= until:
                    raise
                logger.warning("the end of job %d waits: %s", record.id, error)
            await asyncio.sleep(PAUSE_S)

    async def _run_in_time(self, held: Held, make_job: MakeJob) -> Outcome:
        limit = asyncio.timeout(held.record.deadline_at - self._clock())
        try:
            async with limit:
                return await self._run(held, make_job)
        except TimeoutError as error:
            raise DeadlineExceeded(f"job {held.record.id}") from error

    async def _run(self, held: Held, make_job: MakeJob) -> Outcome:
        job = await self._made(make_job)
        while True:
            if held.attempts >= self._records.max_attempts:
                raise AttemptsExhausted(f"job {held.record.id} broke off {held.attempts} times")
            try:
                return await self._attempt(held, job)
            except BrokenOff as broken:
                logger.warning("job %d broke off: %s", held.record.id, broken)
                held.broke_off()
                await self._count_attempt(held)
            except (Overloaded, ModelUnavailable) as busy:
                logger.info("job %d waits: %s: %s", held.record.id, type(busy).__name__, busy)
            await asyncio.sleep(PAUSE_S)

    async def _made(self, make_job: MakeJob) -> Img2ImgJob:
        try:
            return await asyncio.to_thread(make_job)
        except (ValueError, OSError) as error:
            raise GenerationFailed(f"the records hold no job to run: {error}") from error

    async def _count_attempt(self, held: Held) -> None:
        record = held.record
        while True:
            try:
                attempts = await self._leases.add_attempt(record.id, record.fence)
            except RecordsUnavailable:
                await asyncio.sleep(PAUSE_S)
                continue
            if attempts is None:
                raise _Lost
            held.attempts = attempts
            return

    async def _attempt(self, held: Held, job: Img2ImgJob) -> Outcome:
        lane = self._lanes.get(job.model_id)
        if lane is None:
            raise ModelNotFound(job.model_id)
        async with lane.place(suspect=held.attempts > 0):
            made = await self._replicas.generate(job, lambda progress: self._heard(held, progress))
        held.generated(made.seconds, self._clock())
        self._news.set()
        images = await self._replicas.finish(made, self._order(held.record, made))
        while True:
            try:
                return await self._endings.success(held.record, made, images)
            except StorageFailed as error:
                logger.warning("job %d is stored and cannot be read back yet: %s", held.record.id, error)
            await asyncio.sleep(PAUSE_S)

    def _heard(self, held: Held, progress: Progress) -> None:
        if held.follow(progress, self._clock()):
            self._news.set()

    def _order(self, record: JobRecord, made: Generated) -> FinishOrder:
        asked = load_request(record.request)
        used = used_by(record, self._catalogue, made.sampler)
        return FinishOrder(
            job_id=record.id,
            file_prefix=record.file_prefix,
            temporary=record.temporary,
            safety_check=asked.safety_checker,
            safety_type=asked.safety_checker_type,
            parameters=parameters_text(asked, used),
            deadline_at=record.deadline_at - STORE_SPARE_S,
        )

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
        beats = [flight.held.beat(kept_png) for flight in self._flights.values()]
        told = await self._leases.round(self.lease(), beats, self._clock())
        asked = {beat.id for beat in beats}
        for flight in list(self._flights.values()):
            if flight.held.record.id in asked and flight.held.learn(told) and flight.run is not None:
                flight.run.cancel()
