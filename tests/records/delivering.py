"""A deliverer as a courier builds it, with the real poster, allowed to reach loopback; and how to look at its work."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest
from standardwebhooks import Webhook

from serve_app.config import WebhooksConfig
from serve_app.inputs.post import GuardedPoster
from serve_app.records.database import Database
from serve_app.records.outbox import HookRecord, Outbox, OutboxEntry, make_entry
from serve_app.webhooks.deliverer import Deliverer
from serve_app.webhooks.secrets import HookSecrets
from serve_app.webhooks.sending import Sender
from tests.servers.hook_receiver import Received

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody; it is made once because the system's certificates take a tenth of a second to load."""
PATIENCE_S = 120.0
"""Only a failing test waits for so long."""
on_sqlite_alone = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what is about receivers; the outbox's own statements are tested on both databases."""


@asynccontextmanager
async def delivering(database: Database, owner: str = "courier", **options: object) -> AsyncIterator[Deliverer]:
    """One courier's deliverer; what still runs at the end is broken off."""
    config = WebhooksConfig.model_validate({"allowed_networks": ["127.0.0.0/8"], "timeout_s": 10.0} | options)
    poster = GuardedPoster(config, tls=NO_TLS)
    sender = Sender(HookSecrets(database), poster, config, time.time, Random(0))
    deliverer = Deliverer(Outbox(database), sender, config, owner)
    yield deliverer
    await deliverer.close(grace_s=0)
    await poster.close()


async def put(database: Database, urls: Sequence[str], first_job: int = 1) -> list[OutboxEntry]:
    """One webhook for each of these URLs, of jobs with successive ids."""
    now = time.time()
    entries = [
        make_entry(job, "first", url, {"status": "success", "id": job}, now) for job, url in enumerate(urls, first_job)
    ]
    async with database.write() as connection:
        for entry in entries:
            await Outbox.insert(connection, entry)
    return entries


async def until(true: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.02)


async def marked(database: Database, job: int = 1, attempts: int = 1) -> HookRecord:
    """The entry of this job, once so many attempts are marked."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            [record] = [each for each in await Outbox(database).listing(None, 1000) if each.job_id == job]
            if record.attempts >= attempts:
                return record
            await asyncio.sleep(0.02)


async def verified(database: Database, request: Received) -> object:
    """What the receiver's library reads in this request. Raises WebhookVerificationError."""
    secret = await HookSecrets(database).current("first", time.time())
    return Webhook(secret).verify(request.body, request.headers)
