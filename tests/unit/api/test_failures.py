"""Failures in the records: what a job ended with is told again as it was, also by records of earlier versions."""

from dataclasses import replace

import pytest

from serve_app.api.answer_schemas import ERROR, FAILED, HOOK_FAILURE, JOB
from serve_app.api.answers import fetched, posted, webhook_payload
from serve_app.api.failures import dump_failure, load_failure
from serve_app.api.job_resource import job_resource
from serve_app.api.problems import TABLE, problem, text_of
from serve_app.errors import DarkroomError, InvalidFields, ModelNotFound, RateLimited
from tests.unit.api import viewing
from tests.unit.api.viewing import assert_valid

FIELDS = {"clip_skip": ["The clip skip may not be greater than 3 for this model."]}
REFUSED = replace(viewing.FAILED, message=FIELDS["clip_skip"][0], failure=dump_failure(InvalidFields(FIELDS)))


@pytest.mark.parametrize("cls", [cls for cls in TABLE if cls not in (InvalidFields, RateLimited)])
def test_every_failure_is_answered_from_the_records_as_it_was(cls: type[DarkroomError]) -> None:
    again = load_failure(dump_failure(cls("for the log")))
    assert again is not None
    assert problem(again) == problem(cls())
    ended = replace(viewing.FAILED, message=text_of(cls()), failure=dump_failure(cls("for the log")))
    assert posted(ended, ()) == problem(cls())


def test_bad_fields_that_a_replica_found_are_told_as_the_doors_are() -> None:
    status, body, _ = posted(REFUSED, ())
    assert (status, body) == (422, {"status": "error", "message": FIELDS})
    assert_valid(body, ERROR)


def test_bad_fields_are_named_on_fetch_in_the_webhook_and_in_the_resource() -> None:
    told = [(fetched(REFUSED, ()), FAILED), (webhook_payload(REFUSED, ()), HOOK_FAILURE)]
    told.append((job_resource(REFUSED, "https://host"), JOB))
    for answer, schema in told:
        assert answer["message"] == FIELDS
        assert_valid(answer, schema)


@pytest.mark.parametrize("kept", [None, "", "{", "[]", '{"code": "of_a_later_version"}', '{"code": "invalid_fields"}'])
def test_a_record_without_a_code_that_we_know_is_told_by_its_text(kept: str | None) -> None:
    ended = replace(viewing.FAILED, failure=kept)
    assert posted(ended, ())[:2] == (500, {"status": "error", "message": "Image generation failed"})
    assert fetched(ended, ())["message"] == "Image generation failed"


def test_a_model_that_left_the_catalogue_meanwhile_is_not_found() -> None:
    ended = replace(viewing.FAILED, message=text_of(ModelNotFound()), failure=dump_failure(ModelNotFound("x")))
    assert posted(ended, ())[0] == 404
