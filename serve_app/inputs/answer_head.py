"""Heads of answers as servers write them, and what a client needs of one: as browsers read them.

h11, which reads the answers, takes what RFC 9112 allows and nothing else. A picture does not depend on that: a line
without a colon, a length that is no number or a header for somebody else must not cost it.
"""

import re
import ssl
from collections.abc import Iterable, Iterator
from typing import Any

from httpcore2 import AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream, RemoteProtocolError

LONGEST = 256 * 2**10
"""Bytes of a head, as Chromium has it."""
NEEDED = (b"set-cookie", b"content-encoding", b"retry-after")
"""Beside those that say where the body ends, and Location, which some servers write twice."""
END = re.compile(rb"\r?\n\r?\n")
STATUS_LINE = re.compile(rb"[ \t]{0,16}HTTP(?:/(\d)(?:\.(\d)?)?)?[ \t]{1,16}(\d{3})(?!\d)", re.IGNORECASE)
"""Its version's two digits, and its status."""
INTERIM = re.compile(rb"10[02-9]|1[1-9]\d")
"""Statuses that another head follows; 101 is the last one of its answer."""
FOLD, LINE_END = re.compile(rb"\r?\n[ \t]+"), re.compile(rb"\r\n|\n|\r")
LENGTH = re.compile(rb"\d{1,19}")
CONTROLS = bytes(set(range(32)) - set(b"\t\r\n")) + b"\x7f"

Header = tuple[bytes, bytes]


def needed_head(head: bytes) -> bytes:
    """The head, its empty line included, with the headers alone that a client needs, as RFC 9112 wants them.

    What does not begin as an answer is given back as it is.
    """
    status = STATUS_LINE.match(head)
    if status is None:
        return head
    headers, version = list(_headers(head[status.end() :])), (status[1] or b"1", status[2] or b"1")
    needed = _needed(headers, chunks=version >= (b"1", b"1"))
    lines = [b"HTTP/1.1 " + status[3] + b" ", *(b": ".join(header) for header in needed), b"", b""]
    return b"\r\n".join(lines)


def _headers(block: bytes) -> Iterator[Header]:
    """Names in lower case with their values; lines that are none are passed over."""
    _reason, *lines = LINE_END.split(FOLD.sub(b" ", block.translate(None, CONTROLS)))
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon and name.strip():
            yield name.strip().lower(), value.strip()


def _needed(headers: list[Header], *, chunks: bool) -> Iterator[Header]:
    """`chunks`: whether the answer's version knows chunks."""
    transfer = _items(headers, b"transfer-encoding")
    lengths = set(_items(headers, b"content-length"))
    if chunks and b"chunked" in transfer:
        yield b"transfer-encoding", b"chunked"
    elif len(lengths) == 1 and LENGTH.fullmatch(length := lengths.pop()):
        yield b"content-length", length
    yield from (header for header in headers if header[0] in NEEDED)
    yield from dict.fromkeys(header for header in headers if header[0] == b"location")
    coded = [item for item in transfer if item not in (b"chunked", b"identity")]
    if coded:  # applied after the content's own, so undone before
        yield b"content-encoding", b", ".join(coded)


def _items(headers: list[Header], name: bytes) -> list[bytes]:
    """The values between commas of all headers of a name, in lower case."""
    return [item.strip().lower() for key, value in headers if key == name for item in value.split(b",")]


class _Stream(AsyncNetworkStream):
    """A connection that reads one answer, whose head comes as `needed_head` has it."""

    def __init__(self, stream: AsyncNetworkStream) -> None:
        self._stream = stream
        self._ready = b""
        self._in_body = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Bytes of the answer; b"" at its end."""
        if not self._in_body:
            self._ready, self._in_body = await self._head(max_bytes, timeout), True
        if not self._ready:
            return await self._stream.read(max_bytes, timeout)
        piece, self._ready = self._ready[:max_bytes], self._ready[max_bytes:]
        return piece

    async def _head(self, max_bytes: int, timeout: float | None) -> bytes:
        """The last head, and as much of the body as came with it. Raises RemoteProtocolError for one without an end."""
        read, searched, skipped = bytearray(), 0, 0
        while len(read) + skipped <= LONGEST:
            if read.startswith((b"\r", b"\n")):
                read, searched = read.lstrip(b"\r\n"), 0
            status, end = STATUS_LINE.match(read), END.search(read, max(0, searched - 3))
            if status and end and INTERIM.fullmatch(status[3]):
                read, searched, skipped = read[end.end() :], 0, skipped + end.end()
            elif end:
                return needed_head(bytes(read[: end.end()])) + read[end.end() :]
            else:
                searched = len(read)
                piece = await self._stream.read(max_bytes, timeout)
                if not piece:
                    return bytes(read)
                read += piece
        raise RemoteProtocolError(f"a head of more than {LONGEST} bytes")

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncNetworkStream:
        """The same under TLS."""
        return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 (httpcore2 types it so)
        """What the connection tells of itself."""
        return self._stream.get_extra_info(info)


class TolerantNetwork(AsyncNetworkBackend):
    """Connections of one request each, whose answers' heads are read as browsers read them."""

    def __init__(self) -> None:
        self._network = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        """A connection."""
        return _Stream(await self._network.connect_tcp(host, port, timeout, local_address, socket_options))

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._network.sleep(seconds)
