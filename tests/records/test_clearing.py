"""Clearing away beside everything else: couriers take turns, and a job that is queued again keeps what it needs."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import pytest
from sqlalchemy import Delete, Table, delete

from serve_app.records import clearing as module
from serve_app.records.clearing import Clearing
from serve_app.records.database import Database
from serve_app.records.jobs import JobRecords, State
from serve_app.records.leases import Leases
from serve_app.records.outbox import Outbox
from serve_app.records.tables import inputs
from tests.records.making import LATER, NOW, OURS, THEIRS, accept, has_input, hook, outcome, read

T = TypeVar("T")
UNTIL = NOW + 120


@pytest.fixture
def clearing(database: Database) -> Clearing:
    return Clearing(database)


async def ended(records: JobRecords, leases: Leases, id: int, state: State = State.FAILED, **other: object) -> None:
    await accept(records, id=id)
    await leases.end(id, 1, outcome(state, **other), NOW + id)  # type: ignore[arg-type]


async def taken(clearing: Clearing, now: float, limit: int = 9, until: float = UNTIL) -> list[int]:
    return [expired.record.id for expired in await clearing.take_expired(now, until, limit)]


async def test_expired_pictures_are_told_until_they_are_forgotten(
    records: JobRecords, leases: Leases, clearing: Clearing
) -> None:
    for id, delete_at in [(1, NOW + 20), (2, NOW + 10), (3, None)]:
        await ended(records, leases, id, delete_at=delete_at)
    await accept(records, id=4)
    assert await taken(clearing, NOW + 9) == []
    (second,) = await clearing.take_expired(NOW + 20, UNTIL, 1)
    assert second.record.id == 2
    await clearing.forget_pictures(second.record.id, second.until)
    assert await taken(clearing, NOW + 20) == [1]
    assert (await read(records, 2)).delete_at is None


async def test_what_one_courier_has_taken_the_others_pass_over_until_its_time_is_up(
    database_url: str, records: JobRecords, leases: Leases
) -> None:
    for id in range(1, 21):
        await ended(records, leases, id, delete_at=NOW)
    async with AsyncExitStack() as stack:
        several = [Clearing(await stack.enter_async_context(opened(database_url))) for _ in range(4)]
        shares = await asyncio.gather(*(taken(one, NOW + 50, 5) for one in several))
        assert sorted(id for share in shares for id in share) == list(range(1, 21))
        assert await taken(several[0], UNTIL - 1, 99) == []
        assert len(await taken(several[0], UNTIL, 99)) == 20


async def test_a_courier_that_took_too_long_does_not_forget_what_is_anothers(
    records: JobRecords, leases: Leases, clearing: Clearing
) -> None:
    await ended(records, leases, 1, delete_at=NOW)
    (slow,) = await clearing.take_expired(NOW + 9, NOW + 10, 9)
    assert await taken(clearing, NOW + 10) == [1]
    await clearing.forget_pictures(slow.record.id, slow.until)
    assert (await read(records, 1)).delete_at == NOW


async def test_a_job_whose_files_are_being_deleted_is_not_queued_again_until_they_are(
    records: JobRecords, leases: Leases, clearing: Clearing
) -> None:
    await ended(records, leases, 1, delete_at=NOW)
    (expired,) = await clearing.take_expired(NOW + 9, UNTIL, 9)
    assert await records.retry(1, UNTIL - 1) is None
    await clearing.forget_pictures(expired.record.id, expired.until)
    assert await records.retry(1, UNTIL - 1) is not None


async def test_a_job_that_was_queued_again_is_nobodys_to_delete(
    records: JobRecords, leases: Leases, clearing: Clearing
) -> None:
    await ended(records, leases, 1, delete_at=NOW)
    (late,) = await clearing.take_expired(NOW + 9, NOW + 10, 9)
    again = await records.retry(1, NOW + 10)
    assert again is not None
    assert await taken(clearing, NOW + 99) == []
    await leases.end(1, again.fence, outcome(delete_at=NOW + 500), NOW + 100)
    await clearing.forget_pictures(late.record.id, late.until)
    assert (await read(records, 1)).delete_at == NOW + 500


async def test_a_job_is_never_queued_again_without_its_picture(
    database_url: str, database: Database, records: JobRecords, leases: Leases
) -> None:
    for id in range(1, 31):
        await ended(records, leases, id)
    async with opened(database_url) as other:
        retries = [records.retry(id, NOW + 99) for id in range(1, 31)]
        _, *again = await asyncio.gather(Clearing(other).purge_inputs(NOW + 50), *retries)
    for id, record in enumerate(again, 1):
        assert (record is not None) is await has_input(database, id), id


async def test_a_retry_waits_for_a_purge_that_is_under_way(
    database_url: str, database: Database, records: JobRecords, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The purge has chosen the job and not deleted its picture yet: on PostgreSQL the retry used to slip between."""
    await ended(records, leases, 1)
    chosen = asyncio.Event()
    async with opened(database_url) as other:
        purge = asyncio.create_task(slowly(Clearing(other).purge_inputs(NOW + 50), chosen, monkeypatch))
        await chosen.wait()
        assert (await records.retry(1, NOW + 99) is not None) is await has_input(database, 1)
        await purge


async def slowly(work: Coroutine[None, None, T], chosen: asyncio.Event, monkeypatch: pytest.MonkeyPatch) -> T:
    """`work`, which tells that it is about to delete."""

    def told(table: Table) -> Delete:
        chosen.set()
        return delete(table)

    monkeypatch.setattr(module, "delete", told)
    return await work


async def test_a_job_without_its_picture_is_claimed_all_the_same_so_that_somebody_ends_it(
    database: Database, records: JobRecords, leases: Leases
) -> None:
    await accept(records, id=1)
    async with database.write() as connection:
        await connection.execute(delete(inputs))
    (claimed,) = await leases.claim(THEIRS, LATER, 9)
    assert claimed.png is None


async def test_a_courier_without_room_claims_what_is_to_be_ended_alone(records: JobRecords, leases: Leases) -> None:
    for id, deadline_at in [(1, NOW + 600), (2, LATER - 1), (3, NOW + 600)]:
        await accept(records, id=id, deadline_at=deadline_at)
    await records.ask_cancel(3)
    over = await leases.claim(THEIRS, LATER, 9, only_over=True)
    assert [claimed.record.id for claimed in over] == [2, 3]


async def test_old_jobs_go_with_all_they_have_but_not_before_their_pictures_and_webhooks(
    database: Database, records: JobRecords, leases: Leases, clearing: Clearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    for id in range(1, 6):
        await ended(records, leases, id, State.SUCCESS if id % 2 else State.FAILED)
    await ended(records, leases, 6, delete_at=NOW + 999)
    await ended(records, leases, 7, hook=hook(7))
    await accept(records, id=8)
    assert await clearing.purge_jobs(NOW + 5) == 4
    assert [id for id in range(1, 9) if await records.get(id) is not None] == [5, 6, 7, 8]
    assert not await has_input(database, 2)
    assert await clearing.purge_jobs(NOW + 99) == 1
    (due,) = await Outbox(database).claim("me", NOW + 99, NOW + 50, 9, 9, {})
    await Outbox(database).delivered(due.entry.id, "me", 200, NOW + 60)
    assert await clearing.purge_jobs(NOW + 99) == 1
    assert await clearing.purge_jobs(NOW + 99) == 0
    assert OURS.owner == (await read(records, 8)).lease_owner


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    yield database
    await database.close()
