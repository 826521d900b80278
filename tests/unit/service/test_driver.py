"""Driving jobs: attempts, leases, ends. Real records; replicas that break as told."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from sqlalchemy import delete

from serve_app.api.problems import text_of
from serve_app.errors import (
    AttemptsExhausted,
    GenerationFailed,
    InvalidFields,
    ModelUnavailable,
    Overloaded,
    RecordsUnavailable,
)
from serve_app.postprocess.storage import InMemoryStore
from serve_app.records.jobs import State
from serve_app.records.leases import Outcome
from serve_app.records.rows import Lease
from serve_app.records.tables import inputs
from serve_app.service.replicas import BrokenOff, PixelsLost
from tests.unit.service.stand_in import REQUEST, bench

FAR = 1000.0


async def test_an_accepted_job_is_driven_to_its_success(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        record = await one.accept(samples=2)
        ended = await one.ended(record.id)
        assert (ended.state, ended.sampler, ended.seconds, ended.flagged) == ("success", "DDIMScheduler", 0.5, False)
        assert (ended.attempts, ended.delete_at, ended.links) == (0, None, record.links)
        outputs = (await one.watcher.seen(ended)).outputs
        assert [(await one.store.get(link.rpartition("/")[2])).data[:4] for link in outputs] == [b"\x89PNG"] * 2
        await one.until(lambda: one.driver.jobs == 0)


async def test_a_job_whose_replica_died_runs_again_with_the_same_seed(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.append(BrokenOff("killed"))
        undisturbed, disturbed = await one.accept(), await one.accept()
        ended = [await one.ended(record.id) for record in (disturbed, undisturbed)]
        assert sorted(record.attempts for record in ended) == [0, 1]
        first, second = [(await one.store.get(f"{record.file_prefix}-0.png")).data for record in ended]
        assert first == second


async def test_a_job_whose_pixels_were_lost_runs_again_and_is_not_blamed(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.finish_script.append(PixelsLost("their replica died"))
        ended = await one.ended((await one.accept()).id)
        assert (ended.state, ended.attempts, len(one.replicas.started)) == ("success", 0, 2)
        assert one.replicas.suspects == []


async def test_pixels_whose_postprocess_died_are_finished_again_and_not_made_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.finish_script.extend([BrokenOff("killed"), Overloaded(), BrokenOff("killed")])
        ended = await one.ended((await one.accept()).id)
        assert (ended.state, ended.attempts, len(one.replicas.started)) == ("success", 2, 1)


async def test_pixels_that_kill_every_postprocess_fail_their_job(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.finish_script.extend(BrokenOff("killed") for _ in range(5))
        ended = await one.ended((await one.accept()).id)
        assert (ended.state, ended.attempts, len(one.replicas.started)) == ("failed", 3, 1)
        assert ended.message == text_of(AttemptsExhausted())


async def test_a_job_that_kills_every_replica_is_failed_with_the_reason(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.extend(BrokenOff("killed") for _ in range(5))
        ended = await one.ended((await one.accept()).id)
        assert (ended.state, ended.attempts) == ("failed", 3)
        assert ended.message == "The image could not be generated, several attempts broke off"
        assert ended.delete_at is not None


async def test_suspects_run_together_again_and_others_beside_them(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        go = asyncio.Event()
        one.replicas.script.extend([*(BrokenOff("killed") for _ in range(4)), *[go] * 6])
        ids = [(await one.accept()).id for _ in range(4)]
        await one.until(lambda: len(one.replicas.suspects) == 2)
        fresh = await one.accept()
        await one.until(lambda: fresh.id in one.replicas.running)
        assert len(one.replicas.running) == 3, "a half of the suspects, and the newcomer"
        go.set()
        assert {(await one.ended(id)).state for id in (*ids, fresh.id)} == {"success"}
        assert sorted(one.replicas.suspects) == sorted(ids)


async def test_a_full_or_absent_replica_is_waited_for_without_an_attempt(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.extend([Overloaded(), ModelUnavailable()])
        one.replicas.finish_script.append(ModelUnavailable())
        ended = await one.ended((await one.accept()).id)
        assert (ended.state, ended.attempts, len(one.replicas.started)) == ("success", 0, 3)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GenerationFailed("why"), "Image generation failed"),
        (InvalidFields({"lora_model": ["The lora does not fit."]}), "The lora does not fit."),
    ],
)
async def test_a_jobs_own_failure_ends_it(tmp_path: Path, error: Exception, message: str) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.append(error)
        ended = await one.ended((await one.accept()).id)
        assert (ended.state, ended.message, ended.attempts) == ("failed", message, 0)


async def test_a_job_that_takes_too_long_is_failed_at_its_deadline(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.append(asyncio.Event())
        one.accepter._deadline_s = 0.3
        ended = await one.ended((await one.accept()).id)
        assert ended.message == "The image took too long to generate, try again later"
        assert one.replicas.cancelled == [ended.id]


async def test_a_cancelled_job_stops_on_its_replica_and_ends_soon(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.append(asyncio.Event())
        record = await one.accept(webhook="https://good.test/hook", track_id=5)
        await one.until(lambda: one.replicas.running == {record.id})
        await one.records.ask_cancel(record.id)
        ended = await one.ended(record.id)
        assert (ended.state, one.replicas.cancelled) == ("cancelled", [record.id])
        (due,) = await one.outbox.claim("me", time.time() + 9, time.time() + 1, 9, 9, {})
        assert json.loads(due.entry.payload) == {
            "status": "failed", "id": record.id, "message": "The request was cancelled", "track_id": 5,
        }  # fmt: skip


async def test_a_driver_that_lost_its_lease_stops_and_writes_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.append(asyncio.Event())
        record = await one.accept()
        await one.until(lambda: one.replicas.running == {record.id})
        far = time.time() + 1000
        (claimed,) = await one.leases.claim(Lease("thief", far), far - 1, 5)
        await one.until(lambda: one.driver.jobs == 0)
        assert one.replicas.cancelled == [record.id]
        now = await one.read(record.id)
        assert (now.ended_at, now.lease_owner, now.fence) == (None, "thief", claimed.record.fence)


async def test_an_orphan_is_driven_again_to_the_very_same_picture(tmp_path: Path) -> None:
    store = InMemoryStore()
    async with bench(tmp_path, store) as first, bench(tmp_path, store) as second:
        undisturbed = await first.ended((await first.accept()).id)
        first.replicas.script.append(asyncio.Event())
        record = await first.accept()
        await first.until(lambda: first.replicas.running == {record.id})
        await first.driver.close()
        (claimed,) = await second.leases.claim(second.driver.lease(), time.time(), 5)
        second.drive(claimed)
        ended = await second.ended(record.id)
        assert (ended.state, ended.attempts, ended.fence) == ("success", 0, 3)
        one, other = [(await store.get(f"{each.file_prefix}-0.png")).data for each in (undisturbed, ended)]
        assert one == other


async def test_a_claimed_job_that_was_to_be_cancelled_never_runs(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.append(asyncio.Event())
        record = await one.accept()
        await one.records.ask_cancel(record.id)
        far = time.time() + 1000
        (claimed,) = await one.leases.claim(one.driver.lease(), far, 5)
        started = len(one.replicas.started)
        one.drive(claimed)
        assert (await one.ended(record.id)).state == State.CANCELLED
        assert len(one.replicas.started) == started


async def test_a_claimed_job_without_its_picture_fails_and_does_not_wait_for_ever(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        record = await one.accept()
        await one.driver.close()
        async with one.database.write() as connection:
            await connection.execute(delete(inputs))
        (claimed,) = await one.leases.claim(one.driver.lease(), time.time() + FAR, 1)
        one.drive(claimed)
        ended = await one.ended(record.id)
        assert (ended.state, ended.message) == ("failed", text_of(GenerationFailed()))


async def test_an_end_waits_for_records_that_are_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(tmp_path) as one:
        end, tries = one.leases.end, []

        async def away(id: int, fence: int, outcome: Outcome, now: float, started_at: float | None) -> bool:
            tries.append(outcome.state)
            if len(tries) < 3:
                raise RecordsUnavailable("away")
            return await end(id, fence, outcome, now, started_at)

        monkeypatch.setattr(one.leases, "end", away)
        assert (await one.ended((await one.accept()).id)).state == "success"
        assert tries == ["success"] * 3


async def test_leases_are_renewed_while_a_job_runs(tmp_path: Path) -> None:
    async with bench(tmp_path, lease_s=3600.0) as one:
        go = asyncio.Event()
        one.replicas.script.append(go)
        record = await one.accept()
        first_until = record.lease_until
        while (await one.read(record.id)).lease_until <= first_until:
            await asyncio.sleep(0.02)
        assert await one.leases.claim(Lease("thief", first_until + FAR), first_until, 5) == []
        go.set()
        assert (await one.ended(record.id)).state == "success"


async def test_progress_is_written_and_a_watched_job_has_a_preview(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.extend([BrokenOff("first run"), asyncio.Event()])
        record = await one.accept()
        await one.records.watch(record.id, time.time() + FAR)
        while await one.records.preview(record.id) is None:
            await asyncio.sleep(0.02)
        now = await one.read(record.id)
        assert (now.state, now.done, now.total, now.attempts) == ("running", 1, 4, 1)


async def test_a_client_that_goes_away_takes_nothing_with_it(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:

        async def request() -> None:
            REQUEST.set("a request")
            record = await one.accept()
            await one.driver.wait(record.id, FAR)

        go = asyncio.Event()
        one.replicas.script.append(go)
        handler = asyncio.create_task(request())
        await one.until(lambda: bool(one.replicas.running))
        handler.cancel()
        go.set()
        assert (await one.ended(one.replicas.started[0])).state == "success"
        assert one.replicas.requests == ["none"]
