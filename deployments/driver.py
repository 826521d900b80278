"""Drives one job through the deployments: pixels from a diffusion replica, pictures from postprocess.

Holds the handles, so that replicas need not know each other. Ray's failures become ours here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.events import Finished, StreamEvent
from serve_app.errors import DarkroomError, DeadlineExceeded, GenerationFailed, ModelUnavailable, Overloaded
from serve_app.messages import FinishOrder, Img2ImgJob, Progress, StoredImage

Orderer = Callable[[Finished], FinishOrder]
"""Says what postprocess does, once it is known what made the pixels."""


class Driver:
    """Runs jobs to their end within a deadline in seconds."""

    def __init__(
        self, models: Mapping[str, DeploymentHandle], postprocess: DeploymentHandle, deadline_s: float
    ) -> None:
        self._models = models
        self._postprocess = postprocess
        self._deadline_s = deadline_s

    async def run(self, job: Img2ImgJob, order: Orderer) -> tuple[Finished, tuple[StoredImage, ...]]:
        """Run a job. Raises `ServiceError` or `JobError`; being cancelled cancels it on its replica."""
        async with _failures_as_ours(self._deadline_s):
            finished = await self._generate(job)
            images = await self._postprocess.finish.remote(finished.pixels, order(finished))
        if isinstance(images, DarkroomError):
            raise images
        return finished, images

    async def _generate(self, job: Img2ImgJob) -> Finished:
        stream = self._models[job.model_id].options(stream=True).generate.remote(job)
        try:
            return await _last(stream)
        finally:
            stream.cancel()


async def _last(stream: AsyncIterator[StreamEvent]) -> Finished:
    async for event in stream:
        if isinstance(event, Finished):
            return event
        if not isinstance(event, Progress):
            raise event
    raise GenerationFailed("the replica's stream ended without an outcome")


@asynccontextmanager
async def _failures_as_ours(deadline_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded(f"more than {deadline_s:g} s") from error
    except BackPressureError as error:
        raise Overloaded(str(error)) from error
    except (DeploymentUnavailableError, RayServeException, RayError) as error:
        raise ModelUnavailable(f"{type(error).__name__}: {error}") from error
