"""Driving: leases are renewed and run out, and of two drivers of a job only the last one counts."""

from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from serve_app.records.database import Database
from serve_app.records.jobs import JobRecords, State
from serve_app.records.leases import Leases, Renewal
from serve_app.records.outbox import Outbox, OutboxEntry
from serve_app.records.rows import Lease
from tests.records.making import (
    LATER,
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


async def test_a_job_is_claimed_when_its_lease_has_run_out_and_not_before(records: JobRecords, leases: Leases) -> None:
    await accept(records)
    assert await claim_ids(leases, now=OURS.until) == []
    [claimed] = await leases.claim(THEIRS, LATER, 10)
    assert claimed.record == await read(records)
    assert (claimed.record.lease_owner, claimed.record.lease_until, claimed.record.fence) == ("theirs", THEIRS.until, 2)
    assert await claim_ids(leases, now=LATER) == []


async def test_a_renewed_lease_is_not_claimed(records: JobRecords, leases: Leases) -> None:
    await accept(records)
    await leases.renew(Lease("ours", LATER + 10), [heartbeat()], NOW + 1)
    assert await claim_ids(leases, now=LATER) == []
    assert await claim_ids(leases, now=LATER + 11) == [7]


async def test_the_oldest_are_claimed_first_and_no_more_than_asked_for(records: JobRecords, leases: Leases) -> None:
    for id in (3, 1, 2):
        await accept(records, id=id, created_at=NOW + id)
    assert await claim_ids(leases, limit=0) == []
    assert await claim_ids(leases, limit=2) == [1, 2]
    assert await claim_ids(leases, limit=2) == [3]


async def test_running_jobs_and_jobs_past_their_deadline_are_claimed_and_ended_ones_are_not(
    records: JobRecords, leases: Leases
) -> None:
    for id in (1, 2, 3):
        await accept(records, id=id, created_at=NOW + id, deadline_at=NOW + 5)
    await leases.renew(OURS, [heartbeat(1, started_at=NOW)], NOW)
    await leases.end(2, 1, outcome(), NOW)
    assert await claim_ids(leases) == [1, 3]


async def test_a_job_given_back_is_claimed_at_once_and_no_longer_its_drivers(
    records: JobRecords, leases: Leases
) -> None:
    await accept(records)
    await leases.release(7, 1)
    assert (await leases.renew(OURS, [heartbeat()], NOW)).lost == {7}
    assert not await leases.end(7, 1, outcome(), NOW)
    assert await claim_ids(leases, now=NOW) == [7]
    await leases.release(7, 1)
    assert (await read(records)).lease_owner == "theirs"


async def test_a_round_without_jobs_learns_nothing(leases: Leases) -> None:
    assert await leases.renew(OURS, [], NOW) == Renewal(frozenset(), frozenset(), frozenset())


async def test_only_a_visible_change_is_a_new_version(records: JobRecords, leases: Leases) -> None:
    await accept(records)

    async def version_after(**known: object) -> int:
        await leases.renew(OURS, [heartbeat(**known)], NOW)  # type: ignore[arg-type]
        return (await read(records)).version

    assert await version_after() == 1
    assert await version_after(started_at=NOW) == 2
    assert await version_after(started_at=NOW) == 2
    assert await version_after(started_at=NOW, done=3) == 3
    assert await version_after(started_at=NOW, done=3, preview=b"one") == 4
    assert await version_after(started_at=NOW, done=3, preview=b"one") == 4
    assert await version_after(started_at=NOW, done=3, preview=b"two") == 5
    assert await version_after(started_at=NOW, done=3, total=15) == 6
    assert await version_after(started_at=NOW + 9, done=3, total=15) == 6


async def test_a_job_runs_from_the_first_beat_that_says_so(records: JobRecords, leases: Leases) -> None:
    await accept(records)
    await leases.renew(OURS, [heartbeat()], NOW)
    assert (await read(records)).state == State.QUEUED
    await leases.renew(OURS, [heartbeat(started_at=NOW + 1, done=4)], NOW)
    await claim_ids(leases)
    await leases.renew(THEIRS, [heartbeat(fence=2)], LATER)
    again = await read(records)
    assert (again.state, again.started_at, again.done) == (State.RUNNING, NOW + 1, 0)
    await leases.renew(THEIRS, [heartbeat(fence=2, started_at=LATER, done=2)], LATER)
    assert ((await read(records)).started_at, (await read(records)).done) == (NOW + 1, 2)


async def test_a_round_of_many_jobs_tells_them_apart(records: JobRecords, leases: Leases) -> None:
    for id in range(1, 61):
        await accept(records, id=id)
    for id in (1, 2):
        await leases.release(id, 1)
    await leases.end(3, 1, outcome(), NOW)
    await records.ask_cancel(4)
    await records.watch(5, NOW + 9)
    heartbeats = [heartbeat(id, done=id % 7, started_at=NOW if id % 7 else None) for id in range(1, 62)]
    told = await leases.renew(THEIRS, heartbeats, NOW)
    assert told == Renewal(frozenset({4}), frozenset({1, 2, 3, 61}), frozenset({5}))
    now = {record.id: record for record in await records.list(limit=90)}
    assert {now[id].done for id in (1, 2)} == {0}
    assert all((now[id].done, now[id].lease_owner) == (id % 7, "theirs") for id in range(4, 61))
    assert all(now[id].version == 2 for id in range(5, 61) if id % 7)
    assert all(now[id].version == 1 for id in range(5, 61) if not id % 7)


async def test_what_an_attempt_had_done_is_forgotten_when_it_is_counted(records: JobRecords, leases: Leases) -> None:
    await accept(records)
    await leases.renew(OURS, [heartbeat(done=12, started_at=NOW + 1)], NOW)
    before = await read(records)
    assert await leases.add_attempt(7, 1) == 1
    after = await read(records)
    assert (before.done, after.done, after.version) == (12, 0, before.version + 1)


async def test_a_round_that_was_under_way_brings_nothing_of_a_counted_attempt_back(
    records: JobRecords, leases: Leases
) -> None:
    await accept(records)
    await leases.add_attempt(7, 1)
    counted = await read(records)
    told = await leases.renew(OURS, [heartbeat(done=12, started_at=NOW + 1)], NOW)
    assert told == Renewal(frozenset(), frozenset(), frozenset())
    assert await read(records) == counted
    await leases.renew(OURS, [heartbeat(attempts=1, done=2, started_at=NOW + 1)], NOW)
    assert (await read(records)).done == 2


async def test_attempts_are_counted_by_the_driver_only(records: JobRecords, leases: Leases) -> None:
    await accept(records)
    assert [await leases.add_attempt(7, 1), await leases.add_attempt(7, 1)] == [1, 2]
    await claim_ids(leases)
    assert await leases.add_attempt(7, 1) is None
    assert await leases.add_attempt(7, 2) == 3
    assert await leases.add_attempt(8, 1) is None


async def test_a_success_is_written_whole(database: Database, records: JobRecords, leases: Leases) -> None:
    await accept(records)
    await leases.renew(OURS, [heartbeat(done=12, started_at=NOW + 1)], NOW)
    sent = hook()
    assert await leases.end(7, 1, outcome(hook=sent, flagged=True, delete_at=NOW + 99), NOW + 2)
    record = await read(records)
    assert (record.state, record.ended_at, record.seconds) == (State.SUCCESS, NOW + 2, 1.5)
    assert (record.sampler, record.flagged, record.delete_at) == ("DDIMScheduler", True, NOW + 99)
    assert (record.message, record.done, record.lease_owner) == (None, 14, None)
    assert record.version == 3
    assert not await has_input(database)
    [due] = await Outbox(database).claim("courier", LATER, NOW + 2, 9, 9, {})
    assert due.entry == sent


async def test_the_end_tells_the_start_where_no_round_did(records: JobRecords, leases: Leases) -> None:
    for id in (1, 2, 3):
        await accept(records, id)
    await leases.renew(OURS, [heartbeat(1, started_at=NOW + 1)], NOW + 1)
    for id, started_at in ((1, NOW + 2), (2, NOW + 2), (3, None)):
        assert await leases.end(id, 1, outcome(), NOW + 3, started_at)
    assert [(await read(records, id)).started_at for id in (1, 2, 3)] == [NOW + 1, NOW + 2, None]


async def test_a_failure_tells_why_in_text_that_every_database_keeps(records: JobRecords, leases: Leases) -> None:
    await accept(records)
    assert await leases.end(7, 1, outcome(State.FAILED, message="broken \0 at \ud800 \u2605"), NOW)
    record = await read(records)
    assert (record.state, record.message, record.done) == (State.FAILED, "broken  at ? \u2605", 0)


async def test_an_end_that_is_no_end_is_refused() -> None:
    with pytest.raises(ValueError, match="running is no end"):
        outcome(State.RUNNING)


async def test_a_job_ends_once(database: Database, records: JobRecords, leases: Leases) -> None:
    await accept(records)
    await leases.end(7, 1, outcome(), NOW)
    ended = await read(records)
    assert not await leases.end(7, 1, outcome(State.FAILED, hook()), NOW + 1)
    assert await read(records) == ended
    assert await Outbox(database).status_of(7) == ""


async def test_an_end_that_is_told_again_because_its_answer_was_lost_is_true(
    records: JobRecords, leases: Leases
) -> None:
    await accept(records)
    await leases.end(7, 1, outcome(), NOW)
    ended = await read(records)
    assert await leases.end(7, 1, outcome(), NOW + 1)
    assert await read(records) == ended


async def test_an_end_whose_webhook_cannot_be_written_did_not_happen(
    database: Database, records: JobRecords, leases: Leases
) -> None:
    for id in (7, 8):
        await accept(records, id=id)
    sent = hook()
    assert await leases.end(7, 1, outcome(hook=sent), NOW)
    with pytest.raises(IntegrityError):
        await leases.end(8, 1, outcome(hook=twin(sent.id)), NOW)
    assert (await read(records, 8)).state == State.QUEUED
    assert await has_input(database, 8)


def twin(id: str) -> OutboxEntry:
    return replace(hook(8), id=id)


async def test_a_late_first_attempt_changes_nothing(database: Database, records: JobRecords, leases: Leases) -> None:
    await accept(records)
    await leases.renew(OURS, [heartbeat(done=3, started_at=NOW, preview=b"one")], NOW)
    await claim_ids(leases)
    await leases.renew(THEIRS, [heartbeat(fence=2, done=5, started_at=LATER)], LATER)
    before = await read(records)

    told = await leases.renew(Lease("ours", LATER + 99), [heartbeat(done=9, total=99, preview=b"late")], LATER)
    assert told == Renewal(frozenset(), frozenset({7}), frozenset())
    assert await leases.add_attempt(7, 1) is None
    await leases.release(7, 1)
    for state in (State.SUCCESS, State.FAILED, State.CANCELLED):
        assert not await leases.end(7, 1, outcome(state, hook()), LATER)

    assert await read(records) == before
    assert await records.preview(7) == b"one"
    assert await has_input(database)
    assert await Outbox(database).status_of(7) == ""
    assert await leases.end(7, 2, outcome(), LATER)
