"""The outbox on a real database: who gets what, what counts, and what its clients are told."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest

from serve_app.records.database import Database
from serve_app.records.outbox import Due, HookState, Outbox, OutboxEntry, make_entry

NOW = 1_700_000_000.0
UNTIL = NOW + 25
GOOD = "https://good.test/hook"


async def put(database: Database, *entries: OutboxEntry) -> None:
    async with database.write() as connection:
        for entry in entries:
            await Outbox.insert(connection, entry)


def entry(job_id: int, url: str = GOOD, key_name: str = "first", at: float = NOW) -> OutboxEntry:
    return make_entry(job_id, key_name, url, {"id": job_id, "status": "success"}, at)


async def claim(
    database: Database,
    owner: str = "a",
    now: float = NOW,
    limit: int = 64,
    per_host: int = 4,
    busy: dict[str, int] | None = None,
) -> list[Due]:
    return await Outbox(database).claim(owner, now + 25, now, limit, per_host, busy or {})


def jobs_of(dues: list[Due]) -> list[int]:
    return sorted(due.entry.job_id for due in dues)


async def test_what_was_written_is_claimed_whole(database: Database) -> None:
    written = entry(7)
    await put(database, written)
    assert await claim(database) == [Due(written, 0, UNTIL)]


async def test_an_entry_of_a_transaction_that_fails_was_never_there(database: Database) -> None:
    with suppress(ZeroDivisionError):
        async with database.write() as connection:
            await Outbox.insert(connection, entry(7))
            raise ZeroDivisionError
    assert await claim(database) == []


async def test_a_job_that_ends_again_replaces_its_webhook(database: Database) -> None:
    old, new = entry(7), entry(7)
    await put(database, old)
    [due] = await claim(database)
    await put(database, new)
    assert not await Outbox(database).delivered(due.entry.id, "a", 200, NOW)
    assert [due.entry for due in await claim(database)] == [new]


async def test_a_claimed_entry_is_nobody_elses_until_its_lease_runs_out(database: Database) -> None:
    await put(database, entry(7))
    await claim(database, "a")
    assert await claim(database, "b", UNTIL - 1) == []
    assert jobs_of(await claim(database, "b", UNTIL)) == [7]


async def test_couriers_at_the_same_moment_share_out_and_never_claim_the_same(database_url: str) -> None:
    several = [Database(database_url) for _ in range(4)]
    await put(several[0], *(entry(job, f"https://host{job % 10}.test/") for job in range(1, 61)))
    claimed: list[list[Due]] = []
    for _ in range(12):
        claimed += await asyncio.gather(*(claim(each, str(number)) for number, each in enumerate(several)))
    assert sorted(due.entry.job_id for dues in claimed for due in dues) == list(range(1, 61))
    for each in several:
        await each.close()


Mark = Callable[[Outbox, str, str], Coroutine[None, None, bool]]
MARKS: dict[str, Mark] = {
    "delivered": lambda outbox, id, owner: outbox.delivered(id, owner, 200, NOW),
    "again": lambda outbox, id, owner: outbox.again(id, owner, 500, "oops", NOW + 5),
    "dead": lambda outbox, id, owner: outbox.dead(id, owner, 500, "oops", NOW),
}


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
async def test_only_the_owner_of_the_lease_marks_and_only_once(database: Database, mark: Mark) -> None:
    await put(database, entry(7))
    outbox = Outbox(database)
    await claim(database, "late")
    [due] = await claim(database, "next", UNTIL)
    assert not await mark(outbox, due.entry.id, "late")
    assert (await outbox.listing(None, 10))[0].attempts == 0
    assert await mark(outbox, due.entry.id, "next")
    assert not await mark(outbox, due.entry.id, "next")
    assert (await outbox.listing(None, 10))[0].attempts == 1


async def test_a_failed_attempt_is_due_again_at_its_time_with_its_count(database: Database) -> None:
    await put(database, entry(7))
    [due] = await claim(database)
    await Outbox(database).again(due.entry.id, "a", 503, "away", NOW + 5)
    assert await claim(database, now=NOW + 4.9) == []
    assert await claim(database, now=NOW + 5) == [Due(due.entry, 1, NOW + 30)]


async def test_delivered_and_dead_entries_are_not_claimed_again(database: Database) -> None:
    await put(database, entry(7), entry(8))
    for due, mark in zip(await claim(database), (MARKS["delivered"], MARKS["dead"]), strict=True):
        await mark(Outbox(database), due.entry.id, "a")
    assert await claim(database, now=NOW + 1e6) == []


async def test_a_first_pause_of_the_schedule_is_kept(database: Database) -> None:
    await put(database, entry(7))
    outbox = Outbox(database)
    assert await outbox.claim("a", UNTIL, NOW + 2, 9, 9, {}, first_pause_s=3) == []
    [due] = await outbox.claim("a", UNTIL, NOW + 3, 9, 9, {}, first_pause_s=3)
    await outbox.again(due.entry.id, "a", 500, "oops", NOW + 10)
    assert jobs_of(await outbox.claim("a", UNTIL, NOW + 10, 9, 9, {}, first_pause_s=3)) == [7]


async def test_hosts_take_turns_oldest_first_however_many_entries_one_of_them_has(database: Database) -> None:
    await put(database, *(entry(job, "http://dead.test/", at=NOW - 1000 + job) for job in range(1, 101)))
    await put(database, *(entry(1000 + job, f"http://good{job}.test/") for job in range(3)))
    assert jobs_of(await claim(database, limit=5)) == [1, 2, 1000, 1001, 1002]


async def test_hosts_without_a_busy_slot_come_first(database: Database) -> None:
    await put(database, *(entry(job, f"http://dead{job % 5}.test/", at=NOW - 1000) for job in range(1, 31)))
    await put(database, entry(1000))
    busy = {f"dead{number}.test:80": 1 for number in range(5)}
    assert jobs_of(await claim(database, limit=1, busy=busy)) == [1000]


async def test_a_new_host_has_its_chance_among_many_dead_ones_with_older_entries(database: Database) -> None:
    await put(database, *(entry(job, f"http://dead{job}.test/", at=NOW - 1000) for job in range(1, 10)))
    await put(database, entry(1000))
    for _ in range(200):
        dues = await claim(database, limit=1)
        if jobs_of(dues) == [1000]:
            return
        await Outbox(database).release("a")
    pytest.fail("a claim of one among ten hosts never was the newest host's")


async def test_a_host_gets_no_more_than_its_room(database: Database) -> None:
    hosts = ("full.test", "half.test", "free.test")
    await put(database, *(entry(job, f"http://{hosts[job % 3]}/") for job in range(1, 31)))
    busy = {"full.test:80": 5, "half.test:80": 3, "elsewhere.test:80": 9}
    dues = await claim(database, busy=busy)
    assert Counter(due.entry.host for due in dues) == {"half.test:80": 1, "free.test:80": 4}


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_full_courier_claims_nothing(database: Database, limit: int) -> None:
    await put(database, entry(7))
    assert await claim(database, limit=limit) == []


async def test_what_a_courier_gives_back_is_free_at_once_and_no_attempt(database: Database) -> None:
    await put(database, entry(7), entry(8, "http://other.test/"))
    await claim(database, "a", limit=1)
    [other] = await claim(database, "b", limit=1)
    await Outbox(database).release("a")
    [due] = await claim(database, "c")
    assert due.attempts == 0
    assert due.entry.id != other.entry.id


async def test_a_gone_url_takes_its_waiting_and_later_entries_with_it_and_no_others(database: Database) -> None:
    outbox = Outbox(database)
    await put(database, entry(1), entry(2), entry(3, "https://good.test/other"), entry(4, key_name="second"))
    await outbox.disable("first", GOOD, NOW)
    await outbox.disable("first", GOOD, NOW + 1)
    await put(database, entry(5), entry(6, key_name="second"))
    assert jobs_of(await claim(database)) == [3, 4, 6]
    assert [await outbox.status_of(job) for job in (1, 2, 3, 5)] == ["failed", "failed", "pending", "failed"]
    assert all("410" in (record.last_error or "") for record in await outbox.listing(HookState.DEAD, 10))


async def test_an_entry_on_its_way_when_its_url_is_disabled_still_tells_its_own_end(database: Database) -> None:
    await put(database, entry(1))
    [due] = await claim(database)
    outbox = Outbox(database)
    await outbox.disable("first", GOOD, NOW)
    assert await outbox.delivered(due.entry.id, "a", 200, NOW)
    assert await outbox.status_of(1) == "delivered"


async def kill(database: Database, *jobs: int) -> list[str]:
    """The ids of these jobs' webhooks, which have died."""
    await put(database, *(entry(job) for job in jobs))
    dues = await claim(database)
    for due in dues:
        await Outbox(database).dead(due.entry.id, "a", 500, "oops", NOW)
    return [due.entry.id for due in sorted(dues, key=lambda due: due.entry.job_id)]


async def test_a_replayed_entry_has_its_id_and_all_its_attempts_again(database: Database) -> None:
    ids = await kill(database, 1, 2)
    outbox = Outbox(database)
    assert await outbox.replay(ids[0], NOW + 9) == 1
    assert await outbox.replay(ids[0], NOW + 9) == 0
    assert await outbox.replay("msg_unknown", NOW + 9) == 0
    [due] = await claim(database, now=NOW + 9)
    assert (due.entry.id, due.attempts) == (ids[0], 0)


async def test_all_dead_entries_are_replayed_but_those_of_disabled_urls(database: Database) -> None:
    ids = await kill(database, 1, 2)
    await put(database, entry(3, "https://gone.test/"))
    outbox = Outbox(database)
    await outbox.disable("first", "https://gone.test/", NOW)
    assert await outbox.replay(None, NOW) == 2
    assert {due.entry.id for due in await claim(database)} == set(ids)


async def test_replaying_an_entry_by_its_id_enables_its_url_again(database: Database) -> None:
    await put(database, entry(1), entry(2))
    outbox = Outbox(database)
    await outbox.disable("first", GOOD, NOW)
    [first] = [record.id for record in await outbox.listing(HookState.DEAD, 10) if record.job_id == 1]
    assert await outbox.replay(first, NOW) == 1
    await put(database, entry(3))
    assert jobs_of(await claim(database)) == [1, 3]


async def test_the_listing_is_newest_first_and_tells_why(database: Database) -> None:
    [first] = await kill(database, 1)
    await put(database, entry(2, at=NOW + 1), entry(3, at=NOW + 2))
    outbox = Outbox(database)
    assert [record.job_id for record in await outbox.listing(None, 2)] == [3, 2]
    [record] = await outbox.listing(HookState.DEAD, 10)
    assert (record.id, record.attempts, record.last_status, record.last_error) == (first, 1, 500, "oops")
    assert (record.state, record.ended_at) == (HookState.DEAD, NOW)


async def test_a_jobs_client_is_told_the_truth_about_its_webhook(database: Database) -> None:
    outbox = Outbox(database)
    assert await outbox.status_of(1) == ""
    await put(database, entry(1))
    assert await outbox.status_of(1) == "pending"
    [due] = await claim(database)
    assert await outbox.status_of(1) == "pending"
    await outbox.again(due.entry.id, "a", 503, "away", NOW)
    assert await outbox.status_of(1) == "pending 503"
    await claim(database)
    await outbox.dead(due.entry.id, "a", None, "no connection", NOW)
    assert await outbox.status_of(1) == "failed"
    await outbox.replay(due.entry.id, NOW)
    await claim(database)
    await outbox.delivered(due.entry.id, "a", 204, NOW)
    assert await outbox.status_of(1) == "delivered"
