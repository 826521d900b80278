"""What the hosted API's routes tell of a job that is waiting, running, failed or cancelled."""

from dataclasses import replace

import pytest

from serve_app.api.answer_schemas import FAILED as FAILED_SCHEMA
from serve_app.api.answer_schemas import HOOK_FAILURE, HOOK_SUCCESS, PROCESSING, SUCCESS, UNKNOWN_JOB
from serve_app.api.answers import fetched, meta, outcome, posted, processing, success, webhook_payload
from serve_app.api.problems import TABLE, fetch_problem, problem, text_of
from serve_app.api.views import JobView
from serve_app.errors import (
    AttemptsExhausted,
    Cancelled,
    DarkroomError,
    DeadlineExceeded,
    GenerationFailed,
    InvalidKey,
    JobNotFound,
    ModelUnavailable,
    RecordsUnavailable,
    SafetyCheckFailed,
    StorageFailed,
)
from tests.unit.api.viewing import (
    CANCELLED,
    FAILED,
    LINKS,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    UNENDED,
    asking,
    assert_valid,
    on_the_wire,
)

ENDINGS = (
    GenerationFailed,
    SafetyCheckFailed,
    StorageFailed,
    AttemptsExhausted,
    Cancelled,
    DeadlineExceeded,
    ModelUnavailable,
)
"""What a job that was accepted can end with."""


@pytest.mark.parametrize("view", UNENDED)
def test_a_job_that_is_not_done_answers_with_the_contracts_keys(view: JobView) -> None:
    answer = processing(view)
    assert list(answer) == [
        "status",
        "tip",
        "eta",
        "messege",
        "message",
        "webhook_status",
        "fetch_result",
        "id",
        "output",
        "meta",
        "future_links",
    ]
    assert answer["messege"] == answer["message"]
    assert answer["fetch_result"] == view.fetch_url
    assert answer["future_links"] == list(view.links)
    assert answer["meta"] == meta(view)
    assert_valid(answer, PROCESSING)


@pytest.mark.parametrize("seconds", [13, 13.0, 0])
def test_an_eta_is_a_float_on_the_wire_even_where_it_is_whole(seconds: float) -> None:
    assert type(on_the_wire(processing(replace(QUEUED, eta_s=seconds)))["eta"]) is float


@pytest.mark.parametrize("samples", [1, 3])
def test_the_future_links_are_the_very_links_of_the_output(samples: int) -> None:
    links = tuple(f"https://host/files/a-{n}.png" for n in range(samples))
    assert processing(replace(QUEUED, links=links))["future_links"] == success(SUCCEEDED, links)["output"]


def test_a_job_tells_its_meta_before_it_has_run() -> None:
    assert meta(QUEUED) == meta(SUCCEEDED)


@pytest.mark.parametrize("track_id", [7, "7"])
def test_a_track_id_comes_along_while_a_job_waits(track_id: object) -> None:
    told = processing(asking(QUEUED, track_id=track_id))
    assert told["track_id"] == track_id
    assert type(told["track_id"]) is type(track_id)
    assert_valid(told, PROCESSING)


@pytest.mark.parametrize("view", [QUEUED, RUNNING, SUCCEEDED])
def test_the_first_answer_and_a_fetch_say_the_same_of_a_job_that_has_not_failed(view: JobView) -> None:
    assert posted(view, LINKS) == (200, fetched(view, LINKS), {})
    assert_valid(fetched(view, LINKS), SUCCESS if view is SUCCEEDED else PROCESSING)


def test_a_fetch_of_a_failed_job_says_why() -> None:
    answer = fetched(FAILED, ())
    assert answer == {"status": "failed", "id": FAILED.id, "message": "Image generation failed", "output": ""}
    assert_valid(answer, FAILED_SCHEMA)


def test_a_fetch_of_a_cancelled_job_says_so() -> None:
    assert fetched(CANCELLED, ())["message"] == "The request was cancelled"
    assert fetched(asking(CANCELLED, track_id=7), ())["track_id"] == 7, "as in its webhook"
    assert_valid(fetched(asking(CANCELLED, track_id=7), ()), FAILED_SCHEMA)
    assert_valid(fetched(CANCELLED, ()), FAILED_SCHEMA)


@pytest.mark.parametrize("cls", ENDINGS)
@pytest.mark.parametrize("errors_as_200", [False, True])
def test_the_first_answer_to_a_job_that_failed_in_time_is_the_failures_own(
    cls: type[DarkroomError], errors_as_200: bool
) -> None:
    ended = replace(FAILED, message=text_of(cls("for the log")))
    assert posted(ended, (), errors_as_200=errors_as_200) == problem(cls(), errors_as_200=errors_as_200)


def test_the_first_answer_to_a_cancelled_job_is_todays() -> None:
    assert posted(CANCELLED, ()) == problem(Cancelled())


def test_a_reason_of_its_own_is_told_as_it_is() -> None:
    status, body, _ = posted(replace(FAILED, message="The replica ran out of memory"), ())
    assert (status, body) == (500, {"status": "error", "message": "The replica ran out of memory"})


def test_a_subclass_that_ray_made_on_the_way_has_its_parents_text() -> None:
    class Wrapped(AttemptsExhausted):
        """As Ray makes them."""

    assert text_of(Wrapped("secret")) == TABLE[AttemptsExhausted][1]
    assert text_of(DarkroomError("secret")) == "Internal server error"


@pytest.mark.parametrize(("errors_as_200", "status"), [(False, 404), (True, 200)])
def test_an_unknown_job_is_a_404_in_our_mode_and_a_200_in_the_older_one(errors_as_200: bool, status: int) -> None:
    told, body, headers = fetch_problem(JobNotFound("detail"), errors_as_200=errors_as_200)
    assert (told, headers) == (status, {})
    assert body == {"status": "failed", "id": "", "message": "Request not found", "output": ""}
    assert_valid(body, UNKNOWN_JOB)


@pytest.mark.parametrize("error", [InvalidKey(), RecordsUnavailable()])
def test_a_fetch_fails_otherwise_as_every_request_does(error: DarkroomError) -> None:
    assert fetch_problem(error) == problem(error)
    assert fetch_problem(error, errors_as_200=True) == problem(error, errors_as_200=True)


@pytest.mark.parametrize("track_id", [None, 7, "7"])
def test_the_webhook_of_a_success_has_the_contracts_keys(track_id: object) -> None:
    payload = webhook_payload(asking(SUCCEEDED, track_id=track_id), LINKS)
    assert list(payload) == ["status", "id", "output", "generationTime", "track_id", "meta", *outcome(SUCCEEDED)]
    assert (payload["output"], payload["generationTime"]) == (list(LINKS), 1.835)
    assert payload["track_id"] == track_id
    assert payload["meta"] == meta(asking(SUCCEEDED, track_id=track_id))
    assert_valid(payload, HOOK_SUCCESS)


@pytest.mark.parametrize(
    ("view", "why"), [(FAILED, "Image generation failed"), (CANCELLED, "The request was cancelled")]
)
def test_the_webhook_of_a_failure_has_the_contracts_keys(view: JobView, why: str) -> None:
    payload = webhook_payload(asking(view, track_id="order 7"), ())
    assert payload == {"status": "failed", "id": view.id, "message": why, "track_id": "order 7"}
    assert_valid(payload, HOOK_FAILURE)
