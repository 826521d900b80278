"""The last stage as a job sees it: what is stored, what is hidden, and that nothing gets past a broken check."""

import asyncio
import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from PIL import Image

from models.pocket.judge import judge
from models.pocket.world import Scene, draw
from serve_app.errors import RouteNotFound, SafetyCheckFailed, StorageFailed
from serve_app.messages import FinishOrder, Pixels, PngTexts, SafetyType, StoredImage
from serve_app.postprocess.flow import Postprocessor
from serve_app.postprocess.redact import redact
from serve_app.postprocess.safety import SafetyChecker
from serve_app.postprocess.spool import Spool
from serve_app.postprocess.storage import InMemoryStore, ObjectStore, StoredFile

PREFIX = "6ef3f81f-0d5a-4b7e-9c3e-2f1a0b9c8d7e"
ORDER = FinishOrder(
    7,
    PREFIX,
    temporary=False,
    safety_check=True,
    safety_type=SafetyType.CARD,
    texts=tuple(PngTexts(f"Seed: {n}", f"made {n}", f"Seed: {n}, hidden", f"hidden {n}") for n in range(3)),
    deadline_at=0.0,  # long past: a store is tried once
)
SKULL = draw(Scene("skull", "black", "white"), 64)
STAR = draw(Scene("star", "red", "blue"), 64)
HEART = draw(Scene("heart", "green", "yellow"), 64)
PICTURES = np.stack([STAR, SKULL, HEART])


@dataclass
class JudgingChecker:
    """Flags what the pocket world's judge calls a skull, and remembers how it was asked."""

    asked: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def flags(self, pixels: Pixels) -> tuple[bool, ...]:
        self.asked.append(len(pixels))
        self.threads.append(threading.get_ident())
        verdicts = tuple(judge(picture).thing == "skull" for picture in pixels)
        pixels[...] = 0  # as the diffusers model does to what it flags
        return verdicts


@dataclass
class Answering:
    """A checker that answers or raises what it is told."""

    answer: Callable[[Pixels], object]

    def flags(self, pixels: Pixels) -> tuple[bool, ...]:
        return self.answer(pixels)  # type: ignore[return-value]


def raising(failure: Exception) -> Callable[[Pixels], object]:
    def answer(_: Pixels) -> object:
        raise failure

    return answer


class FailingStore:
    """An in-memory store where puts of some names fail, after a moment."""

    def __init__(self, failing_puts: tuple[str, ...]) -> None:
        self.files = InMemoryStore()
        self.failing_puts = failing_puts

    async def put(self, name: str, data: bytes, content_type: str) -> None:
        await asyncio.sleep(0.01)
        if name in self.failing_puts:
            raise StorageFailed("the disk is full")
        await self.files.put(name, data, content_type)

    async def get(self, name: str) -> StoredFile:
        return await self.files.get(name)

    async def delete(self, name: str) -> None:
        await self.files.delete(name)


def named(n: int) -> str:
    return f"{PREFIX}-{n}.png"


def finisher(checker: SafetyChecker, store: ObjectStore) -> Postprocessor:
    return Postprocessor(checker, Spool(store, max_bytes=2**30, clock=time.time))


def shown(png: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(png)))


async def stored(store: ObjectStore) -> list[str]:
    """The names of this job that are in the store."""
    found = []
    for n in range(8):
        try:
            await store.get(named(n))
        except RouteNotFound:
            continue
        found.append(named(n))
    return found


async def test_only_the_flagged_picture_is_changed_and_the_flags_are_true() -> None:
    store = InMemoryStore()
    images = await finisher(JudgingChecker(), store).finish(PICTURES, ORDER)
    assert images == (StoredImage(named(0), False), StoredImage(named(1), True), StoredImage(named(2), False))
    np.testing.assert_array_equal(shown((await store.get(named(0))).data), STAR)
    np.testing.assert_array_equal(shown((await store.get(named(1))).data), redact(SKULL, SafetyType.CARD))
    np.testing.assert_array_equal(shown((await store.get(named(2))).data), HEART)


@pytest.mark.parametrize("kind", SafetyType)
async def test_the_flagged_picture_is_redacted_the_way_that_was_asked(kind: SafetyType) -> None:
    store = InMemoryStore()
    await finisher(JudgingChecker(), store).finish(PICTURES, replace(ORDER, safety_type=kind))
    hidden = shown((await store.get(named(1))).data)
    np.testing.assert_array_equal(hidden, redact(SKULL, kind))
    assert judge(hidden).thing != "skull"


async def test_without_a_requested_check_nobody_is_asked_and_nothing_is_changed() -> None:
    checker, store = JudgingChecker(), InMemoryStore()
    images = await finisher(checker, store).finish(PICTURES, replace(ORDER, safety_check=False))
    assert [image.flagged for image in images] == [False, False, False]
    assert checker.asked == []
    np.testing.assert_array_equal(shown((await store.get(named(1))).data), SKULL)


async def test_all_pictures_are_checked_in_one_call_off_the_event_loop() -> None:
    checker = JudgingChecker()
    await finisher(checker, InMemoryStore()).finish(PICTURES, ORDER)
    assert checker.asked == [3]
    assert checker.threads != [threading.get_ident()]


async def test_pixels_from_an_object_store_are_read_only_and_stay_as_they_were() -> None:
    pixels = PICTURES.copy()
    pixels.setflags(write=False)
    await finisher(JudgingChecker(), InMemoryStore()).finish(pixels, ORDER)
    np.testing.assert_array_equal(pixels, PICTURES)


async def test_files_are_pngs_that_hold_each_its_own_texts_and_say_what_was_replaced() -> None:
    store = InMemoryStore()
    await finisher(JudgingChecker(), store).finish(PICTURES, ORDER)
    for n in range(3):
        file = await store.get(named(n))
        assert file.content_type == "image/png"
        hidden = n == 1  # the skull
        info = Image.open(io.BytesIO(file.data)).info
        assert info["parameters"] == (f"Seed: {n}, hidden" if hidden else f"Seed: {n}")
        assert info["darkroom"] == (f"hidden {n}" if hidden else f"made {n}")


async def test_pictures_of_a_temporary_job_are_kept_apart() -> None:
    store = InMemoryStore()
    images = await finisher(JudgingChecker(), store).finish(PICTURES, replace(ORDER, temporary=True))
    assert [image.name for image in images] == [f"temp/{named(n)}" for n in range(3)]
    np.testing.assert_array_equal(shown((await store.get(images[0].name)).data), STAR)
    assert await stored(store) == []


BROKEN_CHECKS = {
    "raises its own failure": raising(SafetyCheckFailed("no model")),
    "raises RuntimeError": raising(RuntimeError("out of memory")),
    "raises OSError": raising(OSError("weights are gone")),
    "raises KeyError": raising(KeyError("config")),
    "answers nothing": lambda _: (),
    "answers too few": lambda _: (False, False),
    "answers too many": lambda _: (False, False, False, False),
    "answers None": lambda _: None,
    "answers something else than bools": lambda _: (None, None, None),
    "answers scores": lambda _: (0.0, 0.0, 0.0),
}


@pytest.mark.parametrize("answer", BROKEN_CHECKS.values(), ids=BROKEN_CHECKS.keys())
async def test_a_check_that_cannot_run_fails_the_job_and_lets_no_picture_through(
    answer: Callable[[Pixels], object],
) -> None:
    store = InMemoryStore()
    with pytest.raises(SafetyCheckFailed):
        await finisher(Answering(answer), store).finish(PICTURES, ORDER)
    assert await stored(store) == []


async def test_a_broken_checker_does_not_fail_a_job_that_asked_for_no_check() -> None:
    broken: SafetyChecker = Answering(raising(RuntimeError("out of memory")))
    images = await finisher(broken, InMemoryStore()).finish(PICTURES, replace(ORDER, safety_check=False))
    assert len(images) == 3


@pytest.mark.parametrize("failing", [0, 1, 2])
async def test_one_picture_that_cannot_be_stored_until_the_deadline_fails_the_job(failing: int) -> None:
    store = FailingStore(failing_puts=(named(failing),))
    with pytest.raises(StorageFailed, match="disk is full"):
        await finisher(JudgingChecker(), store).finish(PICTURES, ORDER)


async def test_a_job_is_done_once_a_store_that_was_away_has_all_pictures() -> None:
    store = FailingStore(failing_puts=(named(1),))
    order = replace(ORDER, deadline_at=time.time() + 60)
    finishing = asyncio.create_task(finisher(JudgingChecker(), store).finish(PICTURES, order))
    while len(await stored(store.files)) < 2:
        await asyncio.sleep(0.01)
    assert not finishing.done()
    store.failing_puts = ()
    assert len(await finishing) == 3
    assert await stored(store) == [named(0), named(1), named(2)]


async def test_a_late_attempt_that_is_cancelled_or_fails_takes_no_picture_from_the_one_that_succeeded() -> None:
    store = FailingStore(failing_puts=(named(1),))
    late = asyncio.create_task(
        finisher(JudgingChecker(), store).finish(PICTURES, replace(ORDER, deadline_at=time.time() + 60))
    )
    while len(await stored(store.files)) < 2:
        await asyncio.sleep(0.01)
    await finisher(JudgingChecker(), store.files).finish(PICTURES, ORDER)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    with pytest.raises(StorageFailed):
        await finisher(JudgingChecker(), store).finish(PICTURES, ORDER)
    await asyncio.sleep(0.05)
    assert await stored(store.files) == [named(0), named(1), named(2)]


async def test_pictures_are_not_made_before_there_is_room_for_them() -> None:
    checker, spool = JudgingChecker(), Spool(InMemoryStore(), max_bytes=PICTURES.nbytes, clock=time.time)
    order = replace(ORDER, deadline_at=time.time() + 60)
    async with spool.room(1, order.deadline_at):
        finishing = asyncio.create_task(Postprocessor(checker, spool).finish(PICTURES, order))
        await asyncio.sleep(0.05)
        assert checker.asked == []
    assert len(await finishing) == 3


async def test_jobs_are_finished_side_by_side() -> None:
    gate = threading.Barrier(2, timeout=900)

    def meet(pixels: Pixels) -> object:
        gate.wait()
        return (False,) * len(pixels)

    postprocessor = finisher(Answering(meet), InMemoryStore())
    other = replace(ORDER, file_prefix=PREFIX.replace("6", "7"))
    both = await asyncio.gather(postprocessor.finish(PICTURES, ORDER), postprocessor.finish(PICTURES, other))
    assert [len(images) for images in both] == [3, 3]


async def test_a_prefix_that_is_no_uuid_cannot_name_a_file() -> None:
    with pytest.raises(StorageFailed):
        await finisher(JudgingChecker(), InMemoryStore()).finish(PICTURES, replace(ORDER, file_prefix="../x"))
