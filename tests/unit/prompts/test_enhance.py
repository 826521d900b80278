"""Enhancement adds a model's words once, and leaves the client's words alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.config import Enhancement
from serve_app.prompts.enhance import enhance
from serve_app.prompts.weights import Fragment, parse_weights

PRESET = Enhancement(suffix="best quality, sharp focus", negative="blurry, low quality")


@pytest.mark.parametrize(
    ("prompt", "enhanced"),
    [
        ("a red star", "a red star, best quality, sharp focus"),
        ("a red star, ", "a red star, best quality, sharp focus"),
        ("a red star, Sharp  Focus", "a red star, Sharp  Focus, best quality"),
        ("a red star, (sharp focus:1.3)", "a red star, (sharp focus:1.3), best quality"),
        ("sharp focusing", "sharp focusing, best quality, sharp focus"),
        ("best quality star, sharp focus,", "best quality star, sharp focus,"),
    ],
)
def test_words_that_are_missing_are_appended(prompt: str, enhanced: str) -> None:
    assert enhance(prompt, "blurry, low quality", PRESET) == (enhanced, "blurry, low quality")


def test_an_empty_negative_prompt_becomes_the_presets() -> None:
    assert enhance("x", "", PRESET)[1] == "blurry, low quality"


def test_an_empty_preset_changes_nothing() -> None:
    assert enhance("a star ,", " ", Enhancement(suffix="", negative=" , ")) == ("a star ,", " ")


@given(prompt=st.text(max_size=40), negative=st.text(max_size=40))
def test_enhancing_twice_is_enhancing_once_and_keeps_the_prompt_in_front(prompt: str, negative: str) -> None:
    once = enhance(prompt, negative, PRESET)
    assert enhance(*once, PRESET) == once
    assert once[0].startswith(prompt.rstrip().rstrip(",").rstrip())


@pytest.mark.parametrize(
    "prompt",
    [
        *("a (red star", "a ((red star", "a [red star", "([a) red star", "a (red star,", "a (red star BREAK on blue"),
        *(
            "a (red star:1.3",
            "a (red star: 1.3 ",
            "a (red:1.3) (star",
            "a (star\\",
            "a (star \\)",
            "a \\(star",
            "(",
            "((",
        ),
        *("a star BREAK", "a star)", "a (star]", "[[(star:1.5)"),
    ],
)
def test_added_words_weigh_one_and_the_clients_words_what_they_weighed(prompt: str) -> None:
    plain = Enhancement(suffix="sharp", negative="blurry")
    for enhanced, word in zip(enhance(prompt, prompt, plain), ("sharp", "blurry"), strict=True):
        weighed = parse_weights(enhanced)
        assert weighed[-1].text.endswith(word)
        assert weighed[-1].weight == 1
        assert _letters((*weighed[:-1], Fragment(weighed[-1].text.removesuffix(word), 1))) == _letters(
            parse_weights(prompt)
        )


def _letters(fragments: tuple[Fragment, ...]) -> list[tuple[str, float]]:
    """Each letter and digit with its weight."""
    return [(char, weight) for text, weight in fragments for char in text if char.isalnum()]


@given(prompt=st.text("ab ()[]\\:1.,", max_size=12))
def test_added_words_weigh_one_behind_any_brackets(prompt: str) -> None:
    weighed = parse_weights(enhance(prompt, "", Enhancement(suffix="sharp", negative=""))[0])
    assert weighed[-1].weight == 1
    assert weighed[-1].text.endswith("sharp")
    assert [each for each in _letters(weighed) if each[0] in "ab1"][: len(_letters(parse_weights(prompt)))] == [
        each for each in _letters(parse_weights(prompt)) if each[0] in "ab1"
    ]


def test_a_preset_in_brackets_is_added_whole() -> None:
    preset = Enhancement(suffix="(best quality, sharp focus:1.2), fine", negative="")
    assert enhance("a star", "", preset)[0] == "a star, (best quality, sharp focus:1.2), fine"
