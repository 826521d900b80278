"""What waits for a store that is away: how long, how much, in which order. Time is made by hand."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from serve_app.errors import StorageFailed
from serve_app.postprocess.spool import LONGEST_PAUSE_S, Spool
from serve_app.postprocess.storage import InMemoryStore, StoredFile

PREFIX = "6ef3f81f-0d5a-4b7e-9c3e-2f1a0b9c8d7e"
FOUR = {f"{PREFIX}-{n}.png": bytes([n]) * 100 for n in range(4)}
NAMES = list(FOUR)
LATER = 1e12
"""A deadline that real time does not reach."""


class Time:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class AwayStore(InMemoryStore):
    """A store that refuses what it is told to; remembers what it was asked."""

    def __init__(self, refuses: Callable[[str], bool]) -> None:
        super().__init__()
        self.refuses = refuses
        self.asked: list[str] = []

    async def put(self, name: str, data: bytes, content_type: str) -> None:
        self.asked.append(name)
        if self.refuses(name):
            raise StorageFailed(f"{name}: connection refused")
        await super().put(name, data, content_type)


def until(hand: Time, end: float) -> Callable[[str], bool]:
    """Refuses everything until then."""
    return lambda _: hand.now < end


def spool_of(store: InMemoryStore, hand: Time, max_bytes: int = 10**9) -> Spool:
    return Spool(store, max_bytes, hand.clock, hand.sleep)


async def test_pictures_are_put_once_into_a_store_that_takes_them() -> None:
    store, hand = AwayStore(lambda _: False), Time()
    await spool_of(store, hand).put_all(FOUR, hand.now)
    assert store.asked == NAMES
    assert hand.pauses == []
    assert await store.get(NAMES[2]) == StoredFile(FOUR[NAMES[2]], "image/png")


async def test_only_the_pictures_that_failed_are_tried_again() -> None:
    hand = Time()
    store = AwayStore(lambda name: name == NAMES[1] and hand.now < 1010)
    await spool_of(store, hand).put_all(FOUR, LATER)
    assert store.asked[:4] == NAMES
    assert set(store.asked[4:]) == {NAMES[1]}
    assert (await store.get(NAMES[1])).data == FOUR[NAMES[1]]


async def test_pauses_grow_to_their_longest_and_differ_from_job_to_job() -> None:
    hands = [Time(), Time()]
    for hand in hands:
        await spool_of(AwayStore(until(hand, 1120)), hand).put_all(FOUR, LATER)
        assert hand.pauses[0] < 0.3
        assert all(pause <= LONGEST_PAUSE_S for pause in hand.pauses)
        assert all(pause >= LONGEST_PAUSE_S / 2 for pause in hand.pauses[6:])
        assert hand.now < 1120 + LONGEST_PAUSE_S
    assert hands[0].pauses != hands[1].pauses


async def test_the_last_try_is_at_the_deadline_and_its_failure_is_the_jobs() -> None:
    store, hand = AwayStore(lambda _: True), Time()
    with pytest.raises(StorageFailed, match="connection refused"):
        await spool_of(store, hand).put_all(FOUR, hand.now + 60)
    assert hand.now == pytest.approx(1060)
    assert len(store.asked) == 4 * (1 + len(hand.pauses))


async def test_a_store_that_is_back_in_the_last_moment_is_in_time() -> None:
    hand = Time()
    store = AwayStore(until(hand, 1060))
    await spool_of(store, hand).put_all(FOUR, 1060)
    assert (await store.get(NAMES[3])).data == FOUR[NAMES[3]]


async def test_a_deadline_that_has_passed_still_allows_one_try() -> None:
    store, hand = InMemoryStore(), Time()
    spool = spool_of(store, hand)
    async with spool.room(400, hand.now - 1):
        await spool.put_all(FOUR, hand.now - 1)
    assert (await store.get(NAMES[0])).data == FOUR[NAMES[0]]


async def test_a_name_that_no_store_takes_fails_at_once_and_stores_nothing() -> None:
    store, hand = AwayStore(lambda _: False), Time()
    with pytest.raises(StorageFailed, match="not a picture's name"):
        await spool_of(store, hand).put_all({**FOUR, "../x.png": b""}, LATER)
    assert (store.asked, hand.pauses) == ([], [])


async def test_what_is_no_failure_of_the_store_is_not_waited_out() -> None:
    class Broken(InMemoryStore):
        async def put(self, name: str, data: bytes, content_type: str) -> None:
            raise AttributeError(f"a bug: {name}, {len(data)} bytes, {content_type}")

    hand = Time()
    with pytest.raises(AttributeError):
        await spool_of(Broken(), hand).put_all({NAMES[0]: b""}, LATER)
    assert hand.pauses == []


class Room:
    """A job that holds room, or waits for it, until it is told to go."""

    def __init__(self, spool: Spool, size: int, deadline_at: float = LATER) -> None:
        self.inside = False
        self._go = asyncio.Event()
        self._job = asyncio.create_task(self._hold(spool, size, deadline_at))

    async def _hold(self, spool: Spool, size: int, deadline_at: float) -> None:
        async with spool.room(size, deadline_at):
            self.inside = True
            await self._go.wait()
        self.inside = False

    async def leave(self) -> None:
        self._go.set()
        await self._job

    async def cancel(self) -> None:
        self._job.cancel()
        await asyncio.gather(self._job, return_exceptions=True)


@asynccontextmanager
async def rooms(spool: Spool, *sizes: int) -> AsyncIterator[list[Room]]:
    jobs = [Room(spool, size) for size in sizes]
    await asyncio.sleep(0.01)
    yield jobs
    for job in jobs:
        await job.cancel()


def real_spool(max_bytes: int) -> Spool:
    return Spool(InMemoryStore(), max_bytes, time.time)


async def test_bytes_are_bounded_and_a_job_that_does_not_fit_waits_for_room() -> None:
    spool = real_spool(100)
    async with rooms(spool, 60, 30, 20) as jobs:
        assert [job.inside for job in jobs] == [True, True, False]
        assert (spool.waiting_bytes, spool.waiting_jobs) == (90, 3)
        await jobs[1].leave()
        await asyncio.sleep(0)
        assert jobs[2].inside
        assert (spool.waiting_bytes, spool.waiting_jobs) == (80, 2)
    assert (spool.waiting_bytes, spool.waiting_jobs) == (0, 0)


async def test_small_jobs_do_not_pass_a_large_one_in_the_line() -> None:
    spool = real_spool(100)
    async with rooms(spool, 60, 90, 10) as jobs:
        assert [job.inside for job in jobs] == [True, False, False]
        await jobs[0].leave()
        await asyncio.sleep(0)
        assert [job.inside for job in jobs] == [False, True, True]


async def test_a_job_larger_than_the_whole_spool_gets_it_alone() -> None:
    spool = real_spool(100)
    async with rooms(spool, 10, 500, 10) as jobs:
        assert [job.inside for job in jobs] == [True, False, False]
        await jobs[0].leave()
        await asyncio.sleep(0)
        assert [job.inside for job in jobs] == [False, True, False]
        await jobs[1].leave()
        await asyncio.sleep(0)
        assert jobs[2].inside


async def test_a_job_that_is_cancelled_in_the_line_lets_the_next_one_in() -> None:
    spool = real_spool(100)
    async with rooms(spool, 60, 90, 10) as jobs:
        await jobs[1].cancel()
        await asyncio.sleep(0)
        assert [job.inside for job in jobs] == [True, False, True]
        assert spool.waiting_jobs == 2


async def test_a_job_that_is_cancelled_as_it_gets_room_gives_it_back() -> None:
    spool = real_spool(100)
    async with rooms(spool, 100, 100, 100) as jobs:
        leaving = asyncio.create_task(jobs[0].leave())
        while spool.waiting_jobs == 3:
            await asyncio.sleep(0)
        await jobs[1].cancel()
        await leaving
        await asyncio.sleep(0)
        assert jobs[2].inside


async def test_a_job_that_gets_no_room_until_its_deadline_fails_and_leaves_the_line() -> None:
    spool = real_spool(100)
    async with rooms(spool, 60):
        with pytest.raises(StorageFailed, match="no room"):
            async with spool.room(50, time.time() + 0.05):
                pytest.fail("there was no room")
        assert spool.waiting_jobs == 1
