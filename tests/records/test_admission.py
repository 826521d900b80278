"""What is asked before a job is made, and the secret of links."""

import asyncio

import pytest

from serve_app.access.admission import Admission
from serve_app.access.link_secret import SECRET_BYTES, link_secret
from serve_app.errors import IdempotencyConflict, Overloaded
from serve_app.records.database import Database
from serve_app.records.jobs import Idempotency, JobRecords
from serve_app.records.leases import Leases
from tests.records.making import NOW, accept, outcome

KEY = Idempotency("a key", "0" * 64)


async def test_a_key_that_was_used_gives_its_job_and_a_new_one_none(database: Database, records: JobRecords) -> None:
    admission = Admission(database, 5)
    assert await admission.first_job("first", KEY) is None
    record = (await accept(records, idempotent=KEY)).record
    assert await admission.first_job("first", KEY) == record
    assert await admission.first_job("second", KEY) is None


async def test_a_key_that_was_used_with_another_body_is_a_conflict(database: Database, records: JobRecords) -> None:
    await accept(records, idempotent=KEY)
    with pytest.raises(IdempotencyConflict):
        await Admission(database, 5).first_job("first", Idempotency(KEY.key, "1" * 64))


async def test_only_unended_jobs_of_the_model_take_room(database: Database, records: JobRecords) -> None:
    admission, leases = Admission(database, 2), Leases(database)
    for id in (1, 2):
        await admission.require_room("pocket")
        await accept(records, id)
    with pytest.raises(Overloaded):
        await admission.require_room("pocket")
    await admission.require_room("other")
    await leases.end(1, 1, outcome(), NOW)
    await admission.require_room("pocket")


async def test_every_process_signs_links_with_the_same_secret(database: Database) -> None:
    made = await asyncio.gather(*(link_secret(database) for _ in range(4)))
    assert len(set(made)) == 1
    assert len(made[0]) == SECRET_BYTES
