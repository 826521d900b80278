"""The services that faults happen to: one on SQLite and files; tests with other needs start their own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from uuid import uuid4

import pytest

from tests.faults.client import PatientClient
from tests.faults.service import FaultService
from tests.faults.trial import Reference, Trial, check
from tests.servers.hook_receiver import receiving

CONFIG = {
    "ingress": {"num_replicas": 2},
    "webhooks": {
        "allowed_networks": ["127.0.0.0/8"],
        "schedule_s": [0, 1, 1, 2, 2, 4, 4, 8, 8, 8],
        "timeout_s": 4.0,
    },
}
"""The defaults, but for a second ingress, and webhooks that are tried again within seconds."""


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultService]:
    """The service with its records in SQLite and its pictures in files, for all tests that leave it running."""
    service = FaultService(tmp_path_factory.mktemp("faults"), CONFIG)
    try:
        service.start()
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="session")
def reference(service: FaultService) -> Reference:
    """The pictures of an undisturbed run."""
    return asyncio.run(_undisturbed(service))


async def _undisturbed(service: FaultService) -> Reference:
    async with trying(service, {}) as trial:
        await trial.submit()
        trial.strikes()
        await trial.until_ended()
        trial.reference = await trial.pictures()
        check(await trial.finish("none"))
        return trial.reference


@pytest.fixture
async def trial(service: FaultService, reference: Reference) -> AsyncIterator[Trial]:
    """A run against the service that tests share."""
    async with trying(service, reference) as trial:
        yield trial


@asynccontextmanager
async def trying(service: FaultService, reference: Reference) -> AsyncIterator[Trial]:
    """A run against this service."""
    async with receiving() as receiver, PatientClient(service.url, service.key) as client:
        yield Trial(service, client, receiver, reference, uuid4().hex, Random(4))
