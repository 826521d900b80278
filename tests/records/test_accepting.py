"""Accepting: a job is written down whole and once, whoever asks at the same moment."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from serve_app.errors import IdempotencyConflict
from serve_app.records.clearing import Clearing
from serve_app.records.database import Database
from serve_app.records.jobs import Idempotency, JobRecord, JobRecords, State
from serve_app.records.leases import Leases
from serve_app.records.rows import LARGEST_ID
from tests.records.making import LATER, NOW, OURS, PNG, THEIRS, accept, claim_ids, has_input, new_job, read

KEY = Idempotency("order-1", "a" * 64)


async def test_what_was_accepted_is_read_back_as_it_was(records: JobRecords) -> None:
    new = new_job()
    accepted = await records.accept(new, OURS, None, 7)
    assert accepted.fresh
    assert accepted.record == JobRecord(
        id=7,
        key_name="first",
        model_id="pocket",
        file_prefix=new.file_prefix,
        request=new.request,
        job=new.job,
        links=new.links,
        fetch_url="https://host.test/fetch/7",
        webhook=new.webhook,
        state=State.QUEUED,
        version=1,
        cost=3_000_000_000,
        done=0,
        total=14,
        watched_until=0.0,
        attempts=0,
        cancel_asked=False,
        lease_owner="ours",
        lease_until=OURS.until,
        fence=1,
        created_at=NOW,
        started_at=None,
        ended_at=None,
        deadline_at=NOW + 600,
        seconds=None,
        sampler=None,
        flagged=None,
        result=None,
        message=None,
        temporary=False,
        delete_at=None,
    )
    assert await read(records) == accepted.record
    assert (await read(records)).state is State.QUEUED


async def test_its_picture_is_kept_bit_by_bit(records: JobRecords, leases: Leases) -> None:
    await accept(records)
    [claimed] = await leases.claim(THEIRS, LATER, 10)
    assert claimed.png == PNG


@pytest.mark.parametrize("id", [0, -1, 8, LARGEST_ID, 2**31, 2**63, 10**30])
async def test_there_is_no_job_of_any_other_id(records: JobRecords, id: int) -> None:
    await accept(records)
    assert await records.get(id) is None
    assert await records.preview(id) is None
    assert await records.ask_cancel(id) is None
    assert await records.retry(id, NOW) is None
    await records.watch(id, NOW)


async def test_a_job_whose_id_is_taken_gets_another_one_and_its_fetch_url_too(records: JobRecords) -> None:
    await accept(records)
    other = await accept(records)
    assert other.fresh
    assert other.record.id != 7
    assert 1 <= other.record.id <= LARGEST_ID
    assert other.record.fetch_url == f"https://host.test/fetch/{other.record.id}"
    assert await read(records, other.record.id) == other.record


async def test_a_call_that_is_made_again_accepts_the_job_once(records: JobRecords) -> None:
    new = new_job()
    first = await records.accept(new, OURS, None, 7)
    assert await records.accept(new, OURS, None, 7) == first
    assert (await records.counts())[State.QUEUED] == 1


async def test_a_call_made_again_after_somebody_claimed_the_job_does_not_drive_it(
    records: JobRecords, leases: Leases
) -> None:
    new = new_job()
    await records.accept(new, OURS, KEY, 7)
    await claim_ids(leases)
    again = await records.accept(new, OURS, KEY, 7)
    assert (again.fresh, again.record.id, again.record.lease_owner) == (False, 7, "theirs")


async def test_the_same_idempotency_key_and_body_give_the_first_job(records: JobRecords) -> None:
    first = await accept(records, idempotent=KEY)
    second = await accept(records, id=8, idempotent=KEY)
    assert (first.fresh, second.fresh) == (True, False)
    assert second.record == first.record
    assert await records.get(8) is None


async def test_the_key_leads_to_its_job_also_where_the_first_id_was_taken(records: JobRecords) -> None:
    await accept(records)
    first = await accept(records, idempotent=KEY)
    assert first.record.id != 7
    assert (await accept(records, id=9, idempotent=KEY)).record == first.record


async def test_another_body_is_a_conflict_and_nothing_is_written(records: JobRecords) -> None:
    await accept(records, idempotent=KEY)
    with pytest.raises(IdempotencyConflict):
        await accept(records, id=8, idempotent=replace(KEY, body_sha256="b" * 64))
    assert await records.get(8) is None
    assert (await records.counts())[State.QUEUED] == 1


async def test_idempotency_keys_of_two_clients_are_two(records: JobRecords) -> None:
    await accept(records, idempotent=KEY)
    assert (await accept(records, id=8, idempotent=KEY, key_name="second")).fresh


async def test_a_forgotten_idempotency_key_is_new(database: Database, records: JobRecords) -> None:
    await accept(records, idempotent=KEY)
    assert await Clearing(database).purge_idempotency(NOW) == 0
    assert await Clearing(database).purge_idempotency(NOW + 1) == 1
    assert (await accept(records, id=8, idempotent=KEY)).fresh


async def test_duplicates_at_the_same_moment_are_one_job(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(3)]
    answers = await asyncio.gather(
        *(accept(JobRecords(databases[n % 3]), id=100 + n, idempotent=KEY) for n in range(12))
    )
    assert sum(answer.fresh for answer in answers) == 1
    [id] = {answer.record.id for answer in answers}
    assert (await JobRecords(databases[0]).counts())[State.QUEUED] == 1
    assert await has_input(databases[0], id)
    for database in databases:
        await database.close()


async def test_jobs_that_want_one_id_at_the_same_moment_get_different_ones(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(3)]
    answers = await asyncio.gather(*(accept(JobRecords(databases[n % 3])) for n in range(9)))
    assert len({answer.record.id for answer in answers}) == 9
    assert all(answer.fresh for answer in answers)
    for database in databases:
        await database.close()


async def test_a_job_that_breaks_a_rule_of_the_tables_is_refused_whole(database: Database) -> None:
    records = JobRecords(database)
    with pytest.raises(IntegrityError):
        await accept(records, id=8, idempotent=KEY, model_id=None)
    assert await records.get(8) is None
    assert (await accept(records, id=9, idempotent=KEY)).fresh, "its idempotency key was not written either"
