"""Webhooks over HTTP: signed, true, and told of in a fetch."""

import asyncio
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from standardwebhooks import Webhook

from serve_app.records.database import Database
from serve_app.webhooks.secrets import HookSecrets
from tests.conftest import Service
from tests.integration.jobs import LONG, PATIENCE_S, QUICK, fetch, fetched, resource, submit


class Receiver(ThreadingHTTPServer):
    """Keeps every POST as (headers, body); answers 503 so many times first."""

    def __init__(self, refusals: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.refusals = refusals

    @property
    def url(self) -> str:
        """Where jobs send their ends."""
        return f"http://127.0.0.1:{self.server_port}/hook"

    def wait(self, count: int) -> None:
        """Until so many have come."""
        until = time.monotonic() + PATIENCE_S
        while len(self.received) < count:
            assert time.monotonic() < until, self.received
            time.sleep(0.05)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(({name.lower(): text for name, text in self.headers.items()}, content))
        refused = len(self.server.received) <= self.server.refusals
        self.send_response(503 if refused else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes everything."""
    server = Receiver()
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def secret(service: Service) -> str:
    """What the receivers of the first key's webhooks verify with."""

    async def read() -> str:
        database = Database(f"sqlite+aiosqlite:///{service.data_dir / 'records.sqlite'}")
        try:
            return await HookSecrets(database).current("first", time.time())
        finally:
            await database.close()

    return asyncio.run(read())


OUTCOME = ("nsfw_content_detected", "pictures", "timings")
"""What every channel tells of a result."""


def status_becomes(service: Service, id: int, status: str) -> None:
    """Wait until a fetch tells this webhook_status."""
    until = time.monotonic() + PATIENCE_S
    while (told := fetch(service, id)["webhook_status"]) != status:
        assert time.monotonic() < until, told
        time.sleep(0.1)


def test_a_finished_job_is_told_once_and_signed(service: Service, receiver: Receiver) -> None:
    id = submit(service, webhook=receiver.url, track_id=77, **QUICK)["id"]
    receiver.wait(1)
    headers, content = receiver.received[0]
    payload: dict[str, Any] = json.loads(content)
    Webhook(secret(service)).verify(content, headers)
    done = fetched(service, id)
    assert payload == {
        "status": "success", "track_id": 77,
        **{name: done[name] for name in ("id", "output", "generationTime", "meta", *OUTCOME)},
    }  # fmt: skip
    status_becomes(service, id, "delivered")
    time.sleep(1.5)
    assert len(receiver.received) == 1


def test_a_cancelled_job_is_told_as_failed(service: Service, receiver: Receiver) -> None:
    id = submit(service, webhook=receiver.url, track_id="mine", **LONG)["id"]
    resource(service, id, "DELETE")
    receiver.wait(1)
    assert json.loads(receiver.received[0][1]) == {
        "status": "failed", "id": id, "message": "The request was cancelled", "track_id": "mine",
    }  # fmt: skip


def test_a_refused_webhook_comes_again_under_the_same_id(service: Service, receiver: Receiver) -> None:
    receiver.refusals = 1
    id = submit(service, webhook=receiver.url, **QUICK)["id"]
    receiver.wait(2)
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1
    status_becomes(service, id, "delivered")
