"""The web UIs' prompt syntax: which words weigh how much, and where a chunk ends.

Knows text only; tokens and embeddings belong to the pipelines. The rules are those of
AUTOMATIC1111's web UI (its wiki, "Attention/emphasis" and "BREAK keyword").
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

STEP = 1.1
"""What one pair of round brackets multiplies by, and one pair of square brackets divides by."""
LIMIT = 1e4
"""Weights stay within ± this, so that no depth of brackets becomes infinite."""

_CLOSES = {")": "(", "]": "["}
_LEXEME = re.compile(
    r"\\[\\()\[\]]?"  # an escape; a backslash before anything else is dropped
    r"|[(\[)\]]"
    r"|:\s*+([+-]?(?:\d++\.?\d*+|\.\d++))\s*+\)"  # an explicit weight and the bracket that it closes
    r"|[^\\()\[\]:]++"
    r"|:"
)
_BREAK_WORD = re.compile(r"\bBREAK\b")
_UNSAFE_END = re.compile(r"(?:\\|:\s*+[+-]?(?:\d++\.?\d*+|\.\d++))\s*+\Z")
"""What a bracket right behind it would be escaped by, or be read as the weight of."""


class Fragment(NamedTuple):
    """A stretch of prompt text and the factor on its tokens' embeddings; without text, it ends a chunk."""

    text: str
    weight: float


BREAK = Fragment("", 0.0)
"""Ends a chunk of 75 tokens; the only fragment without text."""


def parse_weights(text: str) -> tuple[Fragment, ...]:
    r"""The prompt's fragments in order, neighbours of one weight merged; () for a prompt without text.

    `(a)` × 1.1 · `[a]` ÷ 1.1 · `(a:1.3)` × 1.3 · nested brackets multiply · `\(` is a plain bracket ·
    an open bracket that is never closed acts to the end · a closing one that nothing opened is text ·
    `BREAK` gives `BREAK`, inside brackets too. Never raises; takes linear time.
    """
    lexemes = list(_LEXEME.finditer(text))
    factors, closings = _pair_brackets(lexemes)
    return _merge(_weigh(lexemes, factors, closings))


def closed(text: str) -> str:
    """The prompt with its open brackets closed, so that what is written behind it is outside of them.

    Its own words keep the weights that they have without it.
    """
    depths = {"(": 0, "[": 0}
    for lexeme in _LEXEME.finditer(text):
        written = lexeme[0]
        kind = _CLOSES.get(written[-1], "") if written[0] != "\\" else ""
        if written in depths:
            depths[written] += 1
        elif kind and depths[kind]:
            depths[kind] -= 1
    missing = "".join(mark * depths[opening] for mark, opening in _CLOSES.items())
    return text + ("," if missing and _UNSAFE_END.search(text) else "") + missing


def phrases(text: str) -> list[str]:
    """The parts between commas, trimmed; a comma inside of brackets belongs to its part."""
    parts, depth = [""], 0
    for lexeme in _LEXEME.finditer(text):
        written = lexeme[0]
        depth += (written in ("(", "[")) - (written[-1] in _CLOSES and written[0] != "\\" and depth > 0)
        first, *others = written.split(",") if depth == 0 else [written]
        parts[-1] += first
        parts += others
    return [part.strip() for part in parts if part.strip()]


def _pair_brackets(lexemes: list[re.Match[str]]) -> tuple[dict[int, float], dict[int, str]]:
    """The factor of each opening lexeme, and what each closing lexeme closes, by their indices.

    Round and square brackets pair among themselves: `([a)b]` weighs a by both and b by the square ones.
    """
    waiting: dict[str, list[int]] = {"(": [], "[": []}
    factors: dict[int, float] = {}
    closings: dict[int, str] = {}
    for index, lexeme in enumerate(lexemes):
        written = lexeme[0]
        kind = _CLOSES.get(written[-1], "") if written[0] != "\\" else ""
        if written in waiting:
            waiting[written].append(index)
            factors[index] = STEP if written == "(" else 1 / STEP
        elif kind and waiting[kind]:
            opening = waiting[kind].pop()
            closings[index] = kind
            if lexeme[1] is not None:
                factors[opening] = float(lexeme[1])
    return factors, closings


def _weigh(lexemes: list[re.Match[str]], factors: dict[int, float], closings: dict[int, str]) -> Iterator[Fragment]:
    """Fragments that are not merged yet, each under the product of the brackets open around it."""
    products = {"(": [1.0], "[": [1.0]}
    for index, lexeme in enumerate(lexemes):
        written = lexeme[0]
        if index in factors:
            products[written].append(_within_limit(products[written][-1] * factors[index]))
        elif index in closings:
            products[closings[index]].pop()
        else:
            weight = _within_limit(products["("][-1] * products["["][-1])
            yield from _split_breaks(written[1:] if written[0] == "\\" else written, weight)


def _within_limit(weight: float) -> float:
    return max(-LIMIT, min(LIMIT, weight))


def _split_breaks(text: str, weight: float) -> Iterator[Fragment]:
    """The text around each BREAK, less the space that touches it."""
    parts = _BREAK_WORD.split(text)
    for index, part in enumerate(parts):
        if index > 0:
            yield BREAK
            part = part.lstrip()
        if index < len(parts) - 1:
            part = part.rstrip()
        if part:
            yield Fragment(part, weight)


def _merge(fragments: Iterable[Fragment]) -> tuple[Fragment, ...]:
    merged: list[Fragment] = []
    for (is_break, weight), run in groupby(fragments, key=lambda fragment: (not fragment.text, fragment.weight)):
        alike = list(run)
        merged += alike if is_break else [Fragment("".join(text for text, _ in alike), weight)]
    return tuple(merged)
