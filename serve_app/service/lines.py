"""What an operator reads while it serves: a line for each job that has ended, and one for each request refused.

No prompts, keys or pictures. What strangers wrote is escaped and cut, and their lines are counted beyond a few.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from starlette.types import Scope

from serve_app.api.problems import problem, text_of
from serve_app.errors import DarkroomError, GenerationFailed, ImageFetchFailed
from serve_app.records.document import read_job
from serve_app.records.jobs import JobRecord, State
from serve_app.records.leases import Outcome
from serve_app.service.stopwatch import Laps

LINES = logging.getLogger("darkroom")
"""Whoever runs the service decides where its lines go."""
LONGEST = 300
"""Characters of a line."""
A_WHILE_S = 10.0
SAID = 20
"""Refusals told in a while; more are counted."""


def job_line(record: JobRecord, outcome: Outcome, laps: Laps) -> str:
    """One job, and what became of it."""
    job = read_job(record.job)
    pictures = "1 picture" if job.samples == 1 else f"{job.samples} pictures"
    what = f"{job.width}x{job.height}, {job.steps} steps, {pictures}"
    if outcome.state == State.SUCCESS:
        ended = f"success in {outcome.seconds or 0.0:.2f} s" + (", flagged" if outcome.flagged else "")
    elif outcome.state == State.CANCELLED:
        ended = "cancelled"
    else:
        ended = f"failed: {outcome.message or text_of(GenerationFailed())}"
    stages = ", ".join(f"{stage} {1000 * seconds:.0f}" for stage, seconds in laps.items())
    timed = f" ({stages} ms)" if stages else ""
    return printable(f"job {record.id}: {record.model_id}, key {record.key_name}, {what}: {ended}{timed}")


def refusal_line(method: str, path: str, client: str, error: DarkroomError) -> str:
    """One request that was not served, and why."""
    status, body, _ = problem(error)
    told = body["message"]
    reason = " ".join(" ".join(some) for some in told.values()) if isinstance(told, dict) else str(told)
    inner = (
        f" ({error.detail})" if isinstance(error, ImageFetchFailed) else ""
    )  # the address, which its sender is not told
    return printable(f"refused {method} {path} from {client}: {status} {reason}{inner}")


def printable(text: str) -> str:
    """On one line, without anything that moves a terminal's cursor, and not too long."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def told_of(refusals: "Refusals", scope: Scope, error: DarkroomError) -> None:
    """A request of ASGI was refused."""
    client = scope.get("client") or ("unknown", 0)
    refusals.tell(scope["method"], scope["path"], client[0], error)


def _later(seconds: float, call: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, call)


class Refusals:
    """Tells of refused requests, of a few each while. Belongs to one event loop."""

    def __init__(
        self,
        say: Callable[[str], object] = LINES.info,
        later: Callable[[float, Callable[[], None]], object] = _later,
    ) -> None:
        """`later` calls something after so many seconds."""
        self._say = say
        self._later = later
        self._said = 0
        self._left_out: Counter[int] = Counter()

    def tell(self, method: str, path: str, client: str, error: DarkroomError) -> None:
        """Say it, or count it."""
        if self._said == 0:
            self._later(A_WHILE_S, self._end_of_while)
        if self._said < SAID:
            self._said += 1
            self._say(refusal_line(method, path, client, error))
        else:
            self._left_out[problem(error)[0]] += 1

    def _end_of_while(self) -> None:
        if self._left_out:
            by_status = ", ".join(f"{status}: {count}" for status, count in sorted(self._left_out.items()))
            self._say(f"refused {self._left_out.total()} more requests in {A_WHILE_S:.0f} s ({by_status})")
        self._said = 0
        self._left_out.clear()
