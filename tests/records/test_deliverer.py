"""Couriers at work: shared slots, lost leases, sudden ends, records that go away."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.config import PROJECT
from serve_app.errors import RecordsUnavailable
from serve_app.records.database import Database
from serve_app.records.outbox import HookState, Outbox
from serve_app.webhooks.deliverer import Deliverer
from tests.records.delivering import PATIENCE_S, delivering, marked, on_sqlite_alone, put, until, verified
from tests.servers.hook_receiver import HookReceiver, hang, receiving, status


@pytest.fixture
async def receiver() -> AsyncIterator[HookReceiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def deliverer(database: Database) -> AsyncIterator[Deliverer]:
    async with delivering(database) as deliverer:
        yield deliverer


@on_sqlite_alone
async def test_a_dead_host_does_not_hold_up_a_good_one(database: Database, receiver: HookReceiver) -> None:
    async with receiving("127.0.0.2") as dead, delivering(database, timeout_s=60) as deliverer:
        dead.answer("/", hang)
        await put(database, [f"{dead.url}/"] * 300)
        await put(database, [f"{receiver.url}/"] * 20, first_job=1001)
        begun = time.monotonic()
        while len(receiver.received) < 20:
            await deliverer.round(time.time())
            await asyncio.sleep(0.2)
            assert time.monotonic() - begun < PATIENCE_S
        assert len(dead.received) == dead.most_connections == 4
        assert receiver.most_connections <= 4
        for request in receiver.received:
            await verified(database, request)


@on_sqlite_alone
@pytest.mark.parametrize("url", ["http://user:hidden@127.0.0.1:9/", "ftp://127.0.0.1/", "http://127.0.0.1:0/"])
async def test_a_webhook_that_can_never_be_sent_is_given_up_at_once_with_the_reason(
    database: Database, deliverer: Deliverer, url: str
) -> None:
    await put(database, [url])
    assert await deliverer.round(time.time()) == 1
    record = await marked(database)
    assert (record.state, record.attempts) == (HookState.DEAD, 1)
    assert record.last_error is not None
    assert record.last_error.startswith("TargetRefused: ")
    assert "hidden" not in record.last_error


@on_sqlite_alone
async def test_a_fast_host_is_not_slowed_to_its_slots_a_round(database: Database, receiver: HookReceiver) -> None:
    async with delivering(database, per_host=2) as deliverer:
        entries = await put(database, [f"{receiver.url}/"] * 30)
        assert await deliverer.round(time.time()) == 2
        await until(lambda: len(receiver.received) == 30)
        await marked(database, 30)
    assert {request.headers["webhook-id"] for request in receiver.received} == {entry.id for entry in entries}
    assert receiver.most_connections <= 2


@on_sqlite_alone
async def test_a_courier_takes_no_more_at_once_than_it_may(database: Database, receiver: HookReceiver) -> None:
    receiver.answer("/", hang)
    await put(database, [f"{receiver.url}/"] * 10)
    async with delivering(database, at_once=3, per_host=9) as deliverer:
        assert [await deliverer.round(time.time()) for _ in range(2)] == [3, 0]


async def test_several_couriers_send_everything_once(database_url: str, receiver: HookReceiver) -> None:
    one, other = Database(database_url), Database(database_url)
    async with delivering(one, "a", per_host=8) as first, delivering(other, "b", per_host=8) as second:
        await put(one, [f"{receiver.url}/"] * 40)
        while len(receiver.received) < 40:
            await asyncio.gather(first.round(time.time()), second.round(time.time()))
            await asyncio.sleep(0.05)
        await asyncio.gather(*(marked(one, job) for job in range(1, 41)))
    assert len({request.headers["webhook-id"] for request in receiver.received}) == len(receiver.received) == 40
    await one.close()
    await other.close()


async def test_a_courier_killed_between_send_and_mark_costs_a_duplicate_with_the_same_id(
    database_url: str, receiver: HookReceiver
) -> None:
    database = Database(database_url)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.records.courier_child", database_url, cwd=PROJECT
    )

    async def kill(writer: asyncio.StreamWriter) -> None:
        child.send_signal(signal.SIGKILL)
        await child.wait()
        await status("200 OK")(writer)

    receiver.answer("/", kill, status("200 OK"))
    [entry] = await put(database, [f"{receiver.url}/"])
    await until(lambda: child.returncode is not None)
    async with delivering(database) as deliverer:
        assert await deliverer.round(time.time()) == 0, "the dead courier's lease still holds"
        assert await deliverer.round(time.time() + 21) == 1
        assert (await marked(database)).state == HookState.DELIVERED
    assert [request.headers["webhook-id"] for request in receiver.received] == [entry.id] * 2
    for request in receiver.received:
        assert await verified(database, request) == {"status": "success", "id": 1}
    await database.close()


async def test_a_courier_that_lost_its_lease_marks_nothing(
    database: Database, receiver: HookReceiver, deliverer: Deliverer, caplog: pytest.LogCaptureFixture
) -> None:
    others_mark_is_made = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await others_mark_is_made.wait()
        await status("500 Oops")(writer)

    receiver.answer("/", late, status("200 OK"))
    await put(database, [f"{receiver.url}/"])
    await deliverer.round(time.time())
    await until(lambda: len(receiver.received) == 1)
    async with delivering(database, "next") as another:
        assert await another.round(time.time() + 60) == 1
        await marked(database)
    others_mark_is_made.set()
    await until(lambda: "its lease was lost" in caplog.text)
    record = await marked(database)
    assert (record.state, record.attempts, record.last_status) == (HookState.DELIVERED, 1, 200)


async def test_a_courier_that_closes_gives_back_what_hangs(database: Database, receiver: HookReceiver) -> None:
    receiver.answer("/", hang, status("200 OK"))
    await put(database, [f"{receiver.url}/"])
    async with delivering(database) as deliverer:
        await deliverer.round(time.time())
        await until(lambda: len(receiver.received) == 1)
    async with delivering(database, "next") as another:
        assert await another.round(time.time()) == 1
        assert (await marked(database)).last_status == 200


@on_sqlite_alone
async def test_a_courier_that_closes_ends_what_is_nearly_done(database: Database, receiver: HookReceiver) -> None:
    closing_has_begun = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        await closing_has_begun.wait()
        await status("200 OK")(writer)

    receiver.answer("/", slow)
    await put(database, [f"{receiver.url}/"] * 9)
    async with delivering(database) as deliverer:
        await deliverer.round(time.time())
        await until(lambda: len(receiver.received) == 4)
        closing = asyncio.create_task(deliverer.close(grace_s=PATIENCE_S))
        await asyncio.sleep(0)  # lets it begin
        closing_has_begun.set()
        await closing
        assert await deliverer.round(time.time()) == 0
    states = [record.state for record in await Outbox(database).listing(None, 10)]
    assert sorted(states) == [HookState.DELIVERED] * 4 + [HookState.PENDING] * 5


class BreakingDatabase(Database):
    """Real but for writes that fail while `broken` is above 0, each taking one off."""

    broken = 0

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        if self.broken > 0:
            self.broken -= 1
            raise RecordsUnavailable("away")
        async with super().write() as connection:
            yield connection


@on_sqlite_alone
async def test_a_mark_is_tried_again_while_the_records_are_away(database_url: str, receiver: HookReceiver) -> None:
    database = BreakingDatabase(database_url)

    async def break_records(writer: asyncio.StreamWriter) -> None:
        database.broken = 2
        await status("200 OK")(writer)

    receiver.answer("/", break_records)
    await put(database, [f"{receiver.url}/"])
    async with delivering(database) as deliverer:
        await deliverer.round(time.time())
        assert (await marked(database)).state == HookState.DELIVERED
    assert database.broken == 0
    assert len(receiver.received) == 1
    await database.close()


@on_sqlite_alone
async def test_a_round_tells_that_the_records_are_away_and_the_next_one_works(
    database_url: str, receiver: HookReceiver
) -> None:
    database = BreakingDatabase(database_url)
    await put(database, [f"{receiver.url}/"])
    async with delivering(database) as deliverer:
        database.broken = 1
        with pytest.raises(RecordsUnavailable):
            await deliverer.round(time.time())
        assert await deliverer.round(time.time()) == 1
        await marked(database)
    await database.close()
