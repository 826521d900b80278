"""A job's events in a browser: a key buys a ticket, and the ticket in the URL opens these events and nothing else."""

import logging
from pathlib import Path

import pytest

from serve_app.access.keys import make_key
from serve_app.api.answer_schemas import TICKET
from tests.unit.api.viewing import assert_valid
from tests.unit.deployments.over_asgi import app_of, stranger
from tests.unit.service.stand_in import bench


async def test_a_ticket_opens_its_jobs_events_without_a_key_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with bench(tmp_path) as one, app_of(one, monkeypatch) as (app, key), stranger(app) as client:
        job, other = [(await one.ended((await one.accept()).id)).id for _ in range(2)]
        told = (await client.post(f"/v1/jobs/{job}/ticket", json={"key": key})).json()
        assert_valid(told, TICKET)
        ticket = told["ticket"]
        assert told["events"].endswith(f"/v1/jobs/{job}/events?ticket={ticket}")
        stream = await client.get(told["events"], headers={"Origin": "https://page.example"})
        assert (stream.status_code, stream.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        assert "event: success" in stream.text
        over = await client.get(told["events"], headers={"Last-Event-ID": stream.text.split("id: ")[1].split()[0]})
        assert over.status_code == 204
        elsewhere = [
            await client.get(f"/v1/jobs/{other}/events?ticket={ticket}"),
            await client.get(f"/v1/jobs/{job}?ticket={ticket}"),
            await client.delete(f"/v1/jobs/{job}?ticket={ticket}"),
            await client.get(f"/v1/jobs/{job}", headers={"Authorization": f"Bearer {ticket}"}),
            await client.post(f"/v1/jobs/{job}/ticket?ticket={ticket}"),
            await client.get(f"/v1/models?ticket={ticket}"),
            await client.get(f"/v1/jobs/{job}/events?ticket="),
        ]
    assert [answer.status_code for answer in elsewhere] == [401] * len(elsewhere)
    assert all(ticket not in answer.text for answer in elsewhere)
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    assert not any(ticket in line for line in ours)


async def test_a_ticket_is_made_for_the_jobs_own_key_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(tmp_path) as one, app_of(one, monkeypatch) as (app, key), stranger(app) as client:
        job = (await one.accept()).id
        other = make_key(one.config.storage.data_path, "other")
        answers = [await client.post(f"/v1/jobs/{job}/ticket", headers={"key": shown}) for shown in ("", other, key)]
    assert [answer.status_code for answer in answers] == [401, 404, 200]


async def test_a_ticket_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(tmp_path) as one, app_of(one, monkeypatch) as (app, key), stranger(app) as client:
        job = (await one.ended((await one.accept()).id)).id
        told = (await client.post(f"/v1/jobs/{job}/ticket", headers={"key": key})).json()
        monkeypatch.setattr("deployments.ingress.time.time", lambda: float(told["ticket"].partition(".")[0]))
        assert (await client.get(told["events"])).status_code == 401
