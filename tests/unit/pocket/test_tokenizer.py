"""Merges are learned until every word is whole, and the shipped tokenizer knows the world's words."""

from collections import Counter

import numpy as np
import pytest
from transformers import CLIPTokenizer

from models.pocket.training.run import CHECKPOINT
from models.pocket.training.tokenizer import learn_merges
from models.pocket.world import caption, random_scene


def letters(word: str) -> tuple[str, ...]:
    return (*word[:-1], word[-1] + "</w>")


def apply(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """Plain byte-pair encoding: each merge in turn, wherever it fits."""
    parts = list(letters(word))
    for left, right in merges:
        place = 0
        while place < len(parts) - 1:
            if (parts[place], parts[place + 1]) == (left, right):
                parts[place : place + 2] = [left + right]
            place += 1
    return parts


def test_merges_make_every_word_one_token() -> None:
    words = ["ring", "red", "green", "orange", "on", "a"]
    merges = learn_merges(Counter(letters(word) for word in words))
    assert [apply(word, merges) for word in words] == [[f"{word}</w>"] for word in words]


def test_the_most_frequent_pair_is_merged_first() -> None:
    merges = learn_merges(Counter({letters("ab"): 5, letters("cd"): 9}))
    assert merges == [("c", "d</w>"), ("a", "b</w>")]


def test_no_words_need_no_merges() -> None:
    assert learn_merges(Counter()) == []
    assert learn_merges(Counter([letters("a")])) == []


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(CHECKPOINT / "tokenizer")


def test_captions_take_one_token_a_word(tokenizer: CLIPTokenizer) -> None:
    rng = np.random.default_rng(8)
    for _ in range(100):
        said = caption(random_scene(rng), rng)
        assert len(tokenizer.tokenize(said)) == len(said.replace(",", " ,").split())


def test_any_text_survives_the_round_trip(tokenizer: CLIPTokenizer) -> None:
    said = "an unknown zeppelin über 7 clouds"
    assert tokenizer.decode(tokenizer(said).input_ids, skip_special_tokens=True) == said


def test_prompts_are_padded_to_seventy_seven(tokenizer: CLIPTokenizer) -> None:
    ids = tokenizer("a red star", padding="max_length").input_ids
    assert len(ids) == tokenizer.model_max_length == 77
    assert (ids[0], ids[4]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
