"""Single values as clients send them: what counts as given, what as a number, what as text.

A refusal is a sentence in the vendor's (Laravel's) wording, with `{label}` where the field's name goes.
"""

import math
import re

LONGEST_NUMBER = 4000
"""Characters; Python reads integers of up to 4300 digits."""
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_UNPRINTABLE = re.compile("[\x00\ud800-\udfff]")


class Refusal(Exception):
    """A value that the field cannot take."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


def is_given(value: object) -> bool:
    """Whether a client meant to send this: null, "" and "null" all mean no."""
    if isinstance(value, str):
        return value.strip() not in ("", "null")
    return value is not None and value != b""


def as_number(value: object) -> float:
    """A finite number from a number or its text. Raises Refusal."""
    refusal = Refusal("The {label} must be a number.")
    try:
        return float(_int_or_float(value, refusal))
    except OverflowError as error:  # an integer beyond every float
        raise refusal from error


def as_integer(value: object) -> int:
    """A whole number from a number or its text; 512.0 is whole. Raises Refusal."""
    refusal = Refusal("The {label} must be an integer.")
    number = _int_or_float(value, refusal)
    if number != int(number):
        raise refusal
    return int(number)


def _int_or_float(value: object, refusal: Refusal) -> int | float:
    if isinstance(value, str):
        value = _number_from_text(value.strip(), refusal)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refusal
    if isinstance(value, float) and not math.isfinite(value):
        raise refusal
    return value


def _number_from_text(text: str, refusal: Refusal) -> int | float:
    if len(text) > LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        raise refusal
    return int(text) if _WHOLE.fullmatch(text) else float(text)


def as_text(value: object, max_chars: int | None = None) -> str:
    """Text that can be stored, printed and sent. Raises Refusal."""
    if not isinstance(value, str):
        raise Refusal("The {label} must be a string.")
    if max_chars is not None and len(value) > max_chars:
        raise Refusal(f"The {{label}} may not be greater than {max_chars} characters.")
    if _UNPRINTABLE.search(value):
        raise Refusal("The {label} format is invalid.")
    return value


def check_within(number: float, low: float, high: float) -> None:
    if not low <= number <= high:
        raise Refusal(f"The {{label}} must be between {low:g} and {high:g}.")


def split_commas(text: str) -> tuple[str, ...]:
    """The parts between commas, trimmed; commas at the ends do not count."""
    inside = text.strip().strip(",")
    return tuple(part.strip() for part in inside.split(",")) if inside else ()
