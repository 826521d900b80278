"""The ASGI class that stands before an application: it reads bodies for it, and refuses what should not be read.

A body reaches the application whole or not at all. What is refused is answered at once, in the contract's form; then
what is still on its way is thrown away for a moment, lest the connection be reset before the answer is read.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api import routes
from serve_app.api.answers import readiness
from serve_app.api.application import with_cors
from serve_app.api.gate.budget import Budget, Full, HeldBody, Hold
from serve_app.api.gate.judging import ASK_PATH, Judge, answer_asked
from serve_app.api.gate.rules import Rules, is_health
from serve_app.api.gate.shown_key import KeyFinder, header_key
from serve_app.api.problems import problem
from serve_app.errors import (
    BodiesInFlight,
    BodyNotTaken,
    BodyTooLarge,
    BodyTooSlow,
    DarkroomError,
    InvalidKey,
    KeylessBodyTooLarge,
    Overloaded,
    RouteNotFound,
)

GLANCE_BYTES, GLANCE_S = 64 * 1024, 3.0
"""With a wrong key in a header, a body may still show a good one: so much of it is read, and for so long."""
LINGER_S, LINGER_BYTES = 2.0, 64 * 2**20
"""How long, and how much, is still read and thrown away behind an early answer."""
READY_S = 4.0
"""Longer than the ingress waits for its parts."""
JUDGED = 3
"""Keys of one body that are looked up before it is whole."""

_OURS = (BodiesInFlight, BodyNotTaken, BodyTooLarge, BodyTooSlow, InvalidKey, KeylessBodyTooLarge, Overloaded)
"""What the gate refuses with. Applications answer their own failures; none of them comes this far."""
Refused = Callable[[Scope, DarkroomError], None]


def _say_nothing(_: Scope, __: DarkroomError) -> None:
    pass


class Gate:
    """Before the ingress, or, with `asked` False, before Serve's proxy, where nobody may ask for rules and keys."""

    def __init__(self, app: ASGIApp, judge: Judge, *, asked: bool = True, refused: Refused = _say_nothing) -> None:
        """`refused` hears of each request that this gate answers itself with a failure."""
        self._app = app
        self._judge = judge
        self._asked = asked
        self._refused = refused
        self._budget = Budget()
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif is_health(scope["path"]):
            await (self._app if self._asked else self._before_a_proxy)(scope, receive, send)
        elif scope["path"] == ASK_PATH:
            await self._answer_asked(scope, send)
        else:
            rules = await self._judge.rules()
            try:
                await self._read(scope, receive, send, rules)
            except _OURS as error:
                await self._refuse(scope, receive, send, rules, error)

    async def _before_a_proxy(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Health is this process' own. Readiness is the ingress' to tell, unless that is not there: it is missing."""
        if scope["path"] == routes.HEALTH_PATH and scope["method"] in ("GET", "HEAD"):
            await _send(send, 200, b'{"status":"ok"}', {})
            return
        told: list[Message] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                await self._app(scope, receive, _noted(told))
        if _is_ours(told):
            for message in told:
                await send(message)
        else:
            status, body, _ = readiness(("ingress",))
            await _send(send, status, json.dumps(body).encode(), {})

    async def _answer_asked(self, scope: Scope, send: Send) -> None:
        rules = await self._judge.rules()
        if not self._asked:
            await _tell(send, RouteNotFound(ASK_PATH), rules)
            return
        key = header_key(Headers(scope=scope))
        body = answer_asked(rules, None if key is None else await self._judge.judge(key))
        await _send(send, 200, body, {})

    async def _read(self, scope: Scope, receive: Receive, send: Send, rules: Rules) -> None:
        """Have the body, if one comes, before the request takes a place."""
        headers = Headers(scope=scope)
        if not _has_body(headers):
            await self._in_a_place(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        if not rules.is_served(method, path):  # the application says 404 or 405
            await self._in_a_place(_without_body(scope), _nothing(receive), _lingering(receive, send))
            return
        if not rules.takes_body(method, path):
            raise BodyNotTaken(f"{method} with a body")
        body = await self._body(headers, receive, rules)
        if body is None:  # the client has gone, so nobody reads an answer
            return
        whole = _whole(body, receive)
        del body  # it counts for as long as somebody has it, and this call lasts as long as the request
        await self._in_a_place(scope, whole, send)

    async def _in_a_place(self, scope: Scope, receive: Receive, send: Send) -> None:
        rules = await self._judge.rules()
        if self._requests >= rules.max_requests:
            raise Overloaded(f"{self._requests} requests")
        self._requests += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._requests -= 1

    async def _body(self, headers: Headers, receive: Receive, rules: Rules) -> HeldBody | None:
        announced = _announced(headers)
        if announced > rules.max_body_bytes:
            raise BodyTooLarge(f"{announced} bytes announced")
        reading = _Reading(self._judge, rules, receive)
        hold = reading.hold = self._budget.open(reading.give_way)
        try:
            await reading.look_at(header_key(headers))
            body = await reading.whole()
        except BaseException:
            reading.drop()
            raise
        if body is None:
            reading.drop()
        else:
            hold.hand_over(body)
        return body

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, rules: Rules, error: DarkroomError) -> None:
        self._refused(scope, error)
        last = _lingering(receive, send) if _has_body(Headers(scope=scope)) else send

        async def refusal(_: Scope, __: Receive, send: Send) -> None:
            await _tell(send, error, rules)

        # The ingress has this around all its answers; what is answered before the proxy does not come that far.
        await with_cors(refusal, () if self._asked else rules.cors_origins)(scope, receive, last)


class _Reading:
    """One body on its way."""

    hold: Hold

    def __init__(self, judge: Judge, rules: Rules, receive: Receive) -> None:
        self._judge = judge
        self._rules = rules
        self._receive = receive
        self._finder = KeyFinder()
        self._wrong_key = False
        self._judged = 0
        self._body = HeldBody()
        self._gave_way = False
        self._begun = False
        self._timer = asyncio.timeout(None)

    def give_way(self) -> None:
        """Another one needs the room more."""
        self._gave_way = True
        if self._begun:
            self._timer.reschedule(0)

    def drop(self) -> None:
        """What has come is not wanted any more. Tracebacks may keep this object, and must not keep the body."""
        self._body = HeldBody()
        self.hold.release()

    async def look_at(self, key: str | None) -> None:
        """The key of a header, where one came."""
        if key is None:
            return
        good = (await self._judge.judge(key)).good
        if good:
            self.hold.become_known()
        self._wrong_key = good is False

    async def whole(self) -> HeldBody | None:
        """All of it; None where the client goes away. Raises what refuses it."""
        began = asyncio.get_running_loop().time()
        try:
            async with self._timer:
                self._begun = True
                while True:
                    self._timer.reschedule(0 if self._gave_way else began + self._seconds())
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        return None
                    more = message.get("more_body", False)
                    await self._take(message.get("body", b""), more=more)
                    if not more:
                        return self._body
        except TimeoutError as error:
            raise self._why_ended() from error

    def _seconds(self) -> float:
        allowed = self._rules.seconds_for(len(self._body))
        return min(allowed, GLANCE_S) if self._glances else allowed

    @property
    def _glances(self) -> bool:
        """Whether all that is known is a wrong key."""
        return self._wrong_key and not self.hold.known

    def _why_ended(self) -> DarkroomError:
        if self._gave_way:
            return BodiesInFlight("an unfinished body gave way to another")
        if self._glances:
            return InvalidKey("in a header, and none came in the body")
        return BodyTooSlow(f"{len(self._body)} bytes came")

    async def _take(self, piece: bytes, *, more: bool) -> None:
        rules = self._rules
        size = len(self._body) + len(piece)
        if size > rules.max_body_bytes:
            raise BodyTooLarge(f"more than {rules.max_body_bytes} bytes")
        if not self.hold.known and (more or size > rules.keyless_body_bytes):
            await self._look_into(piece)
        if self._glances and size > GLANCE_BYTES:
            raise InvalidKey("in a header, and the body showed none")
        if not self.hold.known and size > rules.keyless_body_bytes:
            raise KeylessBodyTooLarge(f"no key in the first {rules.keyless_body_bytes} bytes")
        try:
            await self._make_room(piece)
        except Full as full:
            raise BodiesInFlight(f"no room for {size} bytes") from full
        self._body += piece

    async def _make_room(self, piece: bytes) -> None:
        room = self._rules.strangers_bytes, self._rules.bodies_bytes
        try:
            self.hold.grow(len(piece), *room)
        except Full:
            if self.hold.known:
                raise
            await self._look_into(piece)  # a body that came at once has not been looked into
            self.hold.grow(len(piece), *room)

    async def _look_into(self, piece: bytes) -> None:
        for key in self._finder.found(piece):
            if self._judged < JUDGED:
                self._judged += 1
                if (await self._judge.judge(key)).good:
                    self.hold.become_known()
                    return


def _noted(told: list[Message]) -> Send:
    async def note(message: Message) -> None:
        told.append(message)

    return note


def _is_ours(told: list[Message]) -> bool:
    """Whether an answer is complete and the ingress', not Serve's own in plain text."""
    whole = len(told) > 1 and not told[-1].get("more_body", False)
    return whole and Headers(raw=told[0]["headers"]).get("content-type", "").startswith("application/json")


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or _announced(headers) > 0


def _announced(headers: Headers) -> int:
    """The length that is announced; 0 where none is, or none that could be meant."""
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def _without_body(scope: Scope) -> Scope:
    left_out = (b"content-length", b"transfer-encoding")
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0].lower() not in left_out]}


def _whole(body: HeldBody, receive: Receive) -> Receive:
    """Gives the body once, and then what comes behind it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def whole() -> Message:
        return messages.pop() if messages else await receive()

    return whole


def _nothing(receive: Receive) -> Receive:
    """Gives an empty body, and then only word that the client has gone."""
    given = False

    async def nothing() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (message := await receive())["type"] != "http.disconnect":
            pass
        return message

    return nothing


def _lingering(receive: Receive, send: Send) -> Send:
    """The answer is the last on its connection, and what still comes of the request is thrown away for a moment."""

    async def lingering(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        if message["type"] != "http.response.body" or message.get("more_body", False):
            await send(message)
            return
        await send({**message, "more_body": True})
        await _throw_away(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return lingering


async def _throw_away(receive: Receive) -> None:
    """Throw away what comes, until the body's end or for a moment."""
    thrown = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while thrown <= LINGER_BYTES:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                thrown += len(message.get("body", b""))


async def _tell(send: Send, error: DarkroomError, rules: Rules) -> None:
    status, body, headers = problem(error, errors_as_200=rules.errors_as_200)
    await _send(send, status, json.dumps(body).encode(), headers)


async def _send(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    told = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        **headers,
    }
    pairs = [(name.lower().encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": False})
