"""Accepting: once for each request, links made at once, and no more than there is room for."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serve_app.errors import IdempotencyConflict, Overloaded
from serve_app.records.document import read_job
from serve_app.records.jobs import Accepted, Idempotency, NewJob
from serve_app.records.rows import Lease
from tests.unit.service.stand_in import SIDE, Bench, bench

KEY = Idempotency("a key", "0" * 64)


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Bench]:
    """A process whose replicas never finish."""
    async with bench(tmp_path) as made:
        made.replicas.script.extend(asyncio.Event() for _ in range(20))
        yield made


async def test_everything_that_decides_the_picture_is_written_down(one: Bench) -> None:
    record = await one.accept(samples=2, num_inference_steps=10, strength=0.5, seed=None)
    job = read_job(record.job)
    assert (job.width, job.height, job.samples, job.steps) == (SIDE, SIDE, 2, 10)
    assert 0 <= job.seed < 2**32
    assert job.prompt.startswith("a red star, ")
    assert record.total == 2 * 5
    assert record.deadline_at == record.created_at + one.config.api.job_deadline_s


async def test_links_are_made_when_the_job_is_accepted(one: Bench) -> None:
    record = await one.accept(samples=2)
    assert record.links == tuple(f"http://here.test/files/{record.file_prefix}-{n}.png" for n in (0, 1))
    assert record.fetch_url == f"http://here.test/api/v3/fetch/{record.id}"
    temporary = await one.accept(temp="yes")
    assert "/files/temp/" in temporary.links[0]
    assert "signature=" in temporary.links[0]


async def test_a_repeated_key_is_the_first_job_and_no_picture_is_asked_for(one: Bench) -> None:
    first = await one.accept(KEY)
    again = await one.accept(KEY, init_image="https://gone.test/picture.png")
    assert (again.id, one.driver.jobs) == (first.id, 1)


async def test_concurrent_duplicates_are_one_job(one: Bench) -> None:
    accepted = await asyncio.gather(*(one.accept(KEY) for _ in range(5)))
    assert len({record.id for record in accepted}) == 1
    assert one.driver.jobs == 1


async def test_a_repeated_key_with_another_body_is_refused(one: Bench) -> None:
    await one.accept(KEY)
    with pytest.raises(IdempotencyConflict):
        await one.accept(Idempotency(KEY.key, "1" * 64))


async def test_more_jobs_than_may_wait_are_refused_but_not_the_repetition_of_one(one: Bench) -> None:
    first = await one.accept(KEY)
    for _ in range(7):
        await one.accept()
    with pytest.raises(Overloaded):
        await one.accept()
    assert (await one.accept(KEY)).id == first.id
    assert len(await one.records.list()) == 8


async def test_a_request_that_is_cancelled_while_it_is_written_down_leaves_a_job_that_is_driven(
    one: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, writing, go_on = one.records.accept, asyncio.Event(), asyncio.Event()

    async def held(new: NewJob, lease: Lease, idempotency: Idempotency | None, first_id: int) -> Accepted:
        writing.set()
        await go_on.wait()
        return await write(new, lease, idempotency, first_id)

    monkeypatch.setattr(one.records, "accept", held)
    handler = asyncio.create_task(one.accept())
    await one.until(writing.is_set)
    handler.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handler
    go_on.set()
    await one.until(lambda: one.driver.jobs == 1)
    await one.until(lambda: len(one.replicas.running) == 1)
