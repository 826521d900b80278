"""Which job a fetch means, however it is asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.api.fetching import LARGEST_ID, fetch_id, parse_fetch_id
from serve_app.errors import JobNotFound

WHOLE_REQUEST = {"key": "k", "model_id": "pocket", "prompt": "a star", "init_image": b"\x89PNG", "id": "8", "seed": 9}


@pytest.mark.parametrize(
    ("value", "read"),
    [(1, 1), ("1", 1), ("13443927", 13443927), (" 7 ", 7), (LARGEST_ID, LARGEST_ID), (str(LARGEST_ID), LARGEST_ID)],
)
def test_an_id_is_a_positive_integer_or_its_text(value: object, read: int) -> None:
    assert parse_fetch_id(value) == read


@pytest.mark.parametrize(
    "value",
    [0, -1, LARGEST_ID + 1, "0", "-1", "+1", "2147483648", "9" * 5000, 10**400, "", " ", "1.0", 1.0, "abc", "٣", "1_0",
     "null", True, None, b"1", [1], {}, "1\x00"],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_no_job_can_have_as_its_id_is_not_found(value: object) -> None:
    with pytest.raises(JobNotFound):
        parse_fetch_id(value)


@given(st.integers(1, LARGEST_ID))
def test_string_and_integer_mean_the_same_job(value: int) -> None:
    assert fetch_id(None, {"request_id": value}) == fetch_id(None, {"request_id": str(value)}) == value


@pytest.mark.parametrize("body", [{}, WHOLE_REQUEST, {"request_id": "5"}, {"request_id": "junk"}])
def test_the_paths_id_wins_over_whatever_the_body_holds(body: dict[str, object]) -> None:
    assert fetch_id("13443927", body) == 13443927


@pytest.mark.parametrize("body", [{}, WHOLE_REQUEST, {"request_id": ""}, {"request_id": None}])
def test_a_fetch_without_an_id_finds_nothing(body: dict[str, object]) -> None:
    with pytest.raises(JobNotFound):
        fetch_id(None, body)


def test_a_bad_id_in_the_path_is_not_mended_by_the_body() -> None:
    with pytest.raises(JobNotFound):
        fetch_id("junk", {"request_id": 5})
