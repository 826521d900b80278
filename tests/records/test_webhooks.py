"""Webhooks end to end: a real outbox, real HTTP, receivers of every temper."""

import time
from collections.abc import AsyncIterator

import pytest
from standardwebhooks import Webhook

from serve_app.records.database import Database
from serve_app.records.outbox import HookState, Outbox
from serve_app.webhooks.deliverer import Deliverer
from serve_app.webhooks.secrets import HookSecrets
from tests.records.delivering import PATIENCE_S, delivering, marked, on_sqlite_alone, put, until, verified
from tests.servers.hook_receiver import HookReceiver, hang, receiving, status


@pytest.fixture
async def receiver() -> AsyncIterator[HookReceiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def deliverer(database: Database) -> AsyncIterator[Deliverer]:
    async with delivering(database) as deliverer:
        yield deliverer


async def test_a_due_webhook_arrives_signed_and_is_marked(
    database: Database, receiver: HookReceiver, deliverer: Deliverer
) -> None:
    [entry] = await put(database, [f"{receiver.url}/hook"])
    assert await deliverer.round(time.time()) == 1
    record = await marked(database)
    assert (record.state, record.last_status) == (HookState.DELIVERED, 200)
    [request] = receiver.received
    assert request.body == entry.payload.encode()
    assert request.headers["webhook-id"] == entry.id
    assert await verified(database, request) == {"status": "success", "id": 1}
    assert await deliverer.round(time.time() + 1e6) == 0


async def test_a_failed_one_is_sent_again_with_its_id_and_a_new_signature(
    database: Database, receiver: HookReceiver, deliverer: Deliverer
) -> None:
    receiver.answer("/hook", status("500 Oops"), status("200 OK"))
    await put(database, [f"{receiver.url}/hook"])
    begun = time.time()
    await deliverer.round(begun)
    failed = await marked(database)
    assert failed.state == HookState.PENDING
    assert begun + 5 <= failed.next_at <= time.time() + 5.5
    assert await Outbox(database).status_of(1) == "pending 500"
    await deliverer.round(failed.next_at)
    assert (await marked(database, attempts=2)).state == HookState.DELIVERED
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    await verified(database, second)


@pytest.mark.parametrize("line", ["302 Found", "307 Temporary", "400 Bad", "404 Not Found", "500 Oops", "503 Away"])
@on_sqlite_alone
async def test_an_answer_other_than_2xx_is_a_failed_attempt(
    database: Database, receiver: HookReceiver, deliverer: Deliverer, line: str
) -> None:
    receiver.answer("/", status(line, f"Location: {receiver.url}/elsewhere"))
    await put(database, [f"{receiver.url}/"])
    await deliverer.round(time.time())
    record = await marked(database)
    assert (record.state, record.last_status) == (HookState.PENDING, int(line[:3]))
    assert receiver.paths() == ["/"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1/", "ConnectError"),
        ("http://10.0.0.7/", "not public"),
        ("http://169.254.169.254/latest/meta-data", "not public"),
        ("http://[::1]:80/", "not public"),
    ],
)
@on_sqlite_alone
async def test_a_refused_connection_and_a_refused_address_are_failed_attempts(
    database: Database, deliverer: Deliverer, url: str, why: str
) -> None:
    await put(database, [url])
    await deliverer.round(time.time())
    record = await marked(database)
    assert (record.state, record.last_status) == (HookState.PENDING, None)
    assert why in (record.last_error or "")
    assert await Outbox(database).status_of(1) == "pending"


@on_sqlite_alone
async def test_a_hanging_receiver_is_a_failed_attempt(database: Database, receiver: HookReceiver) -> None:
    receiver.answer("/", hang)
    await put(database, [f"{receiver.url}/"])
    async with delivering(database, timeout_s=0.3) as deliverer:
        await deliverer.round(time.time())
        record = await marked(database)
    assert (record.state, record.last_error) == (HookState.PENDING, "no answer within 0.3 s")


@on_sqlite_alone
async def test_after_the_last_attempt_it_is_dead_and_can_be_replayed(
    database: Database, receiver: HookReceiver
) -> None:
    receiver.answer("/", *[status("500 Oops")] * 3, status("200 OK"))
    [entry] = await put(database, [f"{receiver.url}/"])
    async with delivering(database, schedule_s=(0, 60, 60)) as deliverer:
        for attempt in range(3):
            assert await deliverer.round(time.time() + attempt * 100) == 1
            await marked(database, attempts=attempt + 1)
        assert await deliverer.round(time.time() + 1e6) == 0
        assert await Outbox(database).status_of(1) == "failed 500"
        assert await Outbox(database).replay(None, time.time()) == 1
        assert await deliverer.round(time.time()) == 1
        assert (await marked(database)).state == HookState.DELIVERED
    assert {request.headers["webhook-id"] for request in receiver.received} == {entry.id}


async def test_410_disables_the_url_for_its_key(
    database: Database, receiver: HookReceiver, deliverer: Deliverer
) -> None:
    receiver.answer("/gone", status("410 Gone"))
    await put(database, [f"{receiver.url}/gone"])
    await deliverer.round(time.time())
    assert (await marked(database)).state == HookState.DEAD
    assert await Outbox(database).status_of(1) == "failed 410"
    await deliverer.close(grace_s=PATIENCE_S)
    await put(database, [f"{receiver.url}/gone", f"{receiver.url}/other"], first_job=2)
    async with delivering(database) as another:
        assert await another.round(time.time()) == 1
        await marked(database, job=3)
    assert receiver.paths() == ["/gone", "/other"]


@pytest.mark.parametrize(("line", "seconds"), [("429 Slower", 120), ("503 Away", 3600), ("500 Oops", 10**8)])
@on_sqlite_alone
async def test_a_receiver_that_names_a_time_is_not_asked_earlier(
    database: Database, receiver: HookReceiver, deliverer: Deliverer, line: str, seconds: int
) -> None:
    receiver.answer("/", status(line, f"Retry-After: {seconds}"))
    await put(database, [f"{receiver.url}/"])
    begun = time.time()
    await deliverer.round(begun)
    wanted = min(seconds, 86400)
    assert begun + wanted <= (await marked(database)).next_at <= time.time() + wanted


@on_sqlite_alone
async def test_during_a_rotation_receivers_with_either_secret_are_served(
    database: Database, receiver: HookReceiver, deliverer: Deliverer
) -> None:
    secrets = HookSecrets(database)
    old = await secrets.current("first", time.time())
    new = await secrets.rotate("first", 3600, time.time())
    await put(database, [f"{receiver.url}/"])
    await deliverer.round(time.time())
    await until(lambda: len(receiver.received) == 1)
    [request] = receiver.received
    for secret in (old, new):
        Webhook(secret).verify(request.body, request.headers)
    await marked(database)
