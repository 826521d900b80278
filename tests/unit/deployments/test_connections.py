"""Connections whose clients send no head, or read no answer, are closed: over real sockets on this machine."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deployments import connections
from serve_app.api.gate import Rules
from serve_app.config import ApiConfig

RULES = replace(Rules.of(ApiConfig()), head_timeout_s=0.2, write_timeout_s=0.2)
ENDLESS = b"x" * 2**16


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while scope["path"] == "/endless":
        await send({"type": "http.response.body", "body": ENDLESS, "more_body": True})
        await asyncio.sleep(0)
        if (await _gone(receive)) is True:
            return
    await send({"type": "http.response.body", "body": b"ok"})


async def _gone(receive: Receive) -> bool:
    try:
        async with asyncio.timeout(0.001):
            return bool((await receive())["type"] == "http.disconnect")
    except TimeoutError:
        return False


@asynccontextmanager
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[uvicorn.Server]:
    monkeypatch.setattr(auto, "AutoHTTPProtocol", auto.AutoHTTPProtocol)  # to be put back
    connections.guard_connections()(RULES)
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None, ws="none"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server
    server.should_exit = True
    await running


@asynccontextmanager
async def connected(
    server: uvicorn.Server, first: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(first)
    yield reader, writer
    writer.close()


async def until(happened: Callable[[], bool]) -> None:
    while not happened():
        await asyncio.sleep(0.02)


def test_both_of_uvicorns_protocols_have_what_ours_leans_on() -> None:
    assert connections._UVICORNS in (H11Protocol, HttpToolsProtocol)
    for protocol in (H11Protocol, HttpToolsProtocol):
        assert {"timeout_keep_alive_handler", "pause_writing", "resume_writing", "send_400_response"} <= set(
            vars(protocol)
        )


HALF = b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "


async def test_half_a_head_is_answered_408_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch) as server, connected(server, HALF) as (reader, _):
        told = await reader.read(-1)
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b'"status": "error"' in told


async def test_so_is_half_a_head_behind_a_whole_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        served(monkeypatch) as server,
        connected(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") as (reader, writer),
    ):
        assert b" 200 " in await reader.readuntil(b"0\r\n\r\n")
        writer.write(HALF)
        assert b" 408 " in await reader.read(-1)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",  # TLS where none is spoken
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon here\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_in_the_contracts_form(
    monkeypatch: pytest.MonkeyPatch, nonsense: bytes
) -> None:
    async with served(monkeypatch) as server, connected(server, nonsense) as (reader, _):
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert json.loads(body) == {"status": "error", "message": "Invalid API Request"}


async def test_a_head_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch) as server, connected(server, HALF) as (reader, writer):
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                writer.write(b"a" * 10_000)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            assert (await reader.read(-1)).startswith(b"HTTP/1.1 431 ")
        await until(lambda: not server.server_state.connections)


async def test_a_few_requests_may_come_before_an_answer_and_many_end_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    async with served(monkeypatch) as server:
        async with connected(server, one * 5) as (reader, _):
            for _ in range(5):
                assert b" 200 " in await reader.readuntil(b"0\r\n\r\n")
        async with connected(server, one * 1000) as (reader, _):
            with contextlib.suppress(ConnectionError):
                assert (await reader.read(-1)).count(b" 200 ") < 1000


async def test_a_connection_that_sends_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch) as server, connected(server, b"") as (reader, _):
        assert await reader.read(-1) == b""


async def test_a_client_that_reads_nothing_of_its_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch) as server, connected(server, b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n"):
        await until(lambda: bool(server.server_state.connections))
        await until(lambda: not server.server_state.connections and not server.server_state.tasks)


async def test_a_request_in_time_is_answered_and_its_connection_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch) as server, connected(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") as (reader, _):
        assert b"200" in await reader.readline()
        await asyncio.sleep(2 * RULES.head_timeout_s)
        assert len(server.server_state.connections) == 1
