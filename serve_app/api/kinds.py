"""The kinds of fields: each reads one given value into a typed one and describes itself as a JSON schema.

A kind refuses what the field cannot take. It knows nothing of field names and defaults.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from serve_app.api.values import Refusal, as_integer, as_number, as_text, check_within, split_commas
from serve_app.urls import UrlRefused, looks_like_url, require_callable

Schema = dict[str, object]

SEEDS = 2**32
_FLAGS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


class Kind(Protocol):
    """One way to read a value that was given."""

    def read(self, value: object) -> object:
        """The typed value. Raises Refusal."""
        ...

    def schema(self) -> Schema:
        """What a client may send, as JSON schema."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """A string, kept as it came unless `trimmed`."""

    max_chars: int
    trimmed: bool = False

    def read(self, value: object) -> str:
        text = as_text(value, self.max_chars)
        return text.strip() if self.trimmed else text

    def schema(self) -> Schema:
        return {"type": ["string", "null"], "maxLength": self.max_chars}


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number between two bounds, both included."""

    low: int
    high: int

    def read(self, value: object) -> int:
        number = as_integer(value)
        check_within(number, self.low, self.high)
        return number

    def schema(self) -> Schema:
        return {"type": ["integer", "string", "null"], "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Number:
    """A number between two bounds, both included."""

    low: float
    high: float

    def read(self, value: object) -> float:
        number = as_number(value)
        check_within(number, self.low, self.high)
        return number

    def schema(self) -> Schema:
        return {"type": ["number", "string", "null"], "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Seed:
    """A seed modulo 2^32; -1 means random and reads as None."""

    def read(self, value: object) -> int | None:
        number = as_integer(value)
        if number < -1:
            raise Refusal("The {label} must be at least -1.")
        return None if number == -1 else number % SEEDS

    def schema(self) -> Schema:
        return {"type": ["integer", "string", "null"], "minimum": -1}


@dataclass(frozen=True, slots=True)
class Flag:
    """yes/no, true/false, 1/0 in any case, or a JSON boolean."""

    def read(self, value: object) -> bool:
        if isinstance(value, str) and value.strip().lower() in _FLAGS:
            return _FLAGS[value.strip().lower()]
        if isinstance(value, int) and value in (0, 1):  # the JSON booleans are integers to Python
            return bool(value)
        raise Refusal("The {label} field must be yes or no.")

    def schema(self) -> Schema:
        return {"type": ["string", "boolean", "integer", "null"], "examples": ["yes", "no"]}


@dataclass(frozen=True, slots=True)
class LenientFlag:
    """A flag that never fails a request: what cannot be read counts as no."""

    def read(self, value: object) -> bool:
        try:
            return Flag().read(value)
        except Refusal:
            return False

    def schema(self) -> Schema:
        return {}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some names, each standing for a value."""

    options: Mapping[str, object]

    def read(self, value: object) -> object:
        if not isinstance(value, str) or value.strip() not in self.options:
            raise Refusal("The selected {label} is invalid.")
        return self.options[value.strip()]

    def schema(self) -> Schema:
        return {"enum": [*self.options, "", None]}


@dataclass(frozen=True, slots=True)
class Ids:
    """Comma-separated ids, each once; reads as a tuple."""

    max_chars: int

    def read(self, value: object) -> tuple[str, ...]:
        ids = split_commas(as_text(value, self.max_chars))
        if not all(ids):
            raise Refusal("The {label} format is invalid.")
        if len(set(ids)) < len(ids):
            raise Refusal("The {label} field has a duplicate value.")
        return ids

    def schema(self) -> Schema:
        return {"type": ["string", "null"], "maxLength": self.max_chars, "description": "Comma-separated ids."}


@dataclass(frozen=True, slots=True)
class Strengths:
    """A number, or comma-separated numbers; reads as a tuple."""

    low: float
    high: float

    def read(self, value: object) -> tuple[float, ...]:
        parts = split_commas(value) if isinstance(value, str) else (value,)
        strengths = tuple(as_number(part) for part in parts)
        for strength in strengths:
            check_within(strength, self.low, self.high)
        return strengths

    def schema(self) -> Schema:
        return {"type": ["number", "string", "null"], "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Url:
    """A URL that may be called, as `serve_app.urls` judges it."""

    max_chars: int

    def read(self, value: object) -> str:
        return _callable(as_text(value, self.max_chars).strip())

    def schema(self) -> Schema:
        return {"type": ["string", "null"], "maxLength": self.max_chars}


def _callable(url: str) -> str:
    try:
        require_callable(url)
    except UrlRefused as refused:
        raise Refusal(refused.sentence) from refused
    return url


@dataclass(frozen=True, slots=True)
class Tag:
    """A string or an integer of the client's own, kept with its type."""

    max_chars: int

    def read(self, value: object) -> str | int:
        if isinstance(value, str):
            return as_text(value, self.max_chars)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refusal("The {label} must be a string or an integer.")
        _within_64_bits(value)
        return value

    def schema(self) -> Schema:
        return {"type": ["string", "integer", "null"], "maxLength": self.max_chars}


def _within_64_bits(number: int) -> None:
    if not -(2**63) <= number < 2**63:
        raise Refusal("The {label} may not be greater than 64 bits.")


@dataclass(frozen=True, slots=True)
class Picture:
    """A URL that may be called, data URI or base64 text, or a file part's bytes; a list of one is that one.

    What data holds is judged where it is decoded.
    """

    def read(self, value: object) -> str | bytes:
        if isinstance(value, list):  # as the hosted API's version 7 takes pictures
            if len(value) != 1:
                raise Refusal("The {label} must be one image.")
            (value,) = value
        if isinstance(value, bytes):
            return value
        text = as_text(value).strip()
        return _callable(text.replace(" ", "%20")) if looks_like_url(text) else text

    def schema(self) -> Schema:
        return {"type": "string"}
