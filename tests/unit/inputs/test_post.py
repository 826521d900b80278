"""The guarded POST: what arrives, where it refuses to go, and when it stops waiting."""

import asyncio
import math
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.config import WebhooksConfig
from serve_app.inputs.fetch import Resolver
from serve_app.inputs.post import GuardedPoster, NameThreads, PostAnswer, retry_after_s
from tests.servers.hook_receiver import HookReceiver, hang, receiving, status

LOOPBACK = (ip_network("127.0.0.0/8"),)
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
BODY = b'{"status":"success"}'
HEADERS = {"content-type": "application/json", "user-agent": "Darkroom", "webhook-id": "msg_1"}
NOW = 1_445_412_480.0
"""Wed, 21 Oct 2015 07:28:00 GMT."""


@pytest.fixture
async def receiver() -> AsyncIterator[HookReceiver]:
    async with receiving() as receiver:
        yield receiver


@asynccontextmanager
async def poster_of(resolve: Resolver | None = None, **options: object) -> AsyncIterator[GuardedPoster]:
    defaults = {"allowed_networks": LOOPBACK, "timeout_s": 30.0}
    poster = GuardedPoster(WebhooksConfig.model_validate(defaults | options), resolve, NO_TLS, lambda: NOW)
    yield poster
    await poster.close()


async def posted(url: str, resolve: Resolver | None = None, **options: object) -> PostAnswer:
    async with poster_of(resolve, **options) as poster:
        return await poster.post(url, BODY, HEADERS)


def leading_to(*addresses: str) -> Resolver:
    async def resolve(host: str, port: int) -> Sequence[str]:  # noqa: ARG001
        return addresses

    return resolve


async def test_the_very_bytes_and_headers_arrive(receiver: HookReceiver) -> None:
    url = f"http://hooks.test:{receiver.port}/hook?a=1"
    assert await posted(url, leading_to("127.0.0.1")) == PostAnswer(200, None, "")
    [request] = receiver.received
    assert (request.method, request.path, request.body) == ("POST", "/hook?a=1", BODY)
    assert HEADERS.items() <= request.headers.items()
    assert request.headers["host"] == f"hooks.test:{receiver.port}"
    assert request.headers["connection"] == "close"


@pytest.mark.parametrize("line", ["200 OK", "204 No Content", "301 Moved", "404 Not Found", "410 Gone", "503 Away"])
async def test_every_status_is_told_as_it_is(receiver: HookReceiver, line: str) -> None:
    receiver.answer("/", status(line, f"Location: {receiver.url}/elsewhere"))
    assert (await posted(receiver.url)).status == int(line[:3])
    assert receiver.paths() == ["/"], "a redirect was followed"


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "localhost", "0", "[::1]", "169.254.169.254", "10.0.0.1"])
async def test_private_addresses_are_refused_in_every_spelling(host: str) -> None:
    answer = await posted(f"http://{host}:9/", allowed_networks=())
    assert answer.status is None
    assert answer.error.startswith("TargetRefused")
    assert "not public" in answer.error


@pytest.mark.parametrize("url", ["http://user:word@hooks.test/", "ftp://hooks.test/", "http://hooks.test:0/"])
async def test_a_refusal_that_cannot_change_says_never_again(url: str) -> None:
    assert (await posted(url, leading_to("10.0.0.1"))).retry_after_s == math.inf


@pytest.mark.parametrize("url", ["http://hooks.test/", "http://10.0.0.1/"])
async def test_a_name_may_lead_elsewhere_and_a_network_be_allowed_tomorrow(url: str) -> None:
    assert (await posted(url, leading_to("10.0.0.1"))).retry_after_s is None


async def test_one_denied_address_among_many_refuses_the_name(receiver: HookReceiver) -> None:
    answer = await posted(f"http://hooks.test:{receiver.port}/", leading_to("127.0.0.1", "10.0.0.1"))
    assert "10.0.0.1, which is not public" in answer.error
    assert receiver.received == []


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://127.0.0.1/", "file:///etc/passwd", "", "http://", "http://user:word@127.0.0.1/", "http://[::1"),
        *(
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:0/",
            "http://a\0b/",
            "http://" + "a" * 70 + ".com/",
            "http://\ud800/",
        ),
    ],
)
async def test_a_url_of_another_kind_is_an_answer_and_not_an_error(url: str) -> None:
    answer = await posted(url)
    assert answer.status is None
    assert answer.error


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.sampled_from(["http://", "http://127.0.0.1:1/", "http://127.0.0.1:", "https://", ""]))
def test_no_url_raises(text: str, start: str) -> None:
    async def nobody(host: str, port: int) -> Sequence[str]:  # noqa: ARG001
        raise OSError("no such host")

    assert asyncio.run(posted(start + text, nobody)).status is None


async def test_proxies_of_the_environment_are_not_used(receiver: HookReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await posted(receiver.url)).status == 200


async def test_a_receiver_that_hangs_is_left_at_the_deadline(receiver: HookReceiver) -> None:
    receiver.answer("/", hang)
    assert await posted(receiver.url, timeout_s=0.3) == PostAnswer(None, None, "no answer within 0.3 s")


async def test_a_receiver_that_drips_its_head_is_left_at_the_deadline(receiver: HookReceiver) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        for _ in range(200):
            writer.write(b"HTTP/1.1 200 OK\r\nX: "[:1])
            await writer.drain()
            await asyncio.sleep(0.05)

    receiver.answer("/", drip)
    assert (await posted(receiver.url, timeout_s=0.4)).error == "no answer within 0.4 s"


async def test_a_status_counts_though_its_body_never_comes(receiver: HookReceiver) -> None:
    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbeginning")
        await hang(writer)

    receiver.answer("/", half)
    assert (await posted(receiver.url, timeout_s=36_000)).status == 200  # who waits for the body waits for ever


async def test_a_flood_of_an_answer_is_cut(receiver: HookReceiver) -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 200 * 2**20:
            writer.write(bytes(2**16))
            await writer.drain()
            sent += 2**16

    receiver.answer("/", flood)
    assert (await posted(receiver.url)).status == 200
    assert sent < 50 * 2**20


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**18])
async def test_a_broken_answer_is_no_status(receiver: HookReceiver, answer: bytes) -> None:
    async def broken(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    receiver.answer("/", broken)
    got = await posted(receiver.url)
    assert got.status is None
    assert got.error


async def test_a_refused_connection_is_told_after_every_address_was_tried() -> None:
    assert "ConnectError" in (await posted("http://hooks.test:1/", leading_to("127.0.0.2", "127.0.0.1"))).error


async def test_the_body_arrives_at_the_next_address_where_the_first_does_not_listen(receiver: HookReceiver) -> None:
    answer = await posted(f"http://hooks.test:{receiver.port}/", leading_to("127.0.0.9", "127.0.0.1"))
    assert answer.status == 200
    assert receiver.received[0].body == BODY


async def test_names_that_hang_do_not_hold_up_others(receiver: HookReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop's own few threads would be full after half a dozen."""
    real = socket.getaddrinfo
    others_are_served = threading.Event()

    def slow(host: str, *args: object, **kwargs: object) -> object:
        if host.endswith(".dead"):
            others_are_served.wait()
            raise OSError("no server answers")
        return real(host, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    async with poster_of() as poster:
        dead = [asyncio.create_task(poster.post(f"http://{n}.dead/", BODY, HEADERS)) for n in range(40)]
        await asyncio.sleep(0)
        assert (await poster.post(receiver.url, BODY, HEADERS)).status == 200
        others_are_served.set()
        assert {answer.status for answer in await asyncio.gather(*dead)} == {None}


async def test_the_threads_for_names_give_the_systems_answer() -> None:
    names = NameThreads(1)
    assert "127.0.0.1" in await names.resolve("localhost", 80)
    names.close()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("0", 0), ("120", 120), (" 7 ", 7), ("Wed, 21 Oct 2015 07:28:30 GMT", 30), ("Wed Oct 21 07:29:00 2015", 60)),
        *(("Wednesday, 21-Oct-15 07:28:10 GMT", 10), ("Tue, 20 Oct 2015 07:28:00 GMT", 0)),
        *(("", None), ("soon", None), ("-5", None), ("1.5", None), ("²", None), ("9" * 5000, None)),
        *(("Wed, 32 Oct 2015 07:28:00 GMT", None), ("Wed, 21 Oct 99999 07:28:00 GMT", None)),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after_s(text, NOW) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,6} \d{2}:\d{2}:\d{2} ?[-+A-Z0-9]{0,6}"))
def test_no_retry_after_raises(text: str) -> None:
    seconds = retry_after_s(text, NOW)
    assert seconds is None or seconds >= 0


async def test_the_retry_after_of_an_answer_is_told(receiver: HookReceiver) -> None:
    receiver.answer("/", status("429 Slower", "Retry-After: Wed, 21 Oct 2015 07:28:30 GMT"))
    assert await posted(receiver.url) == PostAnswer(429, 30.0, "")
