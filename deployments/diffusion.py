"""The GPU deployment: one model, one step engine, one device.

The event loop only takes jobs and hands out events, so health checks always answer.
Pixels leave as an object reference: they never pass through the ingress.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

import ray

from deployments.events import StreamEvent
from serve_app.config import ModelEntry
from serve_app.engine import build_engine
from serve_app.engine.loop import Event
from serve_app.errors import DarkroomError, Overloaded
from serve_app.messages import Img2ImgJob, Progress, Raster
from serve_app.pipelines import flight_bytes, load_pipeline, rows_per_call
from serve_app.prompts.weights import parse_weights
from serve_app.service.replicas import Generated, Suspicion

logger = logging.getLogger("ray.serve")
STALLED_SECONDS = 120.0
"""A job that makes no step for this long means a device that hangs."""
HEARTBEAT_S = 5.0
"""The driver hears something at least this often."""
LET_IN_S = 0.1
"""From the word that a suspect was let in to its start: that must arrive even if the job kills the replica at once."""
EMPTY_S, LOOK_S = 15.0, 0.05
"""How long a suspect that is to be alone waits for the jobs that were there before, and how often it looks."""


class Door:
    """Which jobs are on this replica, as far as it matters to suspects. Belongs to one event loop."""

    def __init__(self) -> None:
        self._jobs = 0
        self._suspicions: list[Suspicion] = []

    @contextmanager
    def inside(self, suspicion: Suspicion | None) -> Iterator[None]:
        """One job more. Raises Overloaded where suspects are there beside whom it may not run."""
        for other in self._suspicions:
            if other != suspicion and (other.alone or suspicion is not None):
                raise Overloaded("jobs run here of which one may be what kills replicas")
        self._jobs += 1
        self._suspicions += [] if suspicion is None else [suspicion]
        try:
            yield
        finally:
            self._jobs -= 1
            if suspicion is not None:
                self._suspicions.remove(suspicion)

    async def emptied(self, suspicion: Suspicion) -> None:
        """Wait for the others to leave, where it is to be alone; nobody is let in meanwhile. Raises Overloaded."""
        try:
            async with asyncio.timeout(EMPTY_S):
                while suspicion.alone and self._jobs > 1:
                    await asyncio.sleep(LOOK_S)
        except TimeoutError as error:
            raise Overloaded("other jobs run here, and this one is to be alone") from error


class Diffusion:
    """Serves one catalogue entry."""

    def __init__(self, entry: ModelEntry) -> None:
        pipeline = load_pipeline(entry, parse_weights)
        rows, held = rows_per_call(entry, pipeline), flight_bytes(entry, pipeline)
        told = "model %s: %d UNet rows a call at %d pixels, %d MiB for rows in flight"
        logger.info(told, entry.id, rows, entry.knee_pixels, held >> 20)
        self._steps = build_engine(entry, pipeline, rows, held)
        self._steps.start()
        self._door = Door()
        threading.Thread(target=pipeline.warm, name="warm", daemon=True).start()

    async def generate(self, job: Img2ImgJob, suspicion: Suspicion | None) -> AsyncGenerator[StreamEvent, None]:
        """Run a job: progress at once and every few seconds, then how it ended. Closing the stream cancels the job.

        Of suspects, whoever drives them, those of one group run at a time, and one that is to be alone has no other
        job beside it: who must wait is told that the replica is overloaded.
        """
        try:
            with self._door.inside(suspicion):
                if suspicion is not None:
                    await self._door.emptied(suspicion)
                    yield Progress(0, 0)
                    await asyncio.sleep(LET_IN_S)
                async with aclosing(self._run(job)) as events:
                    async for event in events:
                        yield event
        except Overloaded as full:
            yield full

    async def _run(self, job: Img2ImgJob) -> AsyncGenerator[StreamEvent, None]:
        events: asyncio.Queue[Event] = asyncio.Queue()
        here = asyncio.get_running_loop()

        def listen(event: Event) -> None:
            here.call_soon_threadsafe(events.put_nowait, event)

        try:
            ticket = self._steps.submit(job, listen, previews=True)
        except DarkroomError as error:
            yield error
            return
        event: Event = Progress(0, 0)
        try:
            while isinstance(event, Progress):
                yield event
                event = await self._next(events, event)
            yield _handed_over(event) if isinstance(event, Raster) else event
        finally:
            ticket.cancel()

    async def _next(self, events: "asyncio.Queue[Event]", last: Progress) -> Event:
        """What the engine tells next, or the last progress again. Raises what `check_health` raises."""
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                return await events.get()
        except TimeoutError:
            self.check_health()
            return last

    async def ready(self) -> None:
        """Its model is loaded, else nobody could call this, and its engine moves. Raises what `check_health` raises."""
        self.check_health()

    def check_health(self) -> None:
        """Ray's health check: the step thread lives and moves."""
        if not self._steps.alive:
            raise RuntimeError("the step thread has ended")
        if self._steps.stalled_s > STALLED_SECONDS:
            raise RuntimeError(f"no step for {self._steps.stalled_s:.0f} s")


def _handed_over(raster: Raster) -> Generated:
    return Generated(ray.put(raster.pixels), raster.sampler, raster.seconds, raster.queued_s)
