"""Enhancement adds a model's words once, and leaves the client's words alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.config import Enhancement
from serve_app.prompts.enhance import enhance

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
