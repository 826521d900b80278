"""A receiver of webhooks on the loopback, whose answers are written by hand."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import time

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Received:
    """One request that came in, whole."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    at: float


def status(line: str, *headers: str, body: bytes = b"") -> Answer:
    """An answer with this status, e.g. `503 Away`, these header lines and this body."""

    async def write(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {line}", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return write


async def hang(_: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.sleep(600)


class HookReceiver:
    """Answers by path with `answers`, else with 200; keeps everything it gets.

    Where a path has several answers, each is given once and the last for ever.
    """

    def __init__(self, address: str) -> None:
        self.received: list[Received] = []
        self.connections = 0
        """Open now."""
        self.most_connections = 0
        self._address = address
        self._answers: dict[str, deque[Answer]] = {}
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://{self._address}:{self.port}"

    def answer(self, path: str, *answers: Answer) -> None:
        """How requests for this path are answered from now on."""
        self._answers[path] = deque(answers)

    def paths(self) -> list[str]:
        """Of everything received, in order."""
        return [request.path for request in self.received]

    async def open(self) -> None:
        """Start listening on a free port."""
        self._server = await asyncio.start_server(self._serve, self._address, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        self.most_connections = max(self.most_connections, self.connections)
        try:
            request = await _read(reader)
            self.received.append(request)
            await self._next_answer(request.path)(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the sender is gone, or the test is over
        finally:
            self.connections -= 1
            self._handlers.discard(task)
            writer.close()

    def _next_answer(self, path: str) -> Answer:
        answers = self._answers.get(path)
        if not answers:
            return status("200 OK")
        return answers.popleft() if len(answers) > 1 else answers[0]

    async def close(self) -> None:
        """Stop listening and break off what hangs."""
        assert self._server is not None
        self._server.close()
        for handler in list(self._handlers):
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body, time())


@asynccontextmanager
async def receiving(address: str = "127.0.0.1") -> AsyncIterator[HookReceiver]:
    """An open receiver on this loopback address."""
    receiver = HookReceiver(address)
    await receiver.open()
    try:
        yield receiver
    finally:
        await receiver.close()
