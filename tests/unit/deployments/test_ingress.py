"""The HTTP side over real records: what it answers where the store of pictures is away."""

import logging
from pathlib import Path

import pytest

from serve_app.api.problems import TABLE
from serve_app.errors import StoreUnavailable
from serve_app.postprocess.storage import InMemoryStore, StoredFile
from serve_app.records.jobs import JobRecord
from serve_app.service.lines import LINES
from tests.unit.deployments.over_asgi import Answering, client_of
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


async def test_readiness_tells_by_name_what_does_not_answer_and_health_does_not_care(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch) as client:
        ready = await client.get("/readyz")
        monkeypatch.setattr(Answering, "away", True)
        monkeypatch.setattr("serve_app.service.readiness.FRESH_S", 0)
        break_off(one.store, monkeypatch)
        answer = await client.get("/readyz")
        alive = await client.get("/healthz")
    assert (ready.status_code, ready.json()["missing"]) == (200, [])
    assert (answer.status_code, answer.json()["missing"]) == (503, ["store", "model pocket"])
    assert (answer.json()["status"], answer.headers["cache-control"]) == ("error", "no-store")
    assert alive.status_code == 200


async def test_refused_requests_and_unmatched_paths_are_told_to_the_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[logging.LogRecord] = []
    monkeypatch.setattr(LINES, "handle", told.append)
    monkeypatch.setattr(LINES, "isEnabledFor", lambda _: True)
    async with bench(tmp_path) as one, client_of(one, monkeypatch) as client:
        await client.get("/files/00000000-0000-0000-0000-000000000000-0.png")  # as those do who poll a future link
        await client.post("/no/such/path", headers={"key": "secret-key"})
        await client.post("/api/v3/img2img", json={"key": "secret-key", "prompt": "a secret"}, headers={"key": ""})
        await client.post("/api/v3/img2img", json={"prompt": "a secret", "width": "x"})
        await client.request("GET", "/v1/models", content=b"{}")
    lines = [record.getMessage() for record in told]
    assert lines[0].startswith("refused POST /no/such/path from ")
    assert lines[0].endswith(": 404 Not found")
    assert lines[1].endswith(": 401 Invalid Api Key")
    assert "The width must be an integer." in lines[2]
    assert lines[3].endswith(": 413 This request takes no body")
    assert "secret" not in "".join(lines)
