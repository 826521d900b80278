"""Jobs that are not waited for: how the tests submit, fetch and watch them."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.conftest import Service
from tests.integration.asking import IMG2IMG, body

QUICK: dict[str, Any] = {"num_inference_steps": 4, "width": 64, "height": 64}
LONG: dict[str, Any] = {"num_inference_steps": 50, "samples": 4, "width": 128, "height": 128}
"""Takes some seconds on the machines that tests run on."""
PATIENCE_S = 900.0


def submit(service: Service, headers: dict[str, str] | None = None, **fields: object) -> dict[str, Any]:
    """The answer to a request that does not wait."""
    with service.client() as client:
        asked = body(service, **{"instant_response": "yes", **fields})
        response = client.post(IMG2IMG, json=asked, headers=headers)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def fetch(service: Service, id: int) -> dict[str, Any]:
    """The answer to one fetch."""
    with service.client() as client:
        response = client.post(f"/api/v4/dreambooth/fetch/{id}", json={"key": service.key})
    answer: dict[str, Any] = response.json()
    return answer


def fetched(service: Service, id: int) -> dict[str, Any]:
    """What a fetch tells when the job has ended."""
    until = time.monotonic() + PATIENCE_S
    while (answer := fetch(service, id))["status"] == "processing":
        assert time.monotonic() < until, answer
        time.sleep(0.1)
    return answer


def resource(service: Service, id: int, method: str = "GET", key: str | None = None) -> httpx2.Response:
    """Our own resource of a job."""
    with service.client() as client:
        return client.request(method, f"/v1/jobs/{id}", headers=bearer(key or service.key))


def bearer(key: str) -> dict[str, str]:
    """The header that shows a key."""
    return {"Authorization": f"Bearer {key}"}


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream."""

    id: int
    name: str
    data: dict[str, Any]


@contextmanager
def watching(service: Service, id: int, last_seen: int | None = None) -> Iterator[Iterator[Event]]:
    """The job's events while the block runs."""
    headers = bearer(service.key) | ({} if last_seen is None else {"Last-Event-ID": str(last_seen)})
    with service.client() as client, client.sse(f"/v1/jobs/{id}/events", headers=headers) as source:
        assert source.response.headers["content-type"].startswith("text/event-stream")
        yield (Event(int(one.id), one.event, json.loads(one.data)) for one in source if one.data)
