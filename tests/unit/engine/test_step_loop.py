"""The step loop on the real pipeline, at 64 px: order, progress, cancelling, failing, refusing, stopping."""

import queue
from collections.abc import Iterator

import numpy as np
import pytest

from models.pocket.world import Scene, draw
from serve_app.config import POCKET, Weights
from serve_app.engine.loop import Event, StepLoop
from serve_app.errors import Cancelled, GenerationFailed, InvalidFields, ModelUnavailable, Overloaded
from serve_app.messages import Img2ImgJob, Lora, Progress, Raster, SamplerChoice
from serve_app.pipelines.sd import SdPipeline

WAIT_SECONDS = 120
BROKEN_LORA = Weights(id="broken", source="models/pocket/there-is-no-such-file.safetensors")
INIT = draw(Scene("circle", "yellow", "green"), 64)


@pytest.fixture(scope="module")
def pipeline() -> SdPipeline:
    return SdPipeline(POCKET.model_copy(update={"torch_threads": 1, "loras": (BROKEN_LORA,)}))


@pytest.fixture
def loop(pipeline: SdPipeline) -> Iterator[StepLoop]:
    loop = StepLoop(pipeline, max_queued=2)
    yield loop
    loop.stop()


class Ear:
    """Hears a job's events."""

    def __init__(self) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        self.hear = self._events.put
        self.progress: list[Progress] = []

    def outcome(self) -> Event:
        while isinstance(event := self._events.get(timeout=WAIT_SECONDS), Progress):
            self.progress.append(event)
        return event

    def first(self) -> Event:
        return self._events.get(timeout=WAIT_SECONDS)

    def silent(self) -> bool:
        return self._events.empty()


def job(number: int = 1, **changes: object) -> Img2ImgJob:
    fields: dict[str, object] = {
        "id": number, "model_id": "pocket", "prompt": "a red star", "negative_prompt": "", "init_image": INIT,
        "samples": 1, "steps": 3, "guidance_scale": 5.0, "strength": 1.0, "seed": 1, **changes,
    }  # fmt: skip
    return Img2ImgJob(**fields)  # type: ignore[arg-type]


def test_a_job_ends_with_its_pixels_and_tells_its_progress_first(loop: StepLoop) -> None:
    ear = Ear()
    loop.start()
    loop.submit(job(samples=2), ear.hear)
    raster = ear.outcome()
    assert isinstance(raster, Raster)
    assert raster.pixels.shape == (2, 64, 64, 3)
    assert ear.progress[0] == Progress(0, 3)


def test_jobs_run_in_the_order_they_came(loop: StepLoop) -> None:
    order: list[int] = []
    ears = [Ear(), Ear()]
    for number, ear in enumerate(ears):

        def hear(event: Event, number: int = number, ear: Ear = ear) -> None:
            order.append(number)
            ear.hear(event)

        loop.submit(job(number), hear)
    loop.start()
    for ear in ears:
        ear.outcome()
    assert order == sorted(order)


def test_a_cancelled_job_stops_and_the_next_one_runs(loop: StepLoop) -> None:
    cancelled, served = Ear(), Ear()
    loop.start()
    ticket = loop.submit(job(steps=50), cancelled.hear)
    loop.submit(job(2), served.hear)
    assert isinstance(cancelled.first(), Progress)
    ticket.cancel()
    assert isinstance(cancelled.outcome(), Cancelled)
    assert isinstance(served.outcome(), Raster)


def test_a_job_cancelled_while_it_waits_never_starts(loop: StepLoop) -> None:
    ear = Ear()
    loop.submit(job(), ear.hear).cancel()
    loop.start()
    assert isinstance(ear.first(), Cancelled)


def test_a_job_that_breaks_fails_alone(loop: StepLoop) -> None:
    broken, served = Ear(), Ear()
    loop.start()
    loop.submit(job(loras=(Lora("broken", 1.0),)), broken.hear)
    loop.submit(job(2), served.hear)
    assert isinstance(broken.outcome(), GenerationFailed)
    assert isinstance(served.outcome(), Raster)


def test_an_impossible_sampler_is_the_clients_error(loop: StepLoop) -> None:
    ear = Ear()
    loop.start()
    loop.submit(job(sampler=SamplerChoice("KarrasVeScheduler")), ear.hear)
    assert isinstance(ear.outcome(), InvalidFields)


def test_a_full_queue_refuses_at_once(loop: StepLoop) -> None:
    for number in range(2):
        loop.submit(job(number), Ear().hear)
    assert loop.waiting == 2
    with pytest.raises(Overloaded):
        loop.submit(job(3), Ear().hear)
    loop.start()


def test_stopping_fails_the_jobs_that_wait_and_refuses_new_ones(pipeline: SdPipeline) -> None:
    loop, ear = StepLoop(pipeline, max_queued=2), Ear()
    loop.submit(job(), ear.hear)
    loop.stop()
    assert isinstance(ear.outcome(), ModelUnavailable)
    with pytest.raises(ModelUnavailable):
        loop.submit(job(), ear.hear)


def test_an_idle_loop_is_alive_and_not_stalled(loop: StepLoop) -> None:
    loop.start()
    ear = Ear()
    loop.submit(job(), ear.hear)
    ear.outcome()
    assert loop.alive
    assert loop.stalled_s < 60


def test_the_same_job_twice_gives_the_same_pixels(loop: StepLoop) -> None:
    loop.start()
    rasters = []
    for number in range(2):
        ear = Ear()
        loop.submit(job(number), ear.hear)
        rasters.append(ear.outcome())
    first, second = rasters
    assert isinstance(first, Raster)
    assert isinstance(second, Raster)
    assert np.array_equal(first.pixels, second.pixels)
