"""The step loop on the real pipeline, at 64 px: sharing calls, progress, cancelling, failing, refusing, stopping."""

import queue
import random
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from models.pocket.world import Scene, draw
from serve_app.config import POCKET, Weights
from serve_app.engine import build_engine
from serve_app.engine.loop import Event, StepLoop
from serve_app.errors import Cancelled, GenerationFailed, ModelUnavailable, Overloaded
from serve_app.messages import SAMPLER_NAMES, Img2ImgJob, Lora, Progress, Raster, SamplerChoice
from serve_app.pipelines import flight_bytes, rows_per_call
from serve_app.pipelines.rows import LatentRow
from serve_app.pipelines.sd import SdPipeline
from serve_app.prompts.weights import parse_weights

WAIT_SECONDS = 120
BROKEN_LORA = Weights(id="broken", source="models/pocket/there-is-no-such-file.safetensors")
ENTRY = POCKET.model_copy(update={"torch_threads": 1, "loras": (BROKEN_LORA,), "max_jobs": 8})
INIT = draw(Scene("circle", "yellow", "green"), 64)


class Watched(SdPipeline):
    """The real pipeline; it notes the rows of each call, and breaks calls and spoils rows where a test says so."""

    calls: list[list[int]]
    breaks: list[Exception]
    spoilt: set[int]
    """Jobs whose rows the model turns into numbers that are not finite."""

    def denoise(self, rows: Sequence[LatentRow]) -> torch.Tensor:
        """As the real one, unless the test wants it to break."""
        self.calls.append([row.draft.job.id for row in rows])
        if self.breaks:
            raise self.breaks.pop(0)
        output = super().denoise(rows).clone()
        output[[row.draft.job.id in self.spoilt for row in rows]] = torch.nan
        return output


@pytest.fixture(scope="module")
def loaded() -> Watched:
    return Watched(ENTRY, parse_weights)


@pytest.fixture
def pipeline(loaded: Watched) -> Watched:
    loaded.calls, loaded.breaks, loaded.spoilt = [], [], set()
    return loaded


@pytest.fixture
def resting(pipeline: Watched) -> Iterator[StepLoop]:
    """A loop that is not started: jobs wait until a test starts it."""
    loop = build_engine(ENTRY, pipeline, rows_per_call(ENTRY, pipeline), flight_bytes(ENTRY, pipeline))
    yield loop
    loop.stop()


@pytest.fixture
def loop(resting: StepLoop) -> StepLoop:
    resting.start()
    return resting


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


def job(number: int = 1, **changes: object) -> Img2ImgJob:
    fields: dict[str, object] = {
        "id": number, "model_id": "pocket", "prompt": "a red star", "negative_prompt": "", "init_image": INIT,
        "samples": 1, "steps": 3, "guidance_scale": 5.0, "strength": 1.0, "seed": 1, **changes,
    }  # fmt: skip
    return Img2ImgJob(**fields)  # type: ignore[arg-type]


def submit(loop: StepLoop, *jobs: Img2ImgJob) -> list[Ear]:
    ears = [Ear() for _ in jobs]
    for asked, ear in zip(jobs, ears, strict=True):
        loop.submit(asked, ear.hear)
    return ears


def start_with(loop: StepLoop, *jobs: Img2ImgJob) -> list[Ear]:
    """Start a resting loop when all jobs are prepared, so that the first tick has them all."""
    ears = submit(loop, *jobs)
    deadline = time.monotonic() + WAIT_SECONDS
    while loop._inbox.qsize() < len(jobs) and time.monotonic() < deadline:
        time.sleep(0.01)
    loop.start()
    return ears


def pixels(ear: Ear) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    raster = ear.outcome()
    assert isinstance(raster, Raster), raster
    return raster.pixels


def test_a_job_ends_with_its_pixels_and_tells_its_progress_first(loop: StepLoop) -> None:
    (ear,) = submit(loop, job(samples=2))
    assert pixels(ear).shape == (2, 64, 64, 3)
    assert ear.progress[0] == Progress(0, 6)


def test_previews_come_only_where_they_were_asked_for(loop: StepLoop) -> None:
    heard: list[Event] = []
    done = threading.Event()

    def hear(event: Event) -> None:
        heard.append(event)
        if not isinstance(event, Progress):
            done.set()

    loop.submit(job(steps=50, samples=3), hear, previews=True)
    assert done.wait(WAIT_SECONDS)
    shown = [event.preview for event in heard if isinstance(event, Progress) and event.preview is not None]
    assert all(preview.shape == (3, 8, 8, 3) for preview in shown)
    (ear,) = submit(loop, job(steps=10))
    ear.outcome()
    assert all(progress.preview is None for progress in ear.progress)


def test_jobs_that_agree_in_nothing_but_size_share_a_call(resting: StepLoop, pipeline: Watched) -> None:
    jobs = [job(n, sampler=SamplerChoice(SAMPLER_NAMES[n]), steps=3 + n, strength=0.5 + n / 20) for n in range(6)]
    for ear in start_with(resting, *jobs):
        pixels(ear)
    assert max(map(len, pipeline.calls)) == 6


def test_a_job_joins_those_in_flight_at_the_next_tick(loop: StepLoop, pipeline: Watched) -> None:
    (long,) = submit(loop, job(1, steps=50))
    assert isinstance(long.first(), Progress)
    (short,) = submit(loop, job(2, steps=2))
    pixels(short)
    assert not isinstance(long.outcome(), Cancelled)
    assert [1, 2] in pipeline.calls
    assert pipeline.calls[-1] == [1], "the long one ended after the short one"


def test_different_sizes_take_turns_and_neither_blocks_the_other(resting: StepLoop, pipeline: Watched) -> None:
    small, large = start_with(
        resting, job(1, steps=20), job(2, steps=20, init_image=draw(Scene("star", "red", "white"), 128))
    )
    assert pixels(small).shape[1] == 64
    assert pixels(large).shape[1] == 128
    assert all(len(set(call)) == 1 for call in pipeline.calls)


def test_small_jobs_run_beside_a_large_one_and_end_before_it(loop: StepLoop, pipeline: Watched) -> None:
    picture = draw(Scene("star", "red", "white"), 512)
    (large,) = submit(loop, job(1, steps=50, guidance_scale=1.0, init_image=picture))
    until = time.monotonic() + WAIT_SECONDS
    while not pipeline.calls and time.monotonic() < until:
        time.sleep(0.01)
    small = submit(loop, job(2, steps=4), job(3, steps=4, init_image=draw(Scene("star", "red", "white"), 128)))
    for ear in small:
        pixels(ear)
    assert loop.jobs == 1, "the large one is still at work"
    firsts = [next(place for place, call in enumerate(pipeline.calls) if number in call) for number in (2, 3)]
    lasts = [max(place for place, call in enumerate(pipeline.calls) if number in call) for number in (2, 3)]
    assert [1] not in pipeline.calls[min(firsts) : min(lasts)], "none of its calls between theirs"
    loop.stop()
    assert isinstance(large.outcome(), ModelUnavailable)


def test_what_a_row_holds_is_counted_in_the_bytes_of_its_tensors(pipeline: Watched) -> None:
    heavy = job(sampler=SamplerChoice("DPMSolverMultistepScheduler"), steps=8, prompt="a red star, " * 60, samples=3)
    ((row, *others),) = pipeline.encode([pipeline.prepare(heavy)])
    for _ in range(7):
        pipeline.advance([row], pipeline.denoise([row]))
    assert row.negative is not None
    texts = {id(text.embeds): text.embeds for text in (row.prompt, row.negative)}
    begun = [other.latents for other in others]
    tensors = [row.latents, *begun, *texts.values(), *(kept for kind in row.past for kept in kind)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    assert 0.7 * row.held <= sum(storages.values()) <= row.held


def test_a_job_waits_while_memory_is_full_and_runs_when_there_is_room(pipeline: Watched) -> None:
    loop = build_engine(ENTRY, pipeline, rows_per_call=16, flight_bytes=pipeline.prepare(job()).held)
    try:
        made = [ear.outcome() for ear in start_with(loop, *(job(number, steps=3) for number in (1, 2)))]
    finally:
        loop.stop()
    first, second = sorted((one for one in made if isinstance(one, Raster)), key=lambda raster: raster.queued_s)
    assert second.queued_s >= first.seconds, "waiting for another's end is told as waiting"
    assert sorted(map(tuple, pipeline.calls)) == [(1,)] * 3 + [(2,)] * 3


def test_a_cancelled_job_leaves_at_the_next_tick_and_the_others_stay_the_same(loop: StepLoop) -> None:
    alone = pixels(submit(loop, job(2, steps=8))[0])
    cancelled, served = Ear(), Ear()
    ticket = loop.submit(job(steps=50), cancelled.hear)
    loop.submit(job(2, steps=8), served.hear)
    assert isinstance(cancelled.first(), Progress)
    ticket.cancel()
    assert isinstance(cancelled.outcome(), Cancelled)
    assert np.abs(pixels(served).astype(int) - alone).max() <= 1
    assert (loop.jobs, loop.rows) == (0, 0)


def test_a_job_whose_file_is_missing_fails_alone(loop: StepLoop) -> None:
    broken, served = submit(loop, job(loras=(Lora("broken", 1.0),)), job(2))
    assert isinstance(broken.outcome(), GenerationFailed)
    pixels(served)


class OutOfMemoryError(RuntimeError):
    """As torch names its own on every device."""


@pytest.mark.parametrize("error", [OutOfMemoryError("full"), RuntimeError("broke")])
def test_a_call_that_breaks_is_tried_again_in_two_halves(
    resting: StepLoop, pipeline: Watched, error: Exception
) -> None:
    pipeline.breaks = [error]
    for ear in start_with(resting, *(job(n) for n in range(4))):
        pixels(ear)
    sizes = [len(call) for call in pipeline.calls]
    broken = sizes.index(max(sizes))
    assert sizes[broken + 1] + sizes[broken + 2] == sizes[broken]


def test_a_half_that_breaks_again_fails_its_own_rows_only(resting: StepLoop, pipeline: Watched) -> None:
    pipeline.breaks = [RuntimeError("first"), RuntimeError("second")]
    ears = start_with(resting, *(job(n) for n in range(4)))
    outcomes = [ear.outcome() for ear in ears]
    failed = [outcome for outcome in outcomes if isinstance(outcome, GenerationFailed)]
    assert 0 < len(failed) < 4
    assert all("RuntimeError" in failure.detail for failure in failed)
    assert sum(isinstance(outcome, Raster) for outcome in outcomes) == 4 - len(failed)
    pixels(submit(resting, job(9))[0])
    assert (resting.jobs, resting.rows) == (0, 0)


def test_a_row_that_is_no_picture_fails_alone_though_others_end_with_it(resting: StepLoop, pipeline: Watched) -> None:
    pipeline.spoilt = {2}
    first, spoilt, last = start_with(resting, job(1), job(2), job(3, seed=7))
    reason = spoilt.outcome()
    assert isinstance(reason, GenerationFailed)
    assert "not finite" in reason.detail
    together = pixels(first), pixels(last)
    pipeline.spoilt = set()
    for picture, ear in zip(together, submit(resting, job(4), job(5, seed=7)), strict=True):
        assert np.abs(picture.astype(int) - pixels(ear)).max() <= 1
    assert (resting.jobs, resting.rows) == (0, 0)


def test_too_many_jobs_are_refused_at_once(resting: StepLoop) -> None:
    ears = submit(resting, *(job(n) for n in range(8)))
    with pytest.raises(Overloaded):
        resting.submit(job(9), Ear().hear)
    resting.start()
    for ear in ears:
        pixels(ear)


def test_stopping_fails_the_jobs_that_wait_and_refuses_new_ones(resting: StepLoop) -> None:
    (ear,) = submit(resting, job())
    resting.stop()
    assert isinstance(ear.outcome(), ModelUnavailable)
    with pytest.raises(ModelUnavailable):
        resting.submit(job(), ear.hear)


def test_strength_zero_returns_the_init_image(loop: StepLoop, pipeline: Watched) -> None:
    (ear,) = submit(loop, job(strength=0.0, samples=2))
    assert np.array_equal(pixels(ear), np.stack([INIT] * 2))
    assert pipeline.calls == []


def test_an_idle_loop_is_alive_and_not_stalled(loop: StepLoop) -> None:
    submit(loop, job())[0].outcome()
    assert loop.alive
    assert loop.stalled_s < 60


def test_the_same_job_twice_gives_the_same_pixels(loop: StepLoop) -> None:
    first, second = (pixels(submit(loop, job(number))[0]) for number in range(2))
    assert np.array_equal(first, second)


def test_random_traffic_with_cancels_leaves_nothing_behind(loop: StepLoop) -> None:
    rng = random.Random(5)
    waiting: list[Ear] = []
    for number in range(40):
        if len(waiting) == ENTRY.max_jobs:
            assert isinstance(waiting.pop(0).outcome(), Raster | Cancelled)
        sampler = SamplerChoice(rng.choice(SAMPLER_NAMES))
        asked = job(number, steps=rng.randint(1, 6), samples=rng.randint(1, 2), sampler=sampler,
                    guidance_scale=rng.choice([1.0, 5.0]), strength=rng.random())  # fmt: skip
        waiting.append(Ear())
        ticket = loop.submit(asked, waiting[-1].hear)
        if rng.random() < 0.3:
            ticket.cancel()
    assert all(isinstance(ear.outcome(), Raster | Cancelled) for ear in waiting)
    assert (loop.jobs, loop.rows, loop.backlog) == (0, 0, 0)
