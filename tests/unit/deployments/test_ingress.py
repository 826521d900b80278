"""The HTTP side over real records: what it answers where the store of pictures is away."""

from pathlib import Path

import pytest

from serve_app.api.problems import TABLE
from serve_app.errors import StoreUnavailable
from serve_app.jobs.records import JobRecord
from serve_app.postprocess.storage import InMemoryStore, StoredFile
from tests.unit.deployments.over_asgi import client_of
from tests.unit.service.stand_in import Bench, bench


async def ended_job(one: Bench, **fields: object) -> JobRecord:
    return await one.ended((await one.accept(None, **fields)).id)


def break_off(store: InMemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(name: str) -> StoredFile:
        raise StoreUnavailable(f"get {name}: connection refused")

    monkeypatch.setattr(store, "get", away)


async def test_a_picture_in_a_store_that_is_away_is_asked_for_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch) as client:
        (link,) = (await ended_job(one)).links
        assert (await client.get(link)).status_code == 200
        break_off(one.store, monkeypatch)
        answer = await client.get(link)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json() == {"status": "error", "message": TABLE[StoreUnavailable][1], "retry_after": 5}


@pytest.mark.parametrize(("errors_as_200", "status"), [(False, 503), (True, 200)])
async def test_a_fetch_of_pictures_that_cannot_be_read_is_told_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors_as_200: bool, status: int
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch, errors_as_200=errors_as_200) as client:
        record = await ended_job(one, base64="yes")
        assert (await client.post(record.fetch_url)).json()["status"] == "success"
        break_off(one.store, monkeypatch)
        answer = await client.post(record.fetch_url)
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "5")
    assert answer.json()["status"] == "error"


async def test_a_link_never_answers_200_without_its_picture_in_the_older_mode_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch, errors_as_200=True) as client:
        (link,) = (await ended_job(one)).links
        break_off(one.store, monkeypatch)
        assert (await client.get(link)).status_code == 503
