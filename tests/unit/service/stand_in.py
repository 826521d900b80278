"""A service without Ray: real records in a file, and replicas that do what a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from serve_app.access.admission import Admission
from serve_app.api.links import Links
from serve_app.api.wire import Img2ImgRequest, parse_img2img
from serve_app.config import POCKET, AppConfig, RecordsConfig, StorageConfig
from serve_app.messages import FinishOrder, Img2ImgJob, Pixels, Progress, StoredImage, picture_names
from serve_app.postprocess.encode import encode_png
from serve_app.postprocess.storage import PNG_TYPE, InMemoryStore
from serve_app.records.database import Database, migrate
from serve_app.records.jobs import Idempotency, JobRecord, JobRecords
from serve_app.records.leases import Claimed, Leases
from serve_app.records.outbox import Outbox
from serve_app.service.accepting import Accepter, Caller
from serve_app.service.driver import Driver
from serve_app.service.endings import Endings
from serve_app.service.replicas import Generated, Suspicion
from serve_app.service.runs import job_again
from serve_app.service.watching import Watcher

SIDE = 64
PATH = "/api/v3/img2img"
REQUEST = ContextVar("request", default="none")
"""What Serve sets for the handler of a request, and everything that it starts."""
BASE_URL = "http://here.test/"
SOON_S = 120.0
"""Longer than anything here takes on a busy machine; only a failing test waits for so long."""


@dataclass(eq=False)
class ScriptedReplicas:
    """Draws a plain square of the seed's grey. Before that each call of `generate` does what the script's next line
    says: an error is raised, an event is waited for."""

    store: InMemoryStore
    script: list[Exception | asyncio.Event] = field(default_factory=list)
    finish_script: list[Exception | asyncio.Event] = field(default_factory=list)
    started: list[int] = field(default_factory=list)
    """Ids of jobs, each time a run begins."""
    requests: list[str] = field(default_factory=list)
    """The request that each run could be cancelled with."""
    suspects: list[int] = field(default_factory=list)
    """Of those started."""
    running: set[int] = field(default_factory=set)
    most_running: int = 0
    cancelled: list[int] = field(default_factory=list)
    flagged: set[int] = field(default_factory=set)
    """Samples whose pictures the safety filter changes."""

    async def generate(
        self, job: Img2ImgJob, told: Callable[[Progress], None], suspicion: Suspicion | None
    ) -> Generated:
        """As the seam says."""
        self.started.append(job.id)
        self.suspects += [job.id] if suspicion else []
        self.requests.append(REQUEST.get())
        self.running.add(job.id)
        self.most_running = max(self.most_running, len(self.running))
        try:
            told(Progress(0, 0))
            told(Progress(1, 4, np.full((job.samples, 8, 8, 3), 1, np.uint8)))
            await _follow(self.script)
            return Generated(
                np.full((job.samples, SIDE, SIDE, 3), job.seed % 256, np.uint8), "DDIMScheduler", 0.5, 0.25
            )
        except asyncio.CancelledError:
            self.cancelled.append(job.id)
            raise
        finally:
            self.running.discard(job.id)

    async def finish(self, generated: Generated, order: FinishOrder) -> tuple[StoredImage, ...]:
        """As the seam says."""
        await _follow(self.finish_script)
        assert isinstance(generated.pixels, np.ndarray)
        names = picture_names(order.file_prefix, len(generated.pixels), order.temporary)
        for name, pixels, text in zip(names, generated.pixels, order.texts, strict=True):
            await self.store.put(name, encode_png(pixels, text.parameters, text.recipe), PNG_TYPE)
        return tuple(StoredImage(name, place in self.flagged) for place, name in enumerate(names))


async def _follow(script: list[Exception | asyncio.Event]) -> None:
    line = script.pop(0) if script else None
    if isinstance(line, Exception):
        raise line
    if line is not None:
        await line.wait()


class GreyPictures:
    """Every init image is the same."""

    async def picture(self, _: Img2ImgRequest) -> Pixels:
        """A grey square."""
        return np.full((SIDE, SIDE, 3), 128, np.uint8)


class Bench:
    """One process' parts over one database."""

    def __init__(self, folder: Path, store: InMemoryStore, **records: float) -> None:
        settings = RecordsConfig.model_validate({"tick_s": 0.05, "lease_s": 2.0, **records})
        self.config = AppConfig(storage=StorageConfig(data_dir=str(folder)), records=settings)
        migrate(self.config.records_url)
        self.catalogue = {POCKET.id: POCKET}
        self.store = store
        self.database = Database(self.config.records_url)
        self.records, self.leases = JobRecords(self.database), Leases(self.database)
        self.outbox = Outbox(self.database)
        self.replicas = ScriptedReplicas(store)
        endings = Endings(self.config.storage, self.catalogue, store)
        self.driver = Driver(self.replicas, self.leases, endings, self.config)
        self.watcher = Watcher(self.records, self.outbox, store, self.catalogue, self.driver)
        links = Links(self.config.storage, bytes(32))
        admission = Admission(self.database, max_waiting_jobs=8)
        self.accepter = Accepter(self.config, GreyPictures(), admission, self.records, links, self.driver)

    async def accept(self, idempotency: Idempotency | None = None, **fields: object) -> JobRecord:
        """A job that this process drives."""
        body = {"prompt": "a red star", "init_image": "aGk=", "seed": 7, "safety_checker": "no", **fields}
        asked = parse_img2img(body, model_required=False)
        return await self.accepter.accept(asked, POCKET, Caller("first", BASE_URL, PATH, idempotency))

    async def ended(self, id: int) -> JobRecord:
        """The job after its end."""
        record = await self.read(id)
        async with asyncio.timeout(SOON_S):
            while record.ended_at is None:
                await asyncio.sleep(0.02)
                record = await self.read(id)
        return record

    async def read(self, id: int) -> JobRecord:
        """The job, which is there."""
        record = await self.records.get(id)
        assert record is not None
        return record

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something in this process."""
        async with asyncio.timeout(SOON_S):
            while not holds():
                await asyncio.sleep(0.01)

    def drive(self, claimed: Claimed) -> None:
        """As a courier does."""
        self.driver.drive(claimed.record, partial(job_again, claimed))


@asynccontextmanager
async def bench(folder: Path, store: InMemoryStore | None = None, **records: float) -> AsyncIterator[Bench]:
    """A process that drives, until the block ends. `records` are settings of RecordsConfig."""
    made = Bench(folder, store or InMemoryStore(), **records)
    made.driver.start()
    try:
        yield made
    finally:
        await made.driver.close()
        await made.database.close()
