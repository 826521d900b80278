"""What clients, estimates and operators see of jobs, and what they can ask for."""

from serve_app.engine.state import GroupKey
from serve_app.records.clearing import Clearing
from serve_app.records.database import Database
from serve_app.records.jobs import JobRecords, State
from serve_app.records.leases import Leases
from serve_app.records.outbox import Outbox
from serve_app.records.waiting import Ran, Waiting
from tests.records.making import (
    NOW,
    OURS,
    THEIRS,
    accept,
    claim_ids,
    has_input,
    heartbeat,
    hook,
    outcome,
    read,
)


async def test_an_estimate_sees_the_open_jobs_of_a_model_oldest_first(records: JobRecords, leases: Leases) -> None:
    for id, age in [(1, 30), (2, 40), (3, 20)]:
        await accept(records, id=id, created_at=NOW - age)
    await accept(records, id=4, model_id="other")
    await leases.renew(OURS, [heartbeat(1, done=5, started_at=NOW)], NOW)
    await leases.end(3, 1, outcome(), NOW)
    group = GroupKey(8, 16)
    assert await records.unended("pocket") == [
        Waiting(2, 3_000_000_000, 0, 14, NOW - 40, "queued", None, 2, group),
        Waiting(1, 3_000_000_000, 5, 14, NOW - 30, "running", NOW, 2, group),
    ]


async def test_an_estimate_learns_from_the_newest_jobs_that_ran_once_and_well(
    records: JobRecords, leases: Leases
) -> None:
    for id in range(1, 7):
        await accept(records, id=id, created_at=NOW + id, cost=id)
        await leases.renew(OURS, [heartbeat(id, started_at=NOW + 10)], NOW)
    await leases.end(1, 1, outcome(), NOW + 11)
    await leases.end(2, 1, outcome(), NOW + 12)
    await leases.end(3, 1, outcome(State.FAILED), NOW + 13)
    await leases.add_attempt(4, 1)
    await leases.end(4, 1, outcome(), NOW + 14)
    await claim_ids(leases)
    await leases.end(5, 2, outcome(), NOW + 15)
    second = Ran(2, NOW + 2, NOW + 10, NOW + 12)
    assert await records.recent("pocket", 9) == [second, Ran(1, NOW + 1, NOW + 10, NOW + 11)]
    assert await records.recent("pocket", 1) == [second]
    assert await records.recent("other", 9) == []


async def test_every_state_is_counted(records: JobRecords, leases: Leases) -> None:
    for id in (1, 2, 3):
        await accept(records, id=id)
    await leases.renew(OURS, [heartbeat(2, started_at=NOW)], NOW)
    await leases.end(3, 1, outcome(State.CANCELLED), NOW)
    counts = await records.counts()
    assert {state.value: count for state, count in counts.items()} == {
        "queued": 1,
        "running": 1,
        "success": 0,
        "failed": 0,
        "cancelled": 1,
    }


async def test_the_list_is_newest_first_and_can_be_narrowed(records: JobRecords, leases: Leases) -> None:
    for id in (1, 2, 3):
        await accept(records, id=id, created_at=NOW + id, key_name="second" if id == 2 else "first")
    await leases.end(3, 1, outcome(State.FAILED), NOW)
    assert [record.id for record in await records.list()] == [3, 2, 1]
    assert [record.id for record in await records.list(limit=2)] == [3, 2]
    assert [record.id for record in await records.list(state=State.QUEUED)] == [2, 1]
    assert [record.id for record in await records.list(key_name="first")] == [3, 1]
    assert [record.id for record in await records.list(key_name="second", state=State.FAILED)] == []


async def test_watching_lasts_and_never_gets_shorter(records: JobRecords, leases: Leases) -> None:
    await accept(records)
    await records.watch(7, NOW + 5)
    await records.watch(7, NOW + 3)
    assert (await read(records)).watched_until == NOW + 5
    assert (await leases.renew(OURS, [heartbeat()], NOW + 4)).watched == {7}
    assert (await leases.renew(OURS, [heartbeat()], NOW + 5)).watched == set()
    assert (await read(records)).version == 1, "a watcher does not want to see watchers"


async def test_a_cancel_reaches_the_driver_at_its_next_round(records: JobRecords, leases: Leases) -> None:
    await accept(records)
    await accept(records, id=8)
    asked = await records.ask_cancel(7)
    assert asked is not None
    assert (asked.cancel_asked, asked.state, asked.version) == (True, State.QUEUED, 2)
    assert await records.ask_cancel(7) == asked
    assert (await leases.renew(OURS, [heartbeat(7), heartbeat(8)], NOW)).cancelled == {7}


async def test_a_cancelled_job_that_nobody_drives_is_the_next_to_be_claimed(
    records: JobRecords, leases: Leases
) -> None:
    for id in (1, 2, 3):
        await accept(records, id=id, created_at=NOW + id)
        await leases.release(id, 1)
    await records.ask_cancel(3)
    [claimed] = await leases.claim(THEIRS, NOW, 1)
    assert (claimed.record.id, claimed.record.cancel_asked) == (3, True)


async def test_an_ended_job_is_not_cancelled_any_more(records: JobRecords, leases: Leases) -> None:
    await accept(records)
    await leases.end(7, 1, outcome(), NOW)
    before = await read(records)
    assert await records.ask_cancel(7) == before


async def test_a_failed_job_can_be_queued_again_as_it_was_at_first(
    database: Database, records: JobRecords, leases: Leases
) -> None:
    first = (await accept(records)).record
    await leases.renew(OURS, [heartbeat(done=5, started_at=NOW, preview=b"png")], NOW)
    await leases.add_attempt(7, 1)
    await records.ask_cancel(7)
    await leases.end(7, 1, outcome(State.FAILED, hook(), delete_at=NOW), NOW)
    failed = await read(records)
    again = await records.retry(7, NOW + 1000)
    assert again is not None
    assert again.version > failed.version
    assert (again.lease_owner, again.lease_until, again.fence) == (None, 0.0, 2)
    assert again.deadline_at == NOW + 1600
    changed = ("version", "lease_owner", "lease_until", "fence", "deadline_at")
    assert without(again, *changed) == without(first, *changed)
    assert await Outbox(database).status_of(7) == "", "the first end's webhook is not sent any more"
    assert await claim_ids(leases, now=NOW + 1000) == [7]
    assert await leases.end(7, 3, outcome(hook=hook()), NOW)
    assert await Outbox(database).status_of(7) == "pending"


async def test_an_old_driver_of_a_job_that_is_queued_again_changes_nothing(records: JobRecords, leases: Leases) -> None:
    await accept(records)
    await leases.end(7, 1, outcome(State.CANCELLED), NOW)
    again = await records.retry(7, NOW)
    assert not await leases.end(7, 1, outcome(), NOW)
    assert (await leases.renew(OURS, [heartbeat(done=9)], NOW)).lost == {7}
    assert await read(records) == again


async def test_only_failed_and_cancelled_jobs_with_their_picture_can_be_queued_again(
    database: Database, records: JobRecords, leases: Leases
) -> None:
    for id, state in [(1, State.SUCCESS), (2, State.FAILED), (3, State.CANCELLED), (4, State.FAILED)]:
        await accept(records, id=id)
        await leases.end(id, 1, outcome(state), NOW + id)
    await accept(records, id=5)
    assert not await has_input(database, 1)
    assert await Clearing(database).purge_inputs(NOW + 4) == 2
    assert await Clearing(database).purge_inputs(NOW + 4) == 0
    assert [id for id in range(1, 6) if await has_input(database, id)] == [4, 5]
    assert [id for id in range(1, 6) if await records.retry(id, NOW)] == [4]


def without(record: object, *names: str) -> dict[str, object]:
    return {name: getattr(record, name) for name in type(record).__slots__ if name not in names}  # type: ignore[attr-defined]


async def test_a_preview_is_there_until_the_job_ends(records: JobRecords, leases: Leases) -> None:
    await accept(records)
    assert await records.preview(7) is None
    await leases.renew(OURS, [heartbeat(done=1, started_at=NOW, preview=b"one")], NOW)
    await leases.renew(OURS, [heartbeat(done=2, started_at=NOW)], NOW)
    assert await records.preview(7) == b"one"
    await leases.end(7, 1, outcome(), NOW)
    assert await records.preview(7) is None
