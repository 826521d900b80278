"""A small web site on the loopback, whose answers are written byte by byte."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def plain(body: bytes, status: str = "200 OK", *headers: str) -> Answer:
    """An answer with this body and its Content-Length."""

    async def write(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return write


def redirect(location: str, status: str = "302 Found") -> Answer:
    """An answer that sends the client elsewhere."""
    return plain(b"", status, f"Location: {location}")


class Site:
    """Answers by path and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.hosts: list[str] = []
        """The Host header of every request, in order."""
        self.heads: list[dict[str, str]] = []
        """The headers of every request, in order."""
        self.connections = 0
        self._servers: list[asyncio.Server] = []

    async def open(self, tls: ssl.SSLContext | None = None) -> int:
        """Start listening on 127.0.0.1; returns the port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            self.heads.append(headers)
            self.hosts.append(headers["host"])
            await self.answers[lines[0].split()[1]](writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def close(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.close()
            await server.wait_closed()
