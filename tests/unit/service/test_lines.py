"""Lines for the operator: what they tell, what they never tell, and that strangers can neither forge nor flood them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from serve_app.errors import ImageFetchFailed, InvalidFields, InvalidKey, RouteNotFound
from serve_app.records.jobs import State
from serve_app.records.leases import Outcome
from serve_app.service.lines import A_WHILE_S, LONGEST, SAID, Refusals, job_line, refusal_line
from serve_app.service.stopwatch import Stage
from tests.unit.service.stand_in import bench

SUCCESS = Outcome(State.SUCCESS, None, "DDIMScheduler", 1.83, False, None, None)


async def test_a_jobs_line_tells_who_what_and_how_long_and_no_prompt(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        record = await one.accept(None, num_inference_steps=12, samples=2)
    line = job_line(record, SUCCESS, {Stage.REACH: 0.008, Stage.ENGINE: 1.5})
    size = "64x64, 12 steps, 2 pictures"
    assert line == f"job {record.id}: pocket, key first, {size}: success in 1.83 s (reach 8, engine 1500 ms)"
    failed = replace(SUCCESS, state=State.FAILED, message="Image generation failed")
    assert job_line(record, failed, {}).endswith(f"{size}: failed: Image generation failed")
    assert job_line(record, replace(SUCCESS, state=State.CANCELLED), {}).endswith(f"{size}: cancelled")
    assert "star" not in line


def test_a_refused_request_is_told_with_its_path_and_its_reasons() -> None:
    bad = InvalidFields({"prompt": ["The prompt field is required."], "width": ["The width must be an integer."]})
    told = refusal_line("POST", "/api/v3/img2img", "10.0.0.7", bad)
    reasons = "The prompt field is required. The width must be an integer."
    assert told == f"refused POST /api/v3/img2img from 10.0.0.7: 422 {reasons}"
    assert refusal_line("POST", "/nowhere", "a", RouteNotFound("x")) == "refused POST /nowhere from a: 404 Not found"
    failed = ImageFetchFailed("a.test leads to 10.0.0.1, which is not public", "its host has no public address")
    assert refusal_line("POST", "/x", "a", failed).endswith(
        ": 422 Unable to fetch image from provided URL: its host has no public address"
        " (a.test leads to 10.0.0.1, which is not public)"
    )


@pytest.mark.parametrize(
    "path",
    ["/a\ndarkroom: job 1: success", "/\x1b[2Jgone", "/\r/", "/\u2028/", "/\u202etxt", "/\x00", "/\udcff", "/\x85"],
)
def test_what_strangers_write_stays_on_one_line_and_moves_no_cursor(path: str) -> None:
    line = refusal_line("GET", path, "10.0.0.7", InvalidKey())
    assert line.isprintable()
    assert line.startswith("refused GET /")
    assert line.endswith("401 Invalid Api Key")


def test_a_long_path_is_cut() -> None:
    assert len(refusal_line("GET", "/" + "a" * 10_000, "10.0.0.7", InvalidKey())) == LONGEST


class Later:
    """Calls what is due when a test says so."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((seconds, call))


def test_of_many_refused_requests_a_few_are_told_and_the_rest_are_counted() -> None:
    told, later = list[str](), Later()
    refusals = Refusals(told.append, later)
    for _ in range(SAID + 500):
        refusals.tell("GET", "/", "10.0.0.7", InvalidKey())
    for _ in range(7):
        refusals.tell("GET", "/x", "10.0.0.7", RouteNotFound())
    assert len(told) == SAID
    ((seconds, end),) = later.due
    assert seconds == A_WHILE_S
    end()
    refusals.tell("GET", "/", "10.0.0.7", InvalidKey())
    assert told[SAID] == "refused 507 more requests in 10 s (401: 500, 404: 7)"
    assert len(told) == SAID + 2


def test_nothing_is_said_of_a_while_in_which_nothing_was_left_out() -> None:
    told, later = list[str](), Later()
    Refusals(told.append, later).tell("GET", "/", "10.0.0.7", InvalidKey())
    later.due[0][1]()
    assert len(told) == 1
