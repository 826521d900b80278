"""The ingress without Ray or a socket: its ASGI application over real records, and a client with a key of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from deployments import ingress
from deployments.ingress import Ingress
from serve_app.access.keys import make_key
from serve_app.api.application import Application
from serve_app.config import ApiConfig
from serve_app.errors import ModelUnavailable
from tests.unit.service.stand_in import BASE_URL, Bench

BODY = {
    "prompt": "a red star",
    "seed": 7,
    "safety_checker": "no",
    "init_image": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC",
    "width": 64,
    "height": 64,
}
"""A request that an ingress of its own reads whole: its picture is one pixel."""


class Answering:
    """Replicas that are all there, unless a test takes the models away."""

    away = False

    async def model_answers(self, id: str) -> None:
        """It does, or does not."""
        if self.away:
            raise ModelUnavailable(id)

    async def postprocess_answers(self) -> None:
        """It does."""


class PartsOf:
    """What an ingress has of a process, without Ray."""

    def __init__(self, one: Bench) -> None:
        self.database, self.leases, self.store, self.driver = one.database, one.leases, one.store, one.driver
        self.replicas = Answering()

    async def close(self) -> None:
        """The bench does it."""


@asynccontextmanager
async def client_of(one: Bench, monkeypatch: pytest.MonkeyPatch, **api: object) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with a key of this process' ingress; `api` are settings of ApiConfig."""
    async with app_of(one, monkeypatch, **api) as (app, key), stranger(app) as client:
        client.headers["key"] = key
        yield client


@asynccontextmanager
async def app_of(one: Bench, monkeypatch: pytest.MonkeyPatch, **api: object) -> AsyncIterator[tuple[Application, str]]:
    """The application of this process' ingress, started, and a key of it."""
    config = one.config.model_copy(update={"api": ApiConfig.model_validate({"keyless_fetch": True, **api})})
    key = make_key(config.storage.data_path, "first")
    monkeypatch.setattr(ingress, "Parts", lambda *_: PartsOf(one))
    app = Ingress(config, {}, None, None).__serve_build_asgi_app__()
    async with app.router.lifespan_context(app):
        yield app, key


def stranger(app: Application) -> httpx2.AsyncClient:
    """A client without a key."""
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app, raise_app_exceptions=False), base_url=BASE_URL, follow_redirects=False
    )
