"""Weights read as in the web UIs, and no text whatever upsets the reader."""

import math
import re
import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serve_app.prompts.weights import BREAK, LIMIT, Fragment, parse_weights

SYNTAX = st.text(alphabet=r"ab ()[]\:.,-+13e", max_size=60)


def rounded(text: str) -> list[tuple[str, float]]:
    return [(part, round(weight, 4)) for part, weight in parse_weights(text)]


@pytest.mark.parametrize(
    ("prompt", "fragments"),
    [
        ("a red star", [("a red star", 1.0)]),
        ("a (red) star", [("a ", 1.0), ("red", 1.1), (" star", 1.0)]),
        ("a [red] star", [("a ", 1.0), ("red", 0.9091), (" star", 1.0)]),
        ("((red))", [("red", 1.21)]),
        ("(red:1.3) star", [("red", 1.3), (" star", 1.0)]),
        ("((red:1.5) star)", [("red", 1.65), (" star", 1.1)]),
        ("[(red:2) star]", [("red", 1.8182), (" star", 0.9091)]),
        ("(one)(two)", [("onetwo", 1.1)]),
        ("(red:1.0) star", [("red star", 1.0)]),
        ("", []),
        ("()[]", []),
    ],
)
def test_brackets_weigh_what_they_hold(prompt: str, fragments: list[tuple[str, float]]) -> None:
    assert rounded(prompt) == fragments


@pytest.mark.parametrize(
    ("number", "weight"),
    [(".5", 0.5), ("1.", 1.0), ("-1", -1.0), ("+1.5", 1.5), (" 1.5 ", 1.5), ("0", 0.0), ("1" * 400, LIMIT)],
)
def test_a_weight_is_read_leniently(number: str, weight: float) -> None:
    assert parse_weights(f"(red:{number})") == (Fragment("red", weight),)


@pytest.mark.parametrize("number", ["", ".", "1.2.3", "1,3", "x", "1e3", "--1", "inf", "nan"])
def test_what_is_no_number_is_text_in_plain_brackets(number: str) -> None:
    assert parse_weights(f"(red:{number})") == (Fragment(f"red:{number}", 1.1),)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [(r"\(red\)", "(red)"), (r"\[red\]", "[red]"), (r"a\\b", r"a\b"), (r"smile :\)", "smile :)"), (r"a\b", "ab")],
)
def test_a_backslash_makes_a_bracket_text(prompt: str, text: str) -> None:
    assert parse_weights(prompt) == (Fragment(text, 1.0),)


@pytest.mark.parametrize(
    ("prompt", "fragments"),
    [
        ("a (red star", [("a ", 1.0), ("red star", 1.1)]),
        ("a [red star", [("a ", 1.0), ("red star", 0.9091)]),
        ("((red) star", [("red", 1.21), (" star", 1.1)]),
        ("red) star]", [("red) star]", 1.0)]),
        ("red:1.3) star", [("red:1.3) star", 1.0)]),
        ("[red:1.3] star", [("red:1.3", 0.9091), (" star", 1.0)]),
        ("(a[b)c]d", [("a", 1.1), ("b", 1.0), ("c", 0.9091), ("d", 1.0)]),
    ],
)
def test_brackets_without_a_partner_are_tolerated_as_in_the_web_ui(
    prompt: str, fragments: list[tuple[str, float]]
) -> None:
    assert rounded(prompt) == fragments


@pytest.mark.parametrize(
    ("prompt", "fragments"),
    [
        ("red BREAK blue", (Fragment("red", 1.0), BREAK, Fragment("blue", 1.0))),
        ("(red BREAK blue)", (Fragment("red", 1.1), BREAK, Fragment("blue", 1.1))),
        ("red BREAK\nBREAK blue", (Fragment("red", 1.0), BREAK, BREAK, Fragment("blue", 1.0))),
        ("BREAK", (BREAK,)),
        ("break BREAKS DAYBREAK", (Fragment("break BREAKS DAYBREAK", 1.0),)),
    ],
)
def test_the_word_break_ends_a_chunk(prompt: str, fragments: tuple[Fragment, ...]) -> None:
    assert parse_weights(prompt) == fragments


@given(st.text(min_size=1))
@example("a BREAK b")
def test_escaped_text_is_one_fragment_of_weight_one(text: str) -> None:
    plain = text.replace("BREAK", "")
    escaped = re.sub(r"([\\()\[\]])", r"\\\1", plain)
    assert parse_weights(escaped) == ((Fragment(plain, 1.0),) if plain else ())


@given(st.one_of(SYNTAX, st.text()))
def test_no_text_upsets_the_reader_and_no_letter_is_lost(text: str) -> None:
    fragments = parse_weights(text)
    kept = "".join(part for part, _ in fragments)
    assert [letter for letter in kept if letter in "abe"] == [letter for letter in text if letter in "abe"]
    assert all(math.isfinite(weight) for _, weight in fragments)
    assert all(one.weight != other.weight or BREAK in (one, other) for one, other in pairwise(fragments))


@given(SYNTAX.filter(lambda text: ":" not in text))
def test_brackets_around_a_text_that_is_balanced_multiply_all_of_it(text: str) -> None:
    inner = re.sub(r"[\\()\[\]]", "", text)
    assert parse_weights(f"({inner})") == ((Fragment(inner, 1.1),) if inner else ())


@pytest.mark.parametrize(
    "unit", ["(", "[", ")", "([", "(a", "a(b)", "(a:1.3)", ":", ": ", ":1", " ", "1.", "\\", "BREAK ", "(:1 "]
)
def test_ten_thousand_characters_of_syntax_are_read_at_once(unit: str) -> None:
    started = time.thread_time()
    parse_weights(unit * (10_000 // len(unit)))
    parse_weights("(a:" + unit * (10_000 // len(unit)) + "x")
    assert time.thread_time() - started < 5, "what takes time by the square takes minutes"
