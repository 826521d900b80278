"""Makes the CLIP tokenizer of the pocket world: byte-level BPE in which each word of the world is one token."""

import itertools
from collections import Counter

import numpy as np
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from models.pocket.training.run import CHECKPOINT
from models.pocket.world import caption, random_scene

CAPTIONS = 4000
START, END = "<|startoftext|>", "<|endoftext|>"
Pair = tuple[str, str]
Word = tuple[str, ...]


def train_tokenizer() -> CLIPTokenizer:
    """Learn merges from captions until each of their words is one token, and save."""
    rng = np.random.default_rng(3)
    words: Counter[Word] = Counter()
    for _ in range(CAPTIONS):
        for text in caption(random_scene(rng), rng).replace(",", " ,").split():
            words[(*text[:-1], text[-1] + "</w>")] += 1
    merges = learn_merges(words)
    alphabet = list(bytes_to_unicode().values())
    tokens = [*alphabet, *(byte + "</w>" for byte in alphabet), *("".join(pair) for pair in merges), START, END]
    tokenizer = CLIPTokenizer(
        vocab={token: index for index, token in enumerate(dict.fromkeys(tokens))},
        merges=merges,
        model_max_length=77,
    )
    tokenizer.save_pretrained(CHECKPOINT / "tokenizer")
    return tokenizer


def learn_merges(words: Counter[Word]) -> list[Pair]:
    """Byte-pair encoding (Sennrich et al. 2016): join the most frequent pair until words are whole."""
    merges: list[Pair] = []
    while pairs := _count_pairs(words):
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        words = Counter({_join(word, best): count for word, count in words.items()})
    return merges


def _count_pairs(words: Counter[Word]) -> Counter[Pair]:
    pairs: Counter[Pair] = Counter()
    for word, count in words.items():
        for pair in itertools.pairwise(word):
            pairs[pair] += count
    return pairs


def _join(word: Word, pair: Pair) -> Word:
    joined: list[str] = []
    for part in word:
        if joined and (joined[-1], part) == pair:
            joined[-1] += part
        else:
            joined.append(part)
    return tuple(joined)
