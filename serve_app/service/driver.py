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
from serve_app.records.jobs import JobRecord
from serve_app.records.leases import Lease, Leases, Outcome
from serve_app.service.driven import DrivenJob, Stop
from serve_app.service.endings import Endings
from serve_app.service.lines import LINES, job_line
from serve_app.service.previews import preview_png
from serve_app.service.replicas import Replicas
from serve_app.service.runs import PAUSE_S, LeaseLost, MakeJob, Runs
from serve_app.service.stopwatch import Laps, Stage

T = TypeVar("T")
logger = logging.getLogger(__name__)

LEAST_ROUND_S = 0.1
"""Between two rounds, however much happens."""
LAST_WORD_S = 30.0
"""An outcome is offered to the records for at least this long, also after the deadline."""
CLOSE_S = 5.0
"""What is ending may take so long when the driver closes."""


@dataclass(eq=False, slots=True)
class _Tracked:
    """A held job and the tasks over it."""

    driven: DrivenJob
    task: asyncio.Task[None] = field(init=False)
    """From the first run to the end; nobody cancels it."""
    run: asyncio.Task[Outcome] | None = None
    """What `driven.stop` breaks off."""


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
        self._tracked: dict[int, _Tracked] = {}
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
        return len(self._tracked)

    def lease(self) -> Lease:
        """What it takes a job under now."""
        return Lease(self._owner, self._clock() + self._records.lease_s)

    def drive(self, record: JobRecord, make_job: MakeJob) -> None:
        """Begin to drive a job that was accepted or claimed under its lease."""
        if (older := self._tracked.get(record.id)) is not None:
            self._stop(older, Stop.LOST)  # this driver came too late to renew its lease, and claimed it again
        driven = DrivenJob.of(record)
        tracked = self._tracked[record.id] = _Tracked(driven)
        tracked.task = self.task(self._drive(tracked, make_job), f"job {record.id}")
        tracked.task.add_done_callback(lambda _: self._landed(tracked))

    async def wait(self, id: int, timeout_s: float) -> Laps:
        """Until the job has left this driver, or so long. Being cancelled does nothing to the job.

        Gives the laps of a job that it has ended meanwhile, and none of others.
        """
        tracked = self._tracked.get(id)
        if tracked is None or timeout_s <= 0:
            return {}
        await asyncio.wait({tracked.task}, timeout=timeout_s)
        laps = tracked.driven.watch.laps
        return laps if Stage.END in laps else {}

    async def close(self) -> None:
        """Give all jobs back, for another driver to take at once."""
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.wait({self._rounds})  # it lets go of its connection
        all_tracked = list(self._tracked.values())
        for tracked in all_tracked:
            if not tracked.driven.ending:
                self._stop(tracked, Stop.CLOSING)
        if all_tracked:
            await asyncio.wait({tracked.task for tracked in all_tracked}, timeout=CLOSE_S)
        for tracked in all_tracked:
            if tracked.driven.stop is Stop.CLOSING:
                await self._give_back(tracked.driven.record)

    async def _give_back(self, record: JobRecord) -> None:
        try:
            await self._leases.release(record.id, record.fence)
        except RecordsUnavailable as error:
            logger.warning("the lease of job %d runs out by itself: %s", record.id, error)

    def task(self, work: Coroutine[None, None, T], name: str) -> asyncio.Task[T]:
        """Work that goes on when the request that began it is cancelled."""
        return asyncio.get_running_loop().create_task(work, name=name, context=self._context.copy())

    def _landed(self, tracked: _Tracked) -> None:
        id, task = tracked.driven.record.id, tracked.task
        if self._tracked.get(id) is tracked:
            del self._tracked[id]
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s is left to another driver", task.get_name(), exc_info=task.exception())

    def _stop(self, tracked: _Tracked, why: Stop) -> None:
        tracked.driven.stop = why
        if tracked.run is not None:
            tracked.run.cancel()

    async def _drive(self, tracked: _Tracked, make_job: MakeJob) -> None:
        driven = tracked.driven
        if driven.record.cancel_asked:
            driven.stop = Stop.CANCELLED
        if driven.stop is None:
            run = tracked.run = self.task(self._runs.run(driven, make_job), "run")
            await asyncio.wait({run})
            outcome = await self._judged(driven, run)
        else:
            outcome = await self._stopped(driven)
        if outcome is not None:
            await self._end(driven, outcome)

    async def _judged(self, driven: DrivenJob, run: asyncio.Task[Outcome]) -> Outcome | None:
        """What a run that is over comes to; None where that is not this driver's to say."""
        if run.cancelled():
            return await self._stopped(driven)
        match run.exception():
            case None:
                return run.result()
            case LeaseLost():
                return None
            case DarkroomError() as error:
                # What the client reads of it keeps the detail back.
                logger.warning("job %d failed: %s: %s", driven.record.id, type(error).__name__, error)
                return await self._endings.failure(driven.record, error)
            case error:
                raise error

    async def _stopped(self, driven: DrivenJob) -> Outcome | None:
        return await self._endings.failure(driven.record, Cancelled()) if driven.stop is Stop.CANCELLED else None

    async def _end(self, driven: DrivenJob, outcome: Outcome) -> None:
        driven.ending = True
        record, until = driven.record, max(driven.record.deadline_at, self._clock() + LAST_WORD_S)
        while True:
            try:
                if await self._leases.end(record.id, record.fence, outcome, self._clock(), driven.started_at):
                    driven.watch.lap(Stage.END)
                    LINES.info(job_line(record, outcome, driven.watch.laps))
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
                logger.warning("%d leases are not renewed: %s", len(self._tracked), error)

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
        heartbeats = [tracked.driven.heartbeat(preview_png) for tracked in self._tracked.values()]
        told = await self._leases.renew(self.lease(), heartbeats, self._clock())
        asked = {heartbeat.id for heartbeat in heartbeats}
        for tracked in list(self._tracked.values()):
            if tracked.driven.record.id in asked and tracked.driven.learn(told) and tracked.run is not None:
                tracked.run.cancel()
