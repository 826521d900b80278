"""Ray's side of the driver's seam: holds the handles, so that replicas need not know each other.

Ray's failures become ours here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager

from ray.exceptions import ObjectLostError, RayError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle

from deployments.events import StreamEvent
from serve_app.errors import DarkroomError, ModelUnavailable
from serve_app.messages import FinishOrder, Img2ImgJob, Progress, StoredImage
from serve_app.service.replicas import BrokenOff, Generated, PixelsLost, Suspicion

STALL_S = 20.0
"""A replica that says nothing for so long is dead to its job: a healthy one says something every 5 seconds."""


class RayReplicas:
    """The deployments behind their handles."""

    def __init__(
        self, models: Mapping[str, DeploymentHandle], postprocess: DeploymentHandle, stall_s: float = STALL_S
    ) -> None:
        self._models = models
        self._postprocess = postprocess
        self._stall_s = stall_s

    async def generate(
        self, job: Img2ImgJob, told: Callable[[Progress], None], suspicion: Suspicion | None
    ) -> Generated:
        """As the seam says.

        Silence of a replica that was never heard breaks nothing off: that is ModelUnavailable. Its death does, for a
        job may kill it before its first word arrives; but not a suspect's run, which begins after that word.
        """
        stream = self._models[job.model_id].options(stream=True).generate.remote(job, suspicion)
        heard = False
        try:
            while not isinstance(event := await self._next(stream, heard), Generated):
                heard = True
                if not isinstance(event, Progress):
                    raise event
                told(event)
            return event
        except BrokenOff as broken:
            if suspicion and not heard:
                raise ModelUnavailable(f"it died before it let the job in: {broken}") from broken
            raise
        finally:
            stream.cancel()

    async def finish(self, generated: Generated, order: FinishOrder) -> tuple[StoredImage, ...]:
        """As the seam says."""
        with _failures_as_ours():
            response = self._postprocess.finish.remote(generated.pixels, order)
            try:
                images: tuple[StoredImage, ...] | DarkroomError = await response
            except asyncio.CancelledError:
                response.cancel()
                raise
            except ObjectLostError as error:
                raise PixelsLost(str(error)) from error
        if isinstance(images, DarkroomError):
            raise images
        return images

    async def model_answers(self, model_id: str) -> None:
        """Returns when a replica of this model has said that it is well. Raises ModelUnavailable and BrokenOff."""
        await self._well(self._models[model_id])

    async def postprocess_answers(self) -> None:
        """The same of postprocess."""
        await self._well(self._postprocess)

    async def _well(self, deployment: DeploymentHandle) -> None:
        with _failures_as_ours():
            response = deployment.ready.remote()
            try:
                await response
            except asyncio.CancelledError:
                response.cancel()
                raise

    async def _next(self, stream: AsyncIterator[StreamEvent], heard: bool) -> StreamEvent:
        try:
            with _failures_as_ours():
                async with asyncio.timeout(self._stall_s):
                    return await anext(stream)
        except StopAsyncIteration as error:
            raise BrokenOff("the replica's stream ended without an outcome") from error
        except TimeoutError as error:
            silence = f"nothing was heard for {self._stall_s:g} s"
            raise (BrokenOff(silence) if heard else ModelUnavailable(silence)) from error


@contextmanager
def _failures_as_ours() -> Iterator[None]:
    try:
        yield
    except (BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError) as error:
        raise ModelUnavailable(f"{type(error).__name__}: {error}") from error
    except (RayError, RayServeException) as error:
        raise BrokenOff(f"{type(error).__name__}: {error}") from error
