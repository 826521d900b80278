"""What an operator sees while the service runs: a line for each job, and one for each request refused."""

import re
import time
from collections.abc import Callable

from tests.conftest import Service
from tests.integration.asking import IMG2IMG, ask, body

PATIENCE_S = 120.0


def said(service: Service, pattern: str, again: Callable[[], object] = lambda: None) -> str:
    """The first line that matches; `again` is done until there is one, for of many refusals only some are told."""
    until = time.monotonic() + PATIENCE_S
    while True:
        again()
        for line in list(service.said):
            if re.fullmatch(pattern, line):
                return line
        assert time.monotonic() < until, service.said[-20:]
        time.sleep(0.5)


def test_a_job_is_one_line_that_says_whose_it_was_what_it_made_and_where_its_time_went(service: Service) -> None:
    answer = ask(service, num_inference_steps=3, prompt="a green square")
    line = said(service, rf"darkroom: job {answer['id']}: .*")
    what = "pocket, key first, 128x128, 3 steps, 1 picture: success in "
    assert line.startswith(f"darkroom: job {answer['id']}: {what}")
    assert re.search(r"\(.*engine \d+, .*finish \d+.* ms\)$", line)
    assert "green" not in line


def test_a_refused_request_is_one_line_with_its_path_and_its_reason(service: Service) -> None:
    def refuse() -> None:
        with service.client() as client:
            client.post(IMG2IMG, json=body(service, width=7))
            client.post("/no/such/path")

    said(service, r"darkroom: refused POST /no/such/path from 127\.0\.0\.1: 404 Not found", refuse)
    line = said(
        service, rf"darkroom: refused POST {IMG2IMG} from .*: 422 The width must be between 64 and 1024\.", refuse
    )
    assert service.key not in line


def test_a_strangers_path_makes_no_line_of_its_own(service: Service) -> None:
    def forge() -> None:
        with service.client() as client:
            client.get("/x%0Adarkroom:%20job%201:%20success%1b[2J")

    said(service, r"darkroom: refused GET /x\\ndarkroom: job 1: success\\x1b\[2J from .*", forge)
    assert not any(line.startswith("darkroom: job 1:") for line in service.said)
