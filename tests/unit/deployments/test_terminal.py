"""Lines of other processes on the terminal: they come, they are shown as they are, and nobody waits for them."""

import logging
import os
import time
from collections.abc import Callable, Iterator

import pytest

from deployments.terminal import lines_printed, say_lines
from serve_app.service.lines import LINES

PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def _handlers_put_back() -> Iterator[None]:
    before = LINES.handlers[:], LINES.level, LINES.propagate
    LINES.handlers = []
    yield
    for handler in LINES.handlers:
        handler.close()
    LINES.handlers, LINES.level, LINES.propagate = before


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that a test reads."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read_until(reading: int, enough: Callable[[str], bool]) -> str:
    text, until = "", time.monotonic() + PATIENCE_S
    while not enough(text):
        assert time.monotonic() < until
        try:
            text += os.read(reading, 65536).decode()
        except BlockingIOError:
            time.sleep(0.01)
    return text


def test_lines_are_printed_while_the_service_runs_and_written_to_rays_log(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[logging.LogRecord] = []
    monkeypatch.setattr(logging.getLogger("ray.serve"), "handle", logged.append)
    with lines_printed(pipe[1]):
        say_lines()
        say_lines()  # as both parts of one process do
        LINES.info("job 1: success")
        assert read_until(pipe[0], lambda text: "\n" in text) == "darkroom: job 1: success\n"
    assert [record.getMessage() for record in logged] == ["job 1: success"]


def test_a_line_is_one_line_whatever_stands_in_it(pipe: tuple[int, int]) -> None:
    with lines_printed(pipe[1]):
        say_lines()
        LINES.info("a\ndarkroom: b\x1b[2J")
        assert read_until(pipe[0], lambda text: "\n" in text) == "darkroom: a\\ndarkroom: b\\x1b[2J\n"


def test_nobody_waits_for_a_terminal_that_is_not_read_and_what_was_left_out_is_counted(pipe: tuple[int, int]) -> None:
    with lines_printed(pipe[1]):
        say_lines()
        for number in range(2000):  # more than a pipe holds
            LINES.info("%d %s", number, "x" * 200)
        read_until(pipe[0], lambda text: len(text) > 30_000)
        seen = ""
        while "left out" not in seen and "were lost" not in seen:
            LINES.info("once more")
            seen = read_until(pipe[0], lambda text: "\n" in text)


def test_without_a_terminal_lines_go_to_rays_log_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DARKROOM_TERMINAL", raising=False)
    say_lines()
    assert len(LINES.handlers) == 1
