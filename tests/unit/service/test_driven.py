"""What a driver knows of a job: what it tells the records, and what it learns of a round."""

from dataclasses import replace

import numpy as np
import pytest

from serve_app.messages import Pixels, Progress
from serve_app.records.leases import Renewal
from serve_app.records.rows import JobRecord, State
from serve_app.service.driven import DrivenJob, Stop

NOTHING = frozenset[int]()
QUIET = Renewal(NOTHING, NOTHING, NOTHING)
OURS = frozenset({7})
PREVIEW = np.zeros((8, 8, 3), np.uint8)


def record() -> JobRecord:
    """A job that was accepted just now."""
    return JobRecord(
        id=7, key_name="first", model_id="pocket", file_prefix="p", request="{}", job="{}", links=(), fetch_url="",
        webhook=None, state=State.QUEUED, version=1, cost=100, done=0, total=20, watched_until=0.0, attempts=0,
        cancel_asked=False, lease_owner="ours", lease_until=115.0, fence=3, created_at=100.0, started_at=None,
        ended_at=None, deadline_at=700.0, seconds=None, sampler=None, flagged=None, result=None, message=None,
        temporary=False, delete_at=None,
    )  # fmt: skip


@pytest.fixture
def driven() -> DrivenJob:
    """A job before its first run."""
    return DrivenJob.of(record())


def encode(pixels: Pixels) -> bytes:
    """A preview's bytes."""
    return pixels.tobytes()


def test_a_job_that_waits_in_the_engine_has_not_started(driven: DrivenJob) -> None:
    assert not driven.follow(Progress(0, 0), 101.0)
    assert not driven.follow(Progress(0, 24), 102.0)
    heartbeat = driven.heartbeat(encode)
    assert (heartbeat.id, heartbeat.fence, heartbeat.done, heartbeat.total, heartbeat.started_at) == (7, 3, 0, 24, None)


def test_the_first_evaluation_is_news_and_the_next_is_not(driven: DrivenJob) -> None:
    assert driven.follow(Progress(1, 24), 103.0)
    assert not driven.follow(Progress(2, 24), 104.0)
    assert driven.heartbeat(encode).started_at == 103.0


def test_pixels_that_came_without_progress_tell_when_the_job_started(driven: DrivenJob) -> None:
    driven.generated(0.25, 103.0)
    heartbeat = driven.heartbeat(encode)
    assert (heartbeat.done, heartbeat.total, heartbeat.started_at) == (20, 20, 102.75)


def test_a_new_attempt_begins_at_its_start_but_the_job_started_when_it_first_ran(driven: DrivenJob) -> None:
    driven.follow(Progress(9, 20, PREVIEW), 103.0)
    driven.broke_off()
    driven.watched = True
    heartbeat = driven.heartbeat(encode)
    assert (heartbeat.done, heartbeat.started_at, heartbeat.preview) == (0, 103.0, None)


def test_previews_are_told_once_and_only_to_those_who_watch(driven: DrivenJob) -> None:
    driven.follow(Progress(1, 20, PREVIEW), 103.0)
    assert driven.heartbeat(encode).preview is None
    driven.learn(Renewal(NOTHING, NOTHING, watched=OURS))
    driven.follow(Progress(2, 20, PREVIEW), 104.0)
    assert driven.heartbeat(encode).preview == PREVIEW.tobytes()
    assert driven.heartbeat(encode).preview is None


def test_a_heartbeat_does_not_take_back_a_preview(driven: DrivenJob) -> None:
    driven.watched = True
    driven.follow(Progress(2, 20, PREVIEW), 104.0)
    driven.follow(Progress(2, 20), 109.0)
    assert driven.heartbeat(encode).preview is not None


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (QUIET, None),
        (replace(QUIET, cancelled=OURS), Stop.CANCELLED),
        (replace(QUIET, lost=OURS), Stop.LOST),
        (replace(QUIET, cancelled=frozenset({8}), lost=frozenset({9})), None),
    ],
)
def test_a_round_tells_whether_to_go_on(driven: DrivenJob, told: Renewal, why: Stop | None) -> None:
    assert driven.learn(told) == (why is not None)
    assert driven.stop is why


def test_nothing_stops_a_job_whose_end_is_being_written_and_nothing_stops_it_twice(driven: DrivenJob) -> None:
    ending, stopped = driven, DrivenJob.of(record())
    ending.ending, stopped.stop = True, Stop.CANCELLED
    lost = replace(QUIET, lost=OURS)
    assert not ending.learn(lost)
    assert not stopped.learn(lost)
    assert (ending.stop, stopped.stop) == (None, Stop.CANCELLED)
