"""Whoever has no key may send half of anything, as often as they like: the others are served all the same."""

import contextlib
import json
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.conftest import Service
from tests.integration.asking import IMG2IMG, ask

PATIENCE_S = 120.0
"""A machine may be slow. Nothing here measures time."""
HELD = 1050
JSON = "Content-Type: application/json\r\n"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
MULTIPART = "Content-Type: multipart/form-data; boundary=edge\r\n"


def start(headers: str, body: str = "", *, method: str = "POST", path: str = IMG2IMG) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: here\r\n{headers}\r\n{body}".encode()


HALF_BODIES = {
    "json": start(JSON + "Content-Length: 5000\r\n", '{"prompt": "a'),
    "form": start(FORM + "Content-Length: 5000\r\n", "prompt=a"),
    "multipart": start(
        MULTIPART + "Content-Length: 5000\r\n", '--edge\r\nContent-Disposition: form-data; name="prompt"'
    ),
    "nothing of a body": start(JSON + "Content-Length: 5000\r\n"),
    "all but the last byte": start(JSON + "Content-Length: 12\r\n", '{"key": "a"'),
    "chunks without an end": start(JSON + "Transfer-Encoding: chunked\r\n", "5\r\n{'a':\r\n"),
    "a fetch": start(JSON + "Content-Length: 5000\r\n", "{", path="/api/v4/dreambooth/fetch"),
    "a route of lists": start(JSON + "Content-Length: 5000\r\n", "{", path="/api/v3/system_load"),
}
HALF_HEAD = f"POST {IMG2IMG} HTTP/1.1\r\nHost: here\r\nX-Slow: ".encode()


@contextmanager
def connected(service: Service, starts: Sequence[bytes]) -> Iterator[list[socket.socket]]:
    """Connections that have sent so much, closed at the end."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        held = []
        for first in starts:
            one = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), PATIENCE_S))
            one.sendall(first)
            held.append(one)
        yield held


def answer_of(one: socket.socket) -> tuple[int, dict[str, str], dict[str, object]]:
    """Status, headers and body of all that comes until the service closes the connection."""
    whole = b"".join(iter(lambda: one.recv(65536), b""))
    head, _, body = whole.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, json.loads(body)


def answered(service: Service, starts: Sequence[bytes]) -> list[tuple[int, str, object]]:
    """Status, Connection and status in the body of the answers to these, all held at a time."""
    with connected(service, starts) as held:
        answers = [answer_of(one) for one in held]
    return [(status, headers["connection"], body["status"]) for status, headers, body in answers]


def first_answered(held: Sequence[socket.socket]) -> socket.socket:
    """The one of them that is answered first."""
    readable, _, _ = select.select(held, [], [], PATIENCE_S)
    assert readable
    return readable[0]


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_health_and_whoever_has_a_key_are_answered_while_many_requests_are_half_sent(service: Service) -> None:
    kinds = list(HALF_BODIES.values())
    starts = [kinds[index % len(kinds)] for index in range(HELD)] + [HALF_HEAD] * 100
    with connected(service, starts), service.client() as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert client.get("/v1/models", headers={"key": service.key}).status_code == 200
        assert ask(service, num_inference_steps=1)["output"]


def test_a_body_that_stops_coming_is_given_up_in_the_contracts_form(service: Service) -> None:
    told = dict(zip(HALF_BODIES, answered(service, list(HALF_BODIES.values())), strict=True))
    assert told == dict.fromkeys(HALF_BODIES, (408, "close", "error"))


def test_a_body_that_comes_byte_by_byte_is_given_up(service: Service) -> None:
    with connected(service, [HALF_BODIES["json"]]) as (one,):
        one.settimeout(0.5)
        status = None
        while status is None:
            try:
                status = one.recv(100).split()[1]
            except TimeoutError:
                one.sendall(b"a")
    assert status == b"408"


def test_a_body_that_nobody_will_read_is_not_asked_for(service: Service) -> None:
    expecting = "Expect: 100-continue\r\nContent-Length: 30000000\r\n"
    assert answered(service, [start(JSON + expecting)]) == [(413, "close", "error")]


def test_a_head_that_stops_coming_is_given_up_and_so_is_a_connection_without_one(service: Service) -> None:
    with connected(service, [b""]) as (silent,):
        assert answered(service, [HALF_HEAD]) == [(408, "close", "error")]
        assert silent.recv(1) == b""


def test_a_wrong_key_in_a_header_is_refused_before_the_body_has_come(service: Service) -> None:
    headers = "key: wrong\r\n", "Authorization: Bearer wrong\r\n"
    starts = [start(header + JSON + "Content-Length: 3000000\r\n", '{"prompt": "') for header in headers]
    assert answered(service, starts) == [(401, "close", "error")] * 2


def test_a_body_where_none_is_taken_is_refused_before_it_has_come(service: Service) -> None:
    statuses = [
        ("GET", "/v1/models", 413),
        ("GET", "/v1/jobs/1", 413),
        ("DELETE", "/v1/jobs/1", 413),
        ("GET", "/api/v4/dreambooth/fetch/1", 413),
        ("GET", "/", 413),
        ("POST", "/nowhere", 404),
        ("GET", "/nowhere", 404),
        ("POST", "/files/a.png", 405),
        ("PUT", IMG2IMG, 405),
        ("GET", IMG2IMG, 405),
    ]
    for length in ("Content-Length: 3000000\r\n", "Transfer-Encoding: chunked\r\n"):
        starts = [start(length, method=method, path=path) for method, path, _ in statuses]
        assert answered(service, starts) == [(status, "close", "error") for _, _, status in statuses]


def test_without_a_key_so_far_only_the_beginning_of_a_body_is_read(service: Service) -> None:
    with connected(service, [start(JSON + "Content-Length: 3000000\r\n", '{"init_image": "')]) as (one,):
        with contextlib.suppress(OSError):
            one.sendall(b"a" * 2_000_000)
        status, _, body = answer_of(one)
    assert (status, "key" in str(body["message"])) == (413, True)


@pytest.mark.parametrize("shown", ["header", "body"])
def test_a_key_that_is_shown_first_has_a_large_body_read(service: Service, shown: str) -> None:
    fields = {"key": service.key, "prompt": "a", "model_id": "nobody", "init_image": "a" * 2_000_000}
    headers = {}
    if shown == "header":
        headers["key"] = str(fields.pop("key"))
    with service.client() as client:
        assert client.post(IMG2IMG, json=fields, headers=headers).json()["message"] == "Model id not found"


def unfinished(service: Service) -> bytes:
    """Nearly as much of a body as may come, with a key that is good."""
    head = start(f"key: {service.key}\r\n{JSON}Content-Length: 3900000\r\n", '{"prompt": "')
    return head + b"a" * 3_800_000


def test_bodies_beyond_the_budget_are_told_to_come_back_and_what_others_held_is_given_back(service: Service) -> None:
    with connected(service, [unfinished(service)] * 5) as held:
        status, headers, body = answer_of(first_answered(held))
        assert (status, headers["retry-after"], body["status"]) == (503, "5", "error")
    fields = {"prompt": "a" * 3_800_000}

    def has_room() -> bool:
        with service.client() as client:
            return client.post(IMG2IMG, json=fields, headers={"key": service.key}).status_code == 422

    wait_until(has_room)


def test_of_strangers_unfinished_bodies_the_oldest_gives_way(service: Service) -> None:
    half = start(JSON + "Content-Length: 990000\r\n", '{"prompt": "') + b"a" * 950_000
    with connected(service, [half] * 6) as held:
        status, headers, _ = answer_of(held[0])
        assert (status, headers["retry-after"]) == (503, "5")
    assert ask(service, num_inference_steps=1)["output"]
