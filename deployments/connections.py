"""What uvicorn lacks where strangers connect: a deadline for a request's head, and one for a client that does not read.
Also, what is no HTTP is refused in the contract's form.

Serve starts uvicorn itself and leaves no option for the protocol class, so ours takes the place of the one that uvicorn
would choose. It leans on two of its attributes, `cycle` and `loop`, which both of its protocol classes have.
"""

import asyncio
import json
import resource
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from uvicorn.protocols.http import auto

from serve_app.api.gate.rules import Rules
from serve_app.api.problems import problem
from serve_app.config import ApiConfig
from serve_app.errors import DarkroomError, HeadTooLarge, HeadTooSlow, UnreadableBody

FILES_SPARED = 512
"""Open files that are left for everything but clients' connections."""
LONGEST_HEAD = 64 * 1024
"""Bytes of a request line and headers that come bit by bit."""
MOST_BEHIND = 32
"""Requests that a client may send before the first one's answer."""
_UVICORNS: type[asyncio.Protocol] = auto.AutoHTTPProtocol


class Limits:
    """The numbers that connections go by. Written by whoever learns the rules."""

    def __init__(self) -> None:
        self.rules = Rules.of(ApiConfig())
        self.most_connections = _allow_files() - FILES_SPARED

    def learn(self, rules: Rules) -> None:
        """From now on these hold."""
        self.rules = rules


class Connection(_UVICORNS):  # type: ignore[valid-type, misc]
    """uvicorn's protocol with deadlines."""

    waiting: "dict[Connection, None]" = {}  # noqa: RUF012 (of the process: connections without a request, oldest first)

    def __init__(self, *args: object, limits: Limits, **options: object) -> None:
        super().__init__(*args, **options)
        self._limits = limits
        self._head: asyncio.TimerHandle | None = None
        self._write: asyncio.TimerHandle | None = None
        self._head_bytes = 0  # of a head that is not complete

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A new client; where there are too many, the one that has asked for nothing for the longest has to go."""
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self._limits.most_connections:
            next(iter(self.waiting)).transport.abort()

    def data_received(self, data: bytes) -> None:
        """More of a head or of a body."""
        super().data_received(data)
        if len(getattr(self, "pipeline", ())) > MOST_BEHIND:
            self.transport.abort()
        if self._asks:
            self._head_is_here()
            return
        self._head_bytes += len(data)
        if self._head_bytes > LONGEST_HEAD and not self.transport.is_closing():
            self.transport.write(_last_answer(HeadTooLarge(f"{self._head_bytes} bytes")))
            self.transport.close()
        elif self._head is None:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._head_is_here()
        self._reads()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as it is written to."""
        super().pause_writing()
        self._reads()
        self._write = self.loop.call_later(self._limits.rules.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read most of what was written."""
        self._reads()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """It has asked for nothing more. What is still to be read of the last answer does not keep it open."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(self._limits.rules.write_timeout_s, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self.transport.write(_last_answer(UnreadableBody(msg)))
        self.transport.close()

    @property
    def _asks(self) -> bool:
        """Whether a request's head is here whose answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self.waiting[self] = None
        self._head = self.loop.call_later(self._limits.rules.head_timeout_s, self._no_head)

    def _head_is_here(self) -> None:
        self._head_bytes = 0
        self.waiting.pop(self, None)
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _no_head(self) -> None:
        if self._asks or self.transport.is_closing():
            return
        if self._head_bytes:
            self.transport.write(_last_answer(HeadTooSlow()))
        self.transport.close()
        self.loop.call_later(self._limits.rules.write_timeout_s, self.transport.abort)

    def _reads(self) -> None:
        if self._write is not None:
            self._write.cancel()
            self._write = None


def guard_connections() -> Callable[[Rules], None]:
    """Have every uvicorn that this process starts from now on use `Connection`; gives what is to hear of rules."""
    limits = Limits()
    auto.AutoHTTPProtocol = partial(Connection, limits=limits)  # type: ignore[assignment]
    return limits.learn


def _allow_files() -> int:
    """As many open files as this process may have. Gives their number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 2**20


def _last_answer(error: DarkroomError) -> bytes:
    """All of an answer after which the connection is closed."""
    status, body, _ = problem(error)
    text = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + text
