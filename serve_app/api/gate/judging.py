"""Who knows which keys are good and which rules hold: the ingress itself, and Serve's proxy by asking it."""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.types import ASGIApp, Message, Scope

from serve_app.api.gate.rules import Rules
from serve_app.config import ApiConfig
from serve_app.errors import InvalidKey

ASK_PATH = "/internal/gate"
"""Where the ingress answers the proxy of its own cluster. The proxy lets nobody else ask."""
FRESH_S = 10.0
"""For so long an answer is good: a revoked key is still refused by the ingress, at once."""
ASK_S = 2.0
"""An ingress that does not answer within this time is asked again after as long, and the last rules hold."""
KEYS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known of a key."""

    good: bool | None
    """None: nobody could say."""


class Judge(Protocol):
    """What a gate asks."""

    async def rules(self) -> Rules:
        """The rules that hold now."""

    async def judge(self, key: str) -> Judgement:
        """Whether this key is good."""


class OwnJudge:
    """Where the keys are at hand."""

    def __init__(self, rules: Rules, verify: Callable[[str], object]) -> None:
        """`verify` raises InvalidKey."""
        self._rules = rules
        self._verify = verify

    async def rules(self) -> Rules:
        """As the protocol says."""
        return self._rules

    async def judge(self, key: str) -> Judgement:
        """As the protocol says."""
        try:
            self._verify(key)
        except InvalidKey:
            return Judgement(False)
        return Judgement(True)


class AskedJudge:
    """Asks the application behind, by a request of its own, and remembers for a while."""

    def __init__(
        self,
        app: ASGIApp,
        learnt: Callable[[Rules], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`learnt` hears of rules as they come."""
        self._app = app
        self._learnt = learnt
        self._clock = clock
        self._rules = Rules.of(ApiConfig())
        self._asked_at: float | None = None
        self._asking: asyncio.Task[Judgement] | None = None
        self._keys: OrderedDict[str, tuple[float, Judgement]] = OrderedDict()

    async def rules(self) -> Rules:
        """As the protocol says. Only who comes first waits."""
        first = self._asked_at is None
        if first or self._clock() - (self._asked_at or 0.0) > FRESH_S:
            self._asked_at = self._clock()
            self._asking = asyncio.create_task(self._ask(None))
        if self._asking is not None and self._rules.served == ():
            await asyncio.wait({self._asking}, timeout=ASK_S)
        return self._rules

    async def judge(self, key: str) -> Judgement:
        """As the protocol says."""
        since, judgement = self._keys.get(key, (0.0, None))
        if judgement is not None and self._clock() - since <= FRESH_S:
            return judgement
        judgement = await self._ask(key)
        if judgement.good is not None:
            self._keys[key] = self._clock(), judgement
            self._keys.move_to_end(key)
            if len(self._keys) > KEYS_KEPT:
                self._keys.popitem(last=False)
        return judgement

    async def _ask(self, key: str | None) -> Judgement:
        try:
            async with asyncio.timeout(ASK_S):
                told = json.loads(await _got(self._app, key))
            self._rules = Rules.load(json.dumps(told["rules"]))
        except (TimeoutError, ValueError, TypeError, KeyError):
            return Judgement(None)
        self._learnt(self._rules)
        return Judgement(told["key"])


def answer_asked(rules: Rules, judgement: Judgement | None) -> bytes:
    """What the ingress says to the proxy that asks."""
    good = None if judgement is None else judgement.good
    return json.dumps({"rules": json.loads(rules.dump()), "key": good}).encode()


async def _got(app: ASGIApp, key: str | None) -> bytes:
    """The body of the answer to our own request."""
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": ASK_PATH,
        "raw_path": ASK_PATH.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [] if key is None else [(b"key", key.encode())],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
        "state": {},
    }
    body = bytearray()
    requests: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not requests:
            await asyncio.Event().wait()  # the client does not go away
        return requests.pop()

    async def send(message: Message) -> None:
        body.extend(message.get("body", b""))

    await app(scope, receive, send)
    return bytes(body)
