"""The outbox does not grow for ever; what became of a webhook is told as long as its job is known."""

import asyncio

import pytest

from serve_app.records import outbox as module
from serve_app.records.database import Database
from serve_app.records.jobs import JobRecords
from serve_app.records.outbox import HookState, Outbox, make_entry
from tests.records.making import NOW, URL, accept

AGO = NOW - 1
"""Before anything here has ended."""
SINCE = NOW + 1


async def ended_webhooks(database: Database, *states: HookState, first_job: int = 1) -> list[str]:
    """The ids of webhooks that end so at NOW, one a job, with the last answer 503 where they are dead."""
    outbox = Outbox(database)
    entries = [make_entry(job, "first", URL, {"id": job}, NOW) for job, _ in enumerate(states, first_job)]
    async with database.write() as connection:
        for entry in entries:
            await Outbox.insert(connection, entry)
    await outbox.claim("a", NOW + 25, NOW, len(states), len(states), {})
    for entry, state in zip(entries, states, strict=True):
        if state == HookState.DELIVERED:
            assert await outbox.delivered(entry.id, "a", 200, NOW)
        elif state == HookState.DEAD:
            assert await outbox.dead(entry.id, "a", 503, "away", NOW)
    return [entry.id for entry in entries]


async def listed(database: Database) -> set[HookState]:
    return {record.state for record in await Outbox(database).listing(None, 1000)}


async def test_delivered_and_dead_ones_go_at_their_own_time_and_pending_ones_never(database: Database) -> None:
    await ended_webhooks(database, *HookState)
    outbox = Outbox(database)
    assert await outbox.purge(AGO, AGO) == 0
    assert await outbox.purge(SINCE, AGO) == 1
    assert await listed(database) == {HookState.PENDING, HookState.DEAD}
    assert await outbox.purge(AGO, SINCE) == 1
    assert await outbox.purge(NOW + 1e9, NOW + 1e9) == 0
    assert await listed(database) == {HookState.PENDING}


@pytest.mark.parametrize(("state", "told"), [(HookState.DELIVERED, "delivered"), (HookState.DEAD, "failed 503")])
async def test_a_jobs_client_is_told_the_same_before_and_after(
    database: Database, records: JobRecords, state: HookState, told: str
) -> None:
    for id in (7, 8):
        await accept(records, id)
    await ended_webhooks(database, state, first_job=7)
    outbox = Outbox(database)
    assert await outbox.status_of(7) == told
    assert await outbox.purge(SINCE, SINCE) == 1
    assert await outbox.listing(None, 9) == []
    assert [await outbox.status_of(job) for job in (7, 8, 9)] == [told, "", ""]


async def test_a_job_that_ends_again_tells_of_its_new_webhook(database: Database, records: JobRecords) -> None:
    await accept(records, 7)
    await ended_webhooks(database, HookState.DEAD, first_job=7)
    outbox = Outbox(database)
    await outbox.purge(SINCE, SINCE)
    await ended_webhooks(database, HookState.PENDING, first_job=7)
    assert await outbox.status_of(7) == "pending"
    await ended_webhooks(database, HookState.DELIVERED, first_job=7)
    await outbox.purge(SINCE, SINCE)
    assert await outbox.status_of(7) == "delivered"


async def test_a_purged_dead_one_cannot_be_replayed_and_a_replayed_one_is_not_purged(database: Database) -> None:
    first, second = await ended_webhooks(database, HookState.DEAD, HookState.DEAD)
    outbox = Outbox(database)
    assert await outbox.replay(second, SINCE) == 1
    assert await outbox.purge(SINCE, SINCE) == 1
    assert await outbox.replay(first, SINCE) == 0
    assert [record.id for record in await outbox.listing(None, 9)] == [second]


async def test_all_go_however_few_at_once_and_whoever_else_does_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PURGED_AT_ONCE", 4)
    several = [Database(database_url) for _ in range(4)]
    await ended_webhooks(several[0], *([HookState.DELIVERED] * 30))
    counts = await asyncio.gather(*(Outbox(each).purge(SINCE, SINCE) for each in several))
    assert sum(counts) == 30
    assert await listed(several[0]) == set()
    for each in several:
        await each.close()
