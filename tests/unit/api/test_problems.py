"""Failures: each has one status and one text, and survives the trip between processes."""

import pickle

import pytest

from serve_app.api.problems import TABLE, problem
from serve_app.errors import (
    BodyTooLarge,
    DarkroomError,
    GenerationFailed,
    InvalidFields,
    InvalidKey,
    LinkRefused,
    MethodNotAllowed,
    ModelNotFound,
    Overloaded,
    RateLimited,
    RecordsUnavailable,
    RouteNotFound,
    StoreUnavailable,
    UnreadableBody,
)


def leaves(cls: type[DarkroomError] = DarkroomError) -> list[type[DarkroomError]]:
    below = [leaf for child in cls.__subclasses__() for leaf in leaves(child)]
    return below if below or cls is DarkroomError else [cls]


def example(cls: type[DarkroomError]) -> DarkroomError:
    if issubclass(cls, InvalidFields):
        return cls({"prompt": ["The prompt field is required."]})
    return cls(2.5) if issubclass(cls, RateLimited) else cls("said for the log")


# Classes made inside other tests would be subclasses too: the tree of the module is what counts.
LEAVES = [leaf for leaf in leaves() if leaf.__module__ == "serve_app.errors"]


def test_the_table_maps_every_leaf_of_the_tree_and_nothing_else() -> None:
    assert set(TABLE) == set(LEAVES)
    assert len(LEAVES) >= 16


@pytest.mark.parametrize("cls", LEAVES)
def test_every_failure_pickles_with_its_attributes(cls: type[DarkroomError]) -> None:
    error = example(cls)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert vars(copy) == vars(error)
    assert problem(copy) == problem(error)


@pytest.mark.parametrize("cls", LEAVES)
def test_every_failure_answers_with_an_error_status_and_never_with_its_log_text(cls: type[DarkroomError]) -> None:
    status, body, _ = problem(example(cls))
    assert status >= 400
    assert body["status"] == "error"
    assert body["message"]
    assert "said for the log" not in str(body)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UnreadableBody(), 400, "Invalid API Request"),
        (InvalidKey(), 401, "Invalid Api Key"),
        (ModelNotFound(), 404, "Model id not found"),
        (BodyTooLarge(), 413, "Request body too large"),
        (GenerationFailed(), 500, "Image generation failed"),
    ],
)
def test_the_contracts_texts_are_kept_to_the_letter(error: DarkroomError, status: int, message: str) -> None:
    assert problem(error)[:2] == (status, {"status": "error", "message": message})


def test_bad_fields_are_an_object_of_lists() -> None:
    fields = {"width": ["The width must be an integer."]}
    assert problem(InvalidFields(fields)) == (422, {"status": "error", "message": fields}, {})


def test_a_rate_limit_says_when_to_come_back_in_whole_seconds() -> None:
    status, body, headers = problem(RateLimited(2.1))
    assert (status, body["retry_after"], headers["Retry-After"]) == (429, 3, "3")
    assert problem(RateLimited(0.0))[1]["retry_after"] == 1


@pytest.mark.parametrize("error", [Overloaded(), RecordsUnavailable(), StoreUnavailable()])
def test_what_is_over_soon_says_when_to_come_back(error: DarkroomError) -> None:
    status, body, headers = problem(error)
    assert status == 503
    assert headers["Retry-After"] == str(body["retry_after"])


def test_the_older_mode_answers_application_errors_with_200_and_routing_errors_truly() -> None:
    for cls in LEAVES:
        true_status, body, _ = problem(example(cls))
        status, same_body, _ = problem(example(cls), errors_as_200=True)
        assert same_body == body
        assert status == (true_status if cls in (RouteNotFound, MethodNotAllowed, LinkRefused) else 200)


def test_a_failure_that_was_subclassed_on_the_way_keeps_its_answer() -> None:
    class Wrapped(ModelNotFound):
        """As Ray makes them."""

    assert problem(Wrapped()) == problem(ModelNotFound())


def test_an_unknown_failure_is_an_internal_error() -> None:
    assert problem(DarkroomError("secret"))[:2] == (500, {"status": "error", "message": "Internal server error"})
