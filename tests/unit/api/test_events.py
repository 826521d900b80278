"""The event stream, read as a browser reads it: by the WHATWG's own algorithm."""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.api.answer_schemas import EVENT
from serve_app.api.events import KEEP_ALIVE, NOTHING_SEEN, OPENING, event_text, is_news, is_over, last_event_id
from serve_app.api.views import JobView
from tests.unit.api.viewing import CANCELLED, ENDED, FAILED, LINKS, QUEUED, RUNNING, SUCCEEDED, assert_valid

PNG = bytes(range(256))


@dataclass(frozen=True)
class Event:
    """An event as a listener gets it."""

    name: str
    data: Any
    id: str


class EventSource:
    """Section 9.2.6 of the HTML standard: interpreting an event stream."""

    def __init__(self) -> None:
        self.retry_ms: int | None = None
        self.retries = 0
        self._last_id = ""

    def read(self, text: str) -> Iterator[Event]:
        name, data = "", ""
        lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for line in lines[:-1]:  # what no line end closes is not dispatched
            if line == "" and data:
                yield Event(name or "message", json.loads(data.removesuffix("\n")), self._last_id)
            if line == "":
                name, data = "", ""
                continue
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data += value + "\n"
            elif field == "id" and "\0" not in value:
                self._last_id = value
            elif field == "retry" and value.isascii() and value.isdigit():
                self.retry_ms, self.retries = int(value), self.retries + 1


def read(*pieces: str) -> list[Event]:
    return list(EventSource().read("".join(pieces)))


def stream_of(views: Iterable[JobView], seen: int) -> list[str]:
    return [event_text(view) for view in views if is_news(view, seen)]


@pytest.mark.parametrize(
    ("view", "name"),
    [
        (QUEUED, "progress"),
        (RUNNING, "progress"),
        (SUCCEEDED, "success"),
        (FAILED, "failed"),
        (CANCELLED, "cancelled"),
    ],
)
def test_an_event_is_named_for_what_it_tells_and_numbered_by_the_version(view: JobView, name: str) -> None:
    (event,) = read(event_text(view))
    assert (event.name, event.id, event.data["id"]) == (name, str(view.version), view.id)
    assert event.data["status"] == view.state
    assert_valid(event.data, EVENT)


def test_progress_tells_the_evaluations_and_the_rest_of_the_way() -> None:
    (event,) = read(event_text(QUEUED))
    assert event.data["progress"] == {"done": 0, "total": 20}
    assert (event.data["queue_position"], event.data["eta"]) == (2, 13.0)


def test_a_preview_comes_as_a_data_uri() -> None:
    (event,) = read(event_text(RUNNING, PNG))
    assert event.name == "preview"
    assert base64.b64decode(event.data["preview"].removeprefix("data:image/png;base64,"), validate=True) == PNG
    assert event.data["progress"] == {"done": 8, "total": 20}
    assert_valid(event.data, EVENT)


@pytest.mark.parametrize("view", ENDED)
def test_a_job_that_has_ended_shows_its_end_and_no_preview(view: JobView) -> None:
    assert event_text(view, PNG) == event_text(view)


def test_a_success_brings_the_links() -> None:
    assert read(event_text(SUCCEEDED))[0].data["output"] == list(LINKS)


def test_a_failure_brings_the_reason() -> None:
    assert read(event_text(FAILED))[0].data["message"] == "Image generation failed"


def test_keep_alives_and_the_opening_are_no_events() -> None:
    source = EventSource()
    text = "".join([OPENING, KEEP_ALIVE, event_text(RUNNING), KEEP_ALIVE, event_text(SUCCEEDED), KEEP_ALIVE])
    assert [event.name for event in source.read(text)] == ["progress", "success"]
    assert (source.retry_ms, source.retries) == (2000, 1)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_of_a_job_breaks_an_event(message: str) -> None:
    (event,) = read(event_text(replace(FAILED, message=message or "-")))
    assert event.data["message"] == (message or "-")


def test_a_client_that_comes_back_is_told_what_is_newer_and_nothing_twice() -> None:
    (first,) = read(*stream_of([QUEUED], NOTHING_SEEN))
    seen = last_event_id(first.id)
    assert stream_of([QUEUED], seen) == []
    assert [event.name for event in read(*stream_of([RUNNING, SUCCEEDED], seen))] == ["progress", "success"]


def test_a_client_that_saw_the_end_is_to_stay_away() -> None:
    assert is_over(SUCCEEDED, SUCCEEDED.version)
    assert not is_over(SUCCEEDED, RUNNING.version)
    assert not is_over(RUNNING, RUNNING.version)


def test_a_client_that_saw_nothing_is_told_even_of_version_zero() -> None:
    assert is_news(replace(QUEUED, version=0), last_event_id(None))


@pytest.mark.parametrize(("header", "seen"), [("0", 0), ("7", 7), (" 7 ", 7), ("2147483648", 2**31)])
def test_a_last_event_id_is_the_version_that_was_seen(header: str, seen: int) -> None:
    assert last_event_id(header) == seen


@pytest.mark.parametrize("header", [None, "", "x", "-1", "7.5", "٣", "9" * 5000, "1_000"])
def test_a_last_event_id_that_is_none_of_ours_means_nothing_was_seen(header: str | None) -> None:
    assert last_event_id(header) == NOTHING_SEEN
