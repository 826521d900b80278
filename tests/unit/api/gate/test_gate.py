"""The gate: what it lets through is whole, what it refuses is answered at once, and nothing is kept afterwards."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from serve_app.api.gate import Gate, Judgement, Rules
from serve_app.api.gate.judging import ASK_PATH, AskedJudge, OwnJudge
from serve_app.config import ApiConfig
from serve_app.errors import InvalidKey

GOOD = "good-key"
API = ApiConfig(
    max_body_bytes=1000, keyless_body_bytes=200, bodies_bytes=2000, body_timeout_s=0.05, body_bytes_per_s=10**9
)
SERVED = (("/make", ("POST",)), ("/jobs/{id}", ("GET", "DELETE")), ("/healthz", ("GET",)), ("/readyz", ("GET",)))
Steps = list[bytes | None]
"""What comes of a body: pieces, and None for silence for ever."""


def verify(key: str) -> None:
    if key != GOOD:
        raise InvalidKey


class Echo:
    """An application that says how long the body was that it got."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.hold: asyncio.Event | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append((scope["method"], scope["path"]))
        body = bytearray()
        while (message := await receive()).get("more_body", False):
            body += message["body"]
        body += message.get("body", b"")
        if self.hold is not None:
            await self.hold.wait()
        length = str(len(body)).encode()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(length))]}
        )
        await send({"type": "http.response.body", "body": length})


class Client:
    """One request as ASGI has it."""

    def __init__(self, steps: Steps, *, method: str = "POST", path: str = "/make", **headers: str) -> None:
        pairs = {"content_length": str(sum(len(step) for step in steps if step)), **headers}
        told = [(name.replace("_", "-").encode(), value.encode()) for name, value in pairs.items() if value != ""]
        self.scope: Scope = {"type": "http", "method": method, "path": path, "headers": told}
        self._steps = list(steps)
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        """What comes next."""
        if not self._steps:
            return {"type": "http.disconnect"}
        step = self._steps.pop(0)
        if step is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": step, "more_body": bool(self._steps)}

    async def send(self, message: Message) -> None:
        """Taken note of."""
        self.sent.append(message)

    @property
    def status(self) -> int:
        """Of the answer."""
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def told(self) -> Any:  # noqa: ANN401 (JSON)
        """The answer."""
        return json.loads(b"".join(message.get("body", b"") for message in self.sent[1:]))


def gate_of(app: Callable[[Scope, Receive, Send], Awaitable[None]], **api: object) -> Gate:
    return Gate(app, OwnJudge(Rules.of(API.model_copy(update=api), SERVED), verify))


async def passed(gate: Gate, client: Client) -> Client:
    await gate(client.scope, client.receive, client.send)
    return client


@pytest.fixture(autouse=True)
def _short_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.api.gate.gate.LINGER_S", 0.01)
    monkeypatch.setattr("serve_app.api.gate.gate.GLANCE_S", 0.02)


async def test_a_body_reaches_the_application_whole() -> None:
    client = await passed(gate_of(Echo()), Client([b"a" * 40, b"b" * 60]))
    assert (client.status, client.told) == (200, 100)


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (Client([b"{", None]), 408),
        (Client([None], content_length="5"), 408),
        (Client([b"a" * 10], content_length="1001"), 413),
        (Client([b"a" * 600, b"a" * 600], content_length="", transfer_encoding="chunked", key=GOOD), 413),
        (Client([b"a" * 150, b"a" * 150]), 413),
        (Client([b"{", None], key="wrong"), 401),
        (Client([b"{", None], authorization="Bearer wrong"), 401),
        (Client([b"{}"], method="GET", path="/jobs/1"), 413),
        (Client([b"{}"], method="DELETE", path="/jobs/1"), 413),
        (Client([b"{}"], method="GET", path="/jobs/1", content_length="", transfer_encoding="chunked"), 413),
    ],
)
async def test_what_is_refused_is_told_in_the_contracts_form_and_ends_the_connection(
    client: Client, status: int
) -> None:
    app = Echo()
    await passed(gate_of(app), client)
    assert (client.status, client.told["status"], client.headers["connection"]) == (status, "error", "close")
    assert app.asked == []


@pytest.mark.parametrize(("method", "path"), [("POST", "/nowhere"), ("PUT", "/make"), ("GET", "/make")])
async def test_a_body_for_no_route_is_left_unread_and_the_application_answers(method: str, path: str) -> None:
    app = Echo()
    client = await passed(gate_of(app), Client([b"{", None], method=method, path=path))
    assert (app.asked, client.told, client.headers["connection"]) == ([(method, path)], 0, "close")


@pytest.mark.parametrize(
    "steps",
    [
        [b'{"key": "good-key", "a": "', b"x" * 300],
        [b'{"a": "b", "key" :"good', b'-key", "a": "', b"x" * 300],
        [b"a=b&key=good-key&c=", b"x" * 300],
        [b'{"key": "good-key", "a": "' + b"x" * 300],
        [b'--e\r\nContent-Disposition: form-data; name="key"\r\n\r\ngood-key\r\n', b"x" * 300],
        [
            b'--e\r\nContent-Disposition: form-data; name="key"\r\nContent-Type: text/plain\r\n\r\ngood-key\r\n',
            b"x" * 300,
        ],
    ],
)
async def test_a_good_key_in_the_beginning_of_a_body_has_all_of_it_read(steps: Steps) -> None:
    assert (await passed(gate_of(Echo()), Client(steps))).status == 200


async def test_a_wrong_key_in_a_header_still_lets_a_short_body_show_a_good_one() -> None:
    body = b'{"key": "good-key"}'
    assert (await passed(gate_of(Echo()), Client([body], key="wrong"))).status == 200


async def test_a_body_counts_until_whoever_has_it_lets_go_of_it() -> None:
    app = Echo()
    app.hold = asyncio.Event()
    gate = gate_of(app)
    taken = [asyncio.create_task(passed(gate, Client([b"a" * 900], key=GOOD))) for _ in range(2)]
    while len(app.asked) < 2:
        await asyncio.sleep(0)
    later = await passed(gate, Client([b"a" * 900], key=GOOD))  # the two are copied by now, and theirs is free
    assert later.status == 503 or gate._budget.held <= 900
    app.hold.set()
    await asyncio.gather(*taken)
    del later
    assert gate._budget.held == 0


async def test_bodies_beyond_the_budget_are_told_to_come_back_later() -> None:
    gate = gate_of(Echo(), body_timeout_s=30.0)
    held = [asyncio.create_task(passed(gate, Client([b"a" * 900, None], key=GOOD))) for _ in range(2)]
    while gate._budget.held < 1800:
        await asyncio.sleep(0)
    client = await passed(gate, Client([b"a" * 900], key=GOOD))
    assert (client.status, client.headers["retry-after"]) == (503, "5")
    for one in held:  # their clients go away
        one.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    assert gate._budget.held == 0
    assert (await passed(gate, Client([b"a" * 900], key=GOOD))).status == 200


async def test_the_oldest_strangers_body_gives_way_and_none_with_a_key_does() -> None:
    gate = gate_of(Echo(), body_timeout_s=30.0)
    known = asyncio.create_task(passed(gate, Client([b"a" * 190, None], key=GOOD)))
    strangers = []
    for _ in range(3):  # 190 bytes each, and 500 for all of them
        strangers.append(asyncio.create_task(passed(gate, Client([b"a" * 190, None]))))
        for _ in range(10):
            await asyncio.sleep(0)
    first = await strangers[0]
    assert (first.status, first.headers["retry-after"]) == (503, "5")
    assert not any(one.done() for one in (known, *strangers[1:]))
    for one in (known, *strangers[1:]):
        one.cancel()
    await asyncio.gather(known, *strangers[1:], return_exceptions=True)
    assert (gate._budget.held, gate._budget.strangers) == (0, 0)


async def test_a_client_that_goes_away_leaves_nothing_behind() -> None:
    app = Echo()
    gate = gate_of(app)
    client = Client([b"a" * 100, b""])
    client._steps[1:] = []
    client.scope["headers"] = [(b"content-length", b"500")]

    async def receive() -> Message:
        message = await client.receive()
        return {**message, "more_body": True} if message["type"] == "http.request" else message

    await gate(client.scope, receive, client.send)
    assert (app.asked, client.sent, gate._budget.held) == ([], [], 0)


async def test_what_is_more_than_the_service_takes_is_refused_and_health_never_is() -> None:
    app = Echo()
    app.hold = asyncio.Event()
    gate = gate_of(app, max_requests=1)
    first = asyncio.create_task(passed(gate, Client([], method="GET", path="/jobs/1")))
    while not app.asked:
        await asyncio.sleep(0)
    assert (await passed(gate, Client([], method="GET", path="/jobs/2"))).status == 503
    watching = [
        asyncio.create_task(passed(gate, Client([], method="GET", path=path))) for path in ("/healthz", "/readyz")
    ]
    while len(app.asked) < 3:
        await asyncio.sleep(0)
    app.hold.set()
    assert {(await one).status for one in (first, *watching)} == {200}


async def test_the_gate_before_a_proxy_learns_rules_and_keys_from_the_gate_behind_it() -> None:
    inner = gate_of(Echo())
    outer = Gate(inner, AskedJudge(inner), asked=False)
    assert (await passed(outer, Client([b"a" * 100, b"a" * 150], key=GOOD))).status == 200
    assert (await passed(outer, Client([b"a" * 150, b"a" * 150]))).status == 413
    assert (await passed(outer, Client([b"{", None], key="wrong"))).status == 401
    assert (await passed(outer, Client([b"{}"], method="GET", path="/jobs/1"))).status == 413
    assert (await passed(outer, Client([], method="GET", path=ASK_PATH))).status == 404


@pytest.mark.parametrize("answer", [b"Path '/readyz' not found.", b"", None])
async def test_before_a_proxy_health_is_its_own_and_an_ingress_that_is_not_there_is_missing(
    answer: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.api.gate.gate.READY_S", 0.02)

    async def starting(_: Scope, __: Receive, send: Send) -> None:
        if answer is None:
            await asyncio.Event().wait()
        if answer:
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": answer})

    outer = Gate(starting, AskedJudge(starting), asked=False)
    health = await passed(outer, Client([], method="GET", path="/healthz"))
    ready = await passed(outer, Client([], method="GET", path="/readyz"))
    assert (health.status, health.told) == (200, {"status": "ok"})
    assert (ready.status, ready.told["missing"]) == (503, ["ingress"])


async def test_before_a_proxy_readiness_is_what_the_ingress_says() -> None:
    async def says(_: Scope, __: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"missing": ["records"]}'})

    ready = await passed(Gate(says, AskedJudge(says), asked=False), Client([], method="GET", path="/readyz"))
    assert (ready.status, ready.told) == (503, {"missing": ["records"]})


async def test_a_page_that_may_call_can_read_what_the_gate_before_a_proxy_refuses() -> None:
    inner = gate_of(Echo(), cors_origins=("https://app.test",))
    outer = Gate(inner, AskedJudge(inner), asked=False)
    one = await passed(outer, Client([b"{", None], origin="https://app.test"))
    other = await passed(outer, Client([b"{", None], origin="https://other.test"))
    assert (one.status, one.headers["access-control-allow-origin"]) == (408, "https://app.test")
    assert (other.status, "access-control-allow-origin" in other.headers) == (408, False)


async def test_a_proxy_whose_application_is_not_there_goes_by_the_defaults() -> None:
    async def nothing_there(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"Path not found."})

    judge = AskedJudge(nothing_there)
    assert await judge.rules() == Rules.of(ApiConfig())
    assert await judge.judge("any") == Judgement(None)


async def test_where_strangers_hold_all_that_they_may_a_body_with_a_good_key_still_comes_through() -> None:
    kept = []

    async def keep(_: Scope, receive: Receive, send: Send) -> None:
        kept.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    gate = gate_of(keep)
    told = [(await passed(gate, Client([b"a" * 190]))).status for _ in range(3)]
    assert told == [200, 200, 503]
    assert (await passed(gate, Client([b'{"key": "good-key", "a": "' + b"a" * 160]))).status == 200
    kept.clear()
    assert (await passed(gate, Client([b"a" * 190]))).status == 200
