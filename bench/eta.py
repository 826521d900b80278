"""`python -m bench.eta`: how near the eta of queued jobs comes to the truth.

A real service gets many jobs at once that differ in steps and strength. When the last one is accepted, all are asked
for their eta, and later for their end. Prints one JSON object: the share of jobs whose end was within 30 % of what was
told, for the eta of that moment and for the one in the answer to each request (which cannot know who comes later).
"""

import argparse
import http.client
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.pictures import IMG2IMG, drawn_fields
from bench.serving import HOST, NotMeasured, Served, served

FOLDER = Path("build/bench-eta")
SIDE = 64
HISTORY = 16
"""Jobs that end before the others come: a service learns its pace from what it has done."""
NEAR = 0.3
CLIENTS = 4
PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Promise:
    """An eta, and when it was told."""

    id: int
    at: float
    eta_s: float

    def error(self, ended_at: float) -> float:
        """Relative to the seconds that it really took."""
        truth = ended_at - self.at
        return abs(self.eta_s - truth) / truth


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.eta", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--history", type=int, default=HISTORY, help="jobs that end before those come")
    options = parser.parse_args(arguments)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as data, served(Path(data).resolve()) as service:
        print(json.dumps(measure(service, options.history, options.jobs)))


def measure(service: Served, history: int, count: int) -> dict[str, object]:
    """The figures of `count` jobs after `history` others. Raises NotMeasured where one fails."""
    rng = np.random.default_rng(6)
    _ends(service, [told.id for told in _submitted(service, _bodies(service, history, rng))])
    answered = _submitted(service, _bodies(service, count, rng))
    with ThreadPoolExecutor(CLIENTS) as clients:
        seen = [told for told in clients.map(partial(_seen, service), answered) if told is not None]
    ends = _ends(service, [told.id for told in answered])
    return {
        "history": history,
        "jobs": count,
        "queued_when_asked": len(seen),
        "near_when_queued": _near(seen, ends),
        "near_when_accepted": _near(answered, ends),
        "seconds_in_all": round(max(ends.values()) - answered[0].at, 1),
    }


def _near(told: Sequence[Promise], ends: Mapping[int, float]) -> dict[str, float]:
    errors = [each.error(ends[each.id]) for each in told]
    share = sum(error <= NEAR for error in errors) / len(errors)
    return {"share_within_30_percent": round(share, 3), "median_error": round(median(errors), 3)}


def _submitted(service: Served, bodies: Sequence[bytes]) -> list[Promise]:
    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(partial(_submit, service), bodies))


def _submit(service: Served, body: bytes) -> Promise:
    answer = _asked(service, "POST", IMG2IMG, body)
    return Promise(answer["id"], time.time(), answer["eta"])


def _seen(service: Served, told: Promise) -> Promise | None:
    """What is told of a job now; None where it has ended."""
    answer = _job(service, told.id)
    return None if answer["eta"] is None else Promise(told.id, time.time(), answer["eta"])


def _ends(service: Served, ids: Sequence[int]) -> dict[int, float]:
    """When each job ended, in seconds since 1970."""
    until = time.monotonic() + PATIENCE_S
    ends: dict[int, float] = {}
    while len(ends) < len(ids):
        if time.monotonic() > until:
            raise NotMeasured(f"{len(ids) - len(ends)} jobs did not end within {PATIENCE_S:.0f} s")
        time.sleep(1)
        missing = next(id for id in ids if id not in ends)
        if _job(service, missing)["ended_at"] is not None:
            looked = {id: _job(service, id) for id in ids if id not in ends}
            ends |= {id: _ended_at(job) for id, job in looked.items() if job["ended_at"] is not None}
    return ends


def _ended_at(job: Mapping[str, Any]) -> float:
    if job["status"] != "success":
        raise NotMeasured(f"job {job['id']} is {job['status']}")
    return datetime.fromisoformat(job["ended_at"]).timestamp()


def _job(service: Served, id: int) -> dict[str, Any]:
    return _asked(service, "GET", f"/v1/jobs/{id}", None)


def _asked(service: Served, method: str, path: str, body: bytes | None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {service.key}"}
    with closing(http.client.HTTPConnection(HOST, service.port, timeout=PATIENCE_S)) as connection:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    if response.status != 200:
        raise NotMeasured(f"HTTP {response.status}: {answer}")
    return answer


def _bodies(service: Served, count: int, rng: np.random.Generator) -> list[bytes]:
    return [_body(service, rng) for _ in range(count)]


def _body(service: Served, rng: np.random.Generator) -> bytes:
    """A request for 5 to 50 steps at a strength of 0.3 to 0.9."""
    fields = {
        **drawn_fields(service, SIDE, rng),
        "num_inference_steps": int(rng.integers(5, 51)),
        "strength": round(float(rng.uniform(0.3, 0.9)), 2),
        "seed": int(rng.integers(2**31)),
        "instant_response": "yes",
    }
    return json.dumps(fields).encode()


if __name__ == "__main__":
    main()
