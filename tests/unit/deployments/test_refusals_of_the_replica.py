"""What only a replica can find wrong with a request is answered over HTTP as what the door finds wrong."""

import json
from pathlib import Path

import pytest

from serve_app.errors import InvalidFields
from tests.unit.deployments.over_asgi import BODY, client_of
from tests.unit.service.stand_in import bench

FIELDS = {"lora_model": ["The lora model 'odd' cannot be used with this model: it is for another one."]}


async def test_a_replicas_refusal_is_a_422_that_names_the_field_at_once_and_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch) as client:
        one.replicas.script.append(InvalidFields(FIELDS))
        answer = await client.post("/api/v3/img2img", json={**BODY, "webhook": "https://good.test/hook"})
        assert (answer.status_code, answer.json()) == (422, {"status": "error", "message": FIELDS})
        (job,) = await one.records.list()
        fetched = (await client.post(f"/api/v3/fetch/{job.id}")).json()
        resource = (await client.get(f"/v1/jobs/{job.id}")).json()
        (due,) = await one.outbox.claim("me", job.created_at + 99, job.created_at + 200, 9, 9, {})
    assert fetched == {"status": "failed", "id": job.id, "message": FIELDS, "output": ""}
    assert (resource["status"], resource["message"]) == ("failed", FIELDS)
    assert json.loads(due.entry.payload)["message"] == FIELDS


async def test_very_many_breaks_are_refused_before_a_job_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch) as client:
        answer = await client.post("/api/v3/img2img", json={**BODY, "negative_prompt": "a BREAK " * 17})
        assert await one.records.list() == []
    assert (answer.status_code, list(answer.json()["message"])) == (422, ["negative_prompt"])
