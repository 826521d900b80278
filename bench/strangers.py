"""`python -m bench.strangers`: what people without a key can do to a service by sending half of something.

First many half-sent requests are held while health and a small request with a key are asked; then some large bodies are
left unfinished while the memory of Serve's proxy and of the ingress is read. Prints one JSON object. Bounded, on this
machine only.
"""

import argparse
import contextlib
import http.client
import json
import resource
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import psutil

from bench.pictures import IMG2IMG
from bench.serving import HOST, HAProxy, Served, served

FOLDER = Path("build/bench-strangers")
MIB = 2**20
PATIENCE_S = 20.0
"""An answer that takes longer counts as none."""
SETTLED_S = 20.0
"""From the end of the last connection to the look at what is kept."""
SENT_S = 30.0
"""How long large bodies are written before the rest is given up."""
TITLES = {"proxy": "ProxyActor", "ingress": "ServeReplica:darkroom:Ingress"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.strangers", description=__doc__)
    parser.add_argument("--sockets", type=int, default=1050, help="half-sent requests held at a time")
    parser.add_argument("--bodies", type=int, default=40, help="large bodies left unfinished")
    parser.add_argument("--body-mib", type=int, default=32)
    parser.add_argument("--haproxy", action="store_true", help="behind HAProxy instead of Serve's own proxy")
    options = parser.parse_args(arguments)
    _allow_sockets(options.sockets + 200)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as data, tempfile.TemporaryDirectory(prefix="ha-") as short:
        haproxy = HAProxy(Path(short)) if options.haproxy else None
        with served(Path(data).resolve(), haproxy) as service:
            print(json.dumps(measure(service, options.sockets, options.bodies, options.body_mib * MIB), indent=1))


def measure(service: Served, sockets: int, bodies: int, body_bytes: int) -> dict[str, object]:
    """The figures."""
    told: dict[str, object] = {"alone": _asked(service)}
    for name, head in half_requests().items():
        with _held(service, [head] * sockets):
            told[f"{sockets} x {name}"] = _asked(service)
    told["memory"] = _memory(service, bodies, body_bytes)
    return told


def half_requests() -> dict[str, bytes]:
    """Kinds of requests that never end."""
    post = f"POST {IMG2IMG} HTTP/1.1\r\nHost: {HOST}\r\n"
    return {
        "half a head": post.encode(),
        "half a body": f'{post}Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{{"prompt": "a'.encode(),
    }


def _asked(service: Served) -> dict[str, object]:
    """Statuses and seconds of health and of a request with a key."""
    return {"GET /healthz": _one(service, "GET", "/healthz"), "GET /v1/models": _one(service, "GET", "/v1/models")}


def _one(service: Served, method: str, path: str) -> object:
    began = time.monotonic()
    try:
        with closing(http.client.HTTPConnection(HOST, service.port, timeout=PATIENCE_S)) as connection:
            connection.request(method, path, headers={"Authorization": f"Bearer {service.key}"})
            status = connection.getresponse().status
    except OSError as error:
        return f"{type(error).__name__} after {time.monotonic() - began:.1f} s"
    return f"{status} in {time.monotonic() - began:.2f} s"


@contextmanager
def _held(service: Served, starts: Sequence[bytes]) -> Iterator[list[socket.socket]]:
    """Connections that have sent so much, closed at the end."""
    with contextlib.ExitStack() as stack:
        held = []
        for start in starts:
            one = stack.enter_context(socket.create_connection((HOST, service.port), timeout=PATIENCE_S))
            one.sendall(start)
            held.append(one)
        time.sleep(2)  # for the service to have taken them all in
        yield held


def _memory(service: Served, bodies: int, body_bytes: int) -> dict[str, object]:
    """MiB of the processes before, during and after unfinished bodies, and what these were answered."""
    before = _resident()
    head = f"POST {IMG2IMG} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {body_bytes}\r\n\r\n"
    with _held(service, [head.encode()] * bodies) as held:
        peak = _sent(held, body_bytes - 1)
        answers = Counter(_status(one) for one in held)
    time.sleep(SETTLED_S)
    after = _resident()
    sizes = {f"MiB {name}": [before[name], peak[name], after[name]] for name in TITLES}
    return {"order": "before, peak, after", **sizes, "answers": dict(answers)}


def _sent(held: Sequence[socket.socket], count: int) -> dict[str, int]:
    """Write so much to each, turn about, as far as it is taken. Gives the largest memory meanwhile."""
    piece, left, until = b"x" * 2**16, [count] * len(held), time.monotonic() + SENT_S
    peak = _resident()
    for one in held:
        one.setblocking(False)
    while any(left) and time.monotonic() < until:
        moved = False
        for index, one in enumerate(held):
            try:
                sent = one.send(piece[: left[index]]) if left[index] else 0
            except BlockingIOError:
                continue
            except OSError:
                left[index] = 0
                continue
            left[index] -= sent
            moved = moved or sent > 0
        if not moved:
            time.sleep(0.05)
        peak = {name: max(peak[name], now) for name, now in _resident().items()}
    return peak


def _status(one: socket.socket) -> str:
    """The status that has been answered so far."""
    try:
        answer = one.recv(100)
    except BlockingIOError:
        return "none"
    except OSError as error:
        return type(error).__name__
    return answer.split(b" ")[1].decode() if answer.startswith(b"HTTP") else "closed"


def _resident() -> dict[str, int]:
    """MiB that the service's processes have in memory."""
    found = dict.fromkeys(TITLES, 0)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            title = " ".join(process.cmdline())
            for name, part in TITLES.items():
                if part in title:
                    found[name] += process.memory_info().rss // MIB
    return found


def _allow_sockets(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


if __name__ == "__main__":
    main()
