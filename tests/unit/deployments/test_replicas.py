"""Ray's failures as the driver sees them. Handles are stand-ins: no cluster is started."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from types import SimpleNamespace

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, OwnerDiedError, WorkerCrashedError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from deployments.events import StreamEvent
from deployments.replicas import RayReplicas
from serve_app.errors import DarkroomError, GenerationFailed, ModelUnavailable, Overloaded, StorageFailed
from serve_app.messages import FinishOrder, Img2ImgJob, Progress, SafetyType, StoredImage
from serve_app.service.replicas import BrokenOff, Generated, PixelsLost, Suspicion

JOB = Img2ImgJob(7, "pocket", "a red star", "", np.zeros((64, 64, 3), np.uint8), 1, 10, 7.5, 0.7, 42)
ORDER = FinishOrder(7, "p", False, False, SafetyType.BLUR, (), 1e12)
MADE = Generated("a reference", "DDIMScheduler", 0.5)
UNAVAILABLE = DeploymentUnavailableError(DeploymentID("Diffusion-pocket"))
STALL_S = 0.1
Line = StreamEvent | Exception | None
"""An event, a failure of the stream, or None for silence."""


class Stream:
    """What a streaming call gives."""

    def __init__(self, lines: list[Line]) -> None:
        self._lines = lines
        self.cancelled = False

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self

    async def __anext__(self) -> StreamEvent:
        if not self._lines:
            raise StopAsyncIteration
        line = self._lines.pop(0)
        if line is None:
            await asyncio.sleep(60)
        if isinstance(line, Exception) and not isinstance(line, DarkroomError):
            raise line
        assert line is not None
        return line

    def cancel(self) -> None:
        """Taken note of."""
        self.cancelled = True


class Response:
    """What a plain call gives."""

    def __init__(self, outcome: object) -> None:
        self._outcome = outcome
        self.cancelled = False

    def __await__(self) -> Generator[None, None, object]:
        return self._wait().__await__()

    async def _wait(self) -> object:
        if self._outcome is None:
            await asyncio.sleep(60)
        if isinstance(self._outcome, Exception) and not isinstance(self._outcome, DarkroomError):
            raise self._outcome
        return self._outcome

    def cancel(self) -> None:
        """Taken note of."""
        self.cancelled = True


def handle(name: str, answer: object) -> DeploymentHandle:
    """A handle whose method gives this."""
    method = SimpleNamespace(remote=lambda *_: answer)
    return SimpleNamespace(options=lambda **_: SimpleNamespace(**{name: method}), **{name: method})


SUSPICION = Suspicion("a group", alone=False)


def generating(stream: Stream, suspicion: Suspicion | None = None) -> Callable[[], "asyncio.Future[Generated]"]:
    """A call of `generate` that gets this stream."""
    replicas = RayReplicas({"pocket": handle("generate", stream)}, handle("finish", None), STALL_S)
    return lambda: asyncio.ensure_future(replicas.generate(JOB, lambda _: None, suspicion))


def finishing(response: Response) -> Callable[[], "asyncio.Future[tuple[StoredImage, ...]]"]:
    """A call of `finish` that gets this response."""
    replicas = RayReplicas({}, handle("finish", response))
    return lambda: asyncio.ensure_future(replicas.finish(MADE, ORDER))


async def test_progress_is_told_until_the_pixels_are_there() -> None:
    stream, heard = Stream([Progress(0, 0), Progress(3, 10), MADE]), list[Progress]()
    replicas = RayReplicas({"pocket": handle("generate", stream)}, handle("finish", None), STALL_S)
    assert await replicas.generate(JOB, heard.append, None) == MADE
    assert heard == [Progress(0, 0), Progress(3, 10)]


@pytest.mark.parametrize(
    "failure",
    [
        [ActorDiedError()],
        [Progress(0, 0), ActorDiedError()],
        [Progress(0, 0), ActorUnavailableError("away", None)],
        [Progress(0, 0), WorkerCrashedError()],
        [Progress(0, 0), None],
        [Progress(0, 0)],
        [],
    ],
)
async def test_a_replica_that_dies_or_falls_silent_breaks_the_run_off(failure: list[Line]) -> None:
    stream = Stream(failure)
    with pytest.raises(BrokenOff):
        await generating(stream)()
    assert stream.cancelled


async def test_a_suspect_is_to_blame_for_a_death_only_once_it_was_let_in() -> None:
    with pytest.raises(ModelUnavailable):
        await generating(Stream([ActorDiedError()]), SUSPICION)()
    with pytest.raises(BrokenOff):
        await generating(Stream([Progress(0, 0), ActorDiedError()]), SUSPICION)()


@pytest.mark.parametrize("failure", [[None], [BackPressureError(3, 3)], [UNAVAILABLE]])
async def test_a_replica_that_never_took_the_job_is_not_to_be_blamed(failure: list[Line]) -> None:
    with pytest.raises(ModelUnavailable):
        await generating(Stream(failure))()


@pytest.mark.parametrize("error", [GenerationFailed("why"), Overloaded()])
async def test_what_the_engine_tells_is_raised_as_it_is(error: DarkroomError) -> None:
    with pytest.raises(type(error)):
        await generating(Stream([Progress(0, 0), error]))()


async def test_a_cancelled_call_cancels_the_work() -> None:
    stream, response = Stream([Progress(0, 0), None]), Response(None)
    made, stored = generating(stream)(), finishing(response)()
    await asyncio.sleep(0.02)
    made.cancel()
    stored.cancel()
    await asyncio.wait([made])
    await asyncio.wait([stored])
    assert (made.cancelled(), stored.cancelled()) == (True, True)
    assert (stream.cancelled, response.cancelled) == (True, True)


async def test_stored_pictures_come_back() -> None:
    stored = (StoredImage("p-0.png", False),)
    assert await finishing(Response(stored))() == stored


@pytest.mark.parametrize(
    ("answer", "ours"),
    [
        (ActorDiedError(), BrokenOff),
        (OwnerDiedError("00" * 28, None, ""), PixelsLost),
        (UNAVAILABLE, ModelUnavailable),
        (StorageFailed("full"), StorageFailed),
    ],
)
async def test_what_goes_wrong_in_postprocess(answer: Exception, ours: type[Exception]) -> None:
    with pytest.raises(ours):
        await finishing(Response(answer))()
