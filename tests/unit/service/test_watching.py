"""What clients see of a job, also of one that another process drives."""

import asyncio
from pathlib import Path

import pytest

from serve_app.api import events
from serve_app.api.answers import fetched
from serve_app.errors import JobNotFound, RecordsUnavailable, StoreUnavailable
from serve_app.postprocess.storage import StoredFile
from serve_app.records.jobs import JobRecord
from tests.unit.service.stand_in import bench


async def test_a_job_of_another_key_is_not_found(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        record = await one.accept()
        assert (await one.watcher.find(record.id, "first")).id == record.id
        assert (await one.watcher.find(record.id, None)).id == record.id
        for id, key_name in ((record.id, "other"), (record.id % 1000 + 1, "first")):
            with pytest.raises(JobNotFound):
                await one.watcher.find(id, key_name)


@pytest.mark.parametrize("driven_here", [True, False])
async def test_the_end_is_waited_for_whoever_drives_the_job(tmp_path: Path, driven_here: bool) -> None:
    async with bench(tmp_path) as driver, bench(tmp_path, driver.store) as other:
        watcher = (driver if driven_here else other).watcher
        go = asyncio.Event()
        driver.replicas.script.append(go)
        record = await driver.accept()
        assert (await watcher.awaited(record, 0.2)).view.state in ("queued", "running")
        asyncio.get_running_loop().call_later(0.2, go.set)
        seen = await watcher.awaited(record, 8.0)
        assert (seen.view.state, seen.outputs) == ("success", list(record.links))


async def test_who_does_not_wait_is_answered_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.append(asyncio.Event())
        record = await one.accept()
        answer = fetched((await one.watcher.awaited(record, 0.0)).view, [])  # who waits for this job waits for ever
        assert (answer["status"], answer["future_links"]) == ("processing", list(record.links))


async def test_an_accepted_job_is_told_as_processing_where_the_records_go_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.append(asyncio.Event())
        record = await one.accept()

        async def away(_: int) -> JobRecord | None:
            raise RecordsUnavailable("away")

        monkeypatch.setattr(one.records, "get", away)
        answer = fetched((await one.watcher.awaited(record, 0.1)).view, [])
        assert (answer["status"], answer["id"]) == ("processing", record.id)


async def test_an_accepted_job_is_told_as_processing_where_its_pictures_cannot_be_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as one:
        record = await one.accept(base64="yes")

        async def away(_: str) -> StoredFile:
            raise StoreUnavailable("away")

        monkeypatch.setattr(one.store, "get", away)
        answer = fetched((await one.watcher.awaited(record, 8.0)).view, [])
        assert (answer["status"], answer["id"]) == ("processing", record.id)


async def test_base64_pictures_are_read_back_from_the_store(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        record = await one.accept(base64="yes", temp="yes", samples=2)
        seen = await one.watcher.awaited(record, 8.0)
        assert [text[:8] for text in seen.outputs] == ["iVBORw0K"] * 2


async def test_a_stream_of_events_ends_with_the_job(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        go = asyncio.Event()
        one.replicas.script.append(go)
        record = await one.accept()
        asyncio.get_running_loop().call_later(1.2, go.set)
        told = [text async for text in one.watcher.events(record, -1)]
        assert told[0] == events.OPENING
        assert "event: preview" in "".join(told)
        assert "event: success" in told[-1]
        again = [text async for text in one.watcher.events(await one.ended(record.id), -1)]
        assert [text.count("event: success") for text in again] == [0, 1]
