"""One job's way over the replicas: attempts, what breaks them off, and how many of them there may be.

Knows no lease but to count an attempt. What comes of a run, the driver writes down.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from serve_app.api.infotext import png_texts
from serve_app.api.stored import load_request
from serve_app.config import AppConfig
from serve_app.errors import (
    AttemptsExhausted,
    DarkroomError,
    DeadlineExceeded,
    GenerationFailed,
    ModelNotFound,
    ModelUnavailable,
    Overloaded,
    RecordsUnavailable,
    StoreUnavailable,
)
from serve_app.inputs.init_png import init_of_png
from serve_app.messages import FinishOrder, Img2ImgJob, Progress, StoredImage
from serve_app.records.document import load_job
from serve_app.records.jobs import JobRecord
from serve_app.records.leases import Claimed, Leases, Outcome
from serve_app.records.waiting import group_of
from serve_app.service.driven import DrivenJob
from serve_app.service.endings import Endings
from serve_app.service.lanes import Lane
from serve_app.service.quarantine import DiedAlone
from serve_app.service.replicas import BrokenOff, Generated, PixelsLost, Replicas
from serve_app.service.stopwatch import Stage
from serve_app.service.viewing import used_by

T = TypeVar("T")
logger = logging.getLogger(__name__)

PAUSE_S = 0.5
"""Before something that failed is tried again."""
TURN_S = 0.1
"""Before a suspect asks a replica again that has others: it may be idle meanwhile."""
STORE_SPARE_S = 1.0
"""Postprocess gives up this long before the deadline, so that its own reason is told."""
BUSY = (Overloaded, ModelUnavailable)
"""Nothing is wrong with the job: a replica will take it later."""
MakeJob = Callable[[], Img2ImgJob]
"""Raises ValueError or OSError where the records hold no such job. May take its time: it runs in a thread."""


def job_again(claimed: Claimed) -> Img2ImgJob:
    """The job that the records hold. Raises ValueError or OSError where they do not hold all of it."""
    if claimed.png is None:
        raise ValueError("its init image is no longer kept")
    return load_job(claimed.record.id, claimed.record.job, init_of_png(claimed.png))


class LeaseLost(Exception):
    """The job has ended, or another driver has it."""


class Runs:
    """Any number of runs at once, on one event loop."""

    def __init__(
        self,
        replicas: Replicas,
        leases: Leases,
        endings: Endings,
        config: AppConfig,
        clock: Callable[[], float],
        news: Callable[[], None],
    ) -> None:
        """`news` is called when there is more to write down than progress: a job has started."""
        self._replicas = replicas
        self._leases = leases
        self._endings = endings
        self._catalogue = {entry.id: entry for entry in config.catalogue}
        self._lanes = {entry.id: Lane(entry) for entry in config.catalogue}
        self._max_attempts = config.records.max_attempts
        self._clock = clock
        self._news = news

    async def run(self, driven: DrivenJob, make_job: MakeJob) -> Outcome:
        """Run a job until it succeeds. Raises the DarkroomError that it fails with, or LeaseLost."""
        record = driven.record
        lane = self._lanes.get(record.model_id)
        if lane is None:
            raise ModelNotFound(record.model_id)
        if driven.attempts > 0:  # under another driver
            lane.quarantine.enter(record.id)
        try:
            async with asyncio.timeout(record.deadline_at - self._clock()):
                return await self._attempts(driven, lane, await self._made(make_job))
        except TimeoutError as error:
            raise DeadlineExceeded(f"job {record.id}") from error
        finally:
            lane.quarantine.release(record.id)

    async def _attempts(self, driven: DrivenJob, lane: Lane, job: Img2ImgJob) -> Outcome:
        while True:
            try:
                return await self._attempt(driven, lane, job)
            except PixelsLost as lost:
                logger.warning("job %d lost its pixels: %s", driven.record.id, lost)
                driven.broke_off()
                await asyncio.sleep(PAUSE_S)
            except BrokenOff as broken:
                driven.broke_off()
                await self._broke_off(driven, lane, broken)
            driven.watch.lap(Stage.HANDOVER)  # what came to nothing is nobody's queue

    async def _broke_off(self, driven: DrivenJob, lane: Lane, broken: BrokenOff) -> None:
        """Count it. Raises AttemptsExhausted where the job is to blame, LeaseLost."""
        id, at = driven.record.id, time.monotonic()
        logger.warning("job %d broke off: %s", id, broken)
        await self._count_attempt(driven)
        if isinstance(broken, DiedAlone) and driven.attempts >= self._max_attempts:
            raise AttemptsExhausted(f"job {id} broke off {driven.attempts} times, at last alone")
        await asyncio.sleep(PAUSE_S)
        if not lane.quarantine.has(id) and not lane.quarantine.is_victim(at):
            lane.quarantine.enter(id)

    async def _made(self, make_job: MakeJob) -> Img2ImgJob:
        try:
            return await asyncio.to_thread(make_job)
        except (ValueError, OSError) as error:
            raise GenerationFailed(f"the records hold no job to run: {error}") from error

    async def _count_attempt(self, driven: DrivenJob) -> None:
        record = driven.record
        attempts = await _patiently(partial(self._leases.add_attempt, record.id, record.fence), RecordsUnavailable)
        if attempts is None:
            raise LeaseLost
        driven.attempts = attempts

    async def _attempt(self, driven: DrivenJob, lane: Lane, job: Img2ImgJob) -> Outcome:
        heard, waited = partial(self._heard, driven), partial(driven.watch.lap, Stage.QUEUE)
        async with lane.place(driven.record.id) as suspicion:
            waited()
            run = partial(self._replicas.generate, job, heard, suspicion)
            made = await _patiently(run, BUSY, TURN_S if suspicion else PAUSE_S, waited)
        driven.generated(made.seconds, self._clock())
        driven.watch.lap(Stage.HANDOVER)
        driven.watch.carve({Stage.QUEUE: made.queued_s, Stage.ENGINE: made.seconds}, Stage.HANDOVER, Stage.REACH)
        images = await self._finished(driven, made)
        driven.watch.lap(Stage.FINISH)
        return await _patiently(
            lambda: self._endings.success(driven.record, made, images, driven.watch.laps), StoreUnavailable
        )

    async def _finished(self, driven: DrivenJob, made: Generated) -> Sequence[StoredImage]:
        """Where postprocess dies, the same pixels are finished again: they are with the replica that made them."""
        order = self._order(driven.record, made)
        for _ in range(self._max_attempts):
            try:
                return await _patiently(lambda: self._replicas.finish(made, order), BUSY)
            except BrokenOff as broken:
                logger.warning("job %d broke off while it was finished: %s", driven.record.id, broken)
            await self._count_attempt(driven)
            await asyncio.sleep(PAUSE_S)
        raise AttemptsExhausted(f"job {driven.record.id} broke off {self._max_attempts} times while it was finished")

    def _heard(self, driven: DrivenJob, progress: Progress) -> None:
        driven.watch.first_lap(Stage.REACH)
        if driven.follow(progress, self._clock()):
            self._news()

    def _order(self, record: JobRecord, made: Generated) -> FinishOrder:
        asked = load_request(record.request)
        used = used_by(record, self._catalogue, made.sampler)
        merged = group_of(used.width, used.height, asked.tomesd).merged
        return FinishOrder(
            job_id=record.id,
            file_prefix=record.file_prefix,
            temporary=record.temporary,
            safety_check=asked.safety_checker,
            safety_type=asked.safety_checker_type,
            texts=tuple(png_texts(asked, used, sample, merged=merged) for sample in range(asked.samples)),
            deadline_at=record.deadline_at - STORE_SPARE_S,
            model_id=record.model_id,
        )


async def _patiently(
    work: Callable[[], Awaitable[T]],
    waits_out: type[DarkroomError] | tuple[type[DarkroomError], ...],
    pause_s: float = PAUSE_S,
    waited: Callable[[], None] = lambda: None,
) -> T:
    """Its result, tried again after these failures until the job's deadline ends the wait; `waited` hears of each."""
    while True:
        try:
            return await work()
        except waits_out as error:
            logger.info("a job waits: %s: %s", type(error).__name__, error)
        await asyncio.sleep(pause_s)
        waited()
