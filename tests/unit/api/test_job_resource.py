"""Our own resource of a job: always the same names, null where there is nothing."""

from dataclasses import replace

import pytest

from serve_app.api.answer_schemas import JOB
from serve_app.api.answers import outcome, processing, success, webhook_payload
from serve_app.api.job_resource import cancel_status, iso_time, job_resource
from serve_app.api.views import JobView, Picture
from tests.unit.api.viewing import CANCELLED, ENDED, FAILED, LINKS, QUEUED, RUNNING, SUCCEEDED, UNENDED, assert_valid


@pytest.mark.parametrize("view", [*UNENDED, *ENDED])
@pytest.mark.parametrize("base", ["https://host", "https://host/"])
def test_a_job_is_described_by_the_same_names_in_every_state(view: JobView, base: str) -> None:
    answer = job_resource(view, base)
    assert list(answer) == [
        "id",
        "status",
        "progress",
        "queue_position",
        "eta",
        "attempts",
        "output",
        "generationTime",
        "nsfw_content_detected",
        "pictures",
        "timings",
        "message",
        "model_id",
        "meta",
        "track_id",
        "created_at",
        "started_at",
        "ended_at",
        "webhook_status",
        "links",
    ]
    assert answer["links"] == {
        "self": "https://host/v1/jobs/13443927",
        "events": "https://host/v1/jobs/13443927/events",
        "fetch": view.fetch_url,
    }
    assert_valid(answer, JOB)


def test_a_waiting_job_tells_its_place_and_when_it_will_be_done() -> None:
    told = job_resource(QUEUED, "")
    assert (told["status"], told["queue_position"], told["eta"]) == ("queued", 2, 13.0)
    assert (told["created_at"], told["started_at"], told["ended_at"]) == ("2023-11-14T22:13:20.000Z", None, None)


def test_a_running_job_tells_how_far_it_is() -> None:
    told = job_resource(replace(RUNNING, attempts=1), "")
    assert told["progress"] == {"done": 8, "total": 20}
    assert (told["queue_position"], told["attempts"], told["output"]) == (0, 1, [])
    assert told["started_at"] == "2023-11-14T22:13:21.500Z"


def test_a_job_that_has_ended_waits_for_nothing() -> None:
    for view in ENDED:
        told = job_resource(view, "")
        assert (told["queue_position"], told["eta"]) == (None, None)
        assert told["ended_at"] == "2023-11-14T22:13:23.250Z"


def test_links_are_told_of_a_success_alone_and_reasons_of_the_others() -> None:
    told = [(job["output"], job["message"]) for job in (job_resource(view, "") for view in ENDED)]
    assert told == [(list(LINKS), None), ([], "Image generation failed"), ([], "The request was cancelled")]


def test_cancelling_is_accepted_while_there_is_something_to_cancel() -> None:
    assert [cancel_status(view) for view in (QUEUED, RUNNING)] == [202, 202]
    assert [cancel_status(view) for view in (SUCCEEDED, FAILED, CANCELLED)] == [200, 200, 200]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1e9 + 0.0004, "2001-09-09T01:46:40.000Z"),
        (2**31, "2038-01-19T03:14:08.000Z"),
    ],
)
def test_moments_are_iso_8601_in_utc(seconds: float, text: str) -> None:
    assert iso_time(seconds) == text


def test_every_channel_tells_the_same_of_each_picture_and_of_where_the_time_went() -> None:
    three = (Picture(2**32 - 1, False), Picture(0, True), Picture(1, False))
    view = replace(SUCCEEDED, pictures=three, flagged=True)
    resource, answer = job_resource(view, ""), success(view, ())
    told = [
        {name: channel[name] for name in outcome(view)} for channel in (resource, answer, webhook_payload(view, ()))
    ]
    assert told == [outcome(view)] * 3
    assert answer["pictures"] == [{"seed": one.seed, "replaced": one.replaced} for one in three]
    assert answer["timings"] == {"queue": 0.25, "engine": 1.8346}
    assert resource["meta"] == answer["meta"] == webhook_payload(view, ())["meta"] == processing(view)["meta"]
    assert_valid(resource, JOB)


def test_nothing_of_an_outcome_is_told_before_there_is_one() -> None:
    for view in (*UNENDED, FAILED, CANCELLED):
        assert {job_resource(view, "")[name] for name in outcome(view)} == {None}
