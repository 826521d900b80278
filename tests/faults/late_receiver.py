"""A second door to a receiver of webhooks, on a port that refused connections until it is opened."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.servers.hook_receiver import HookReceiver


@asynccontextmanager
async def receiving_late(receiver: HookReceiver, port: int) -> AsyncIterator[None]:
    """Bytes pass between `port` and the receiver while the block runs."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        there = asyncio.create_task(_pour(reader, inner_writer))
        await _pour(inner_reader, writer)
        there.cancel()
        inner_writer.close()
        writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
