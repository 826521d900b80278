"""The faults of a configuration in the operator's words: the setting's own path, what is wrong, what to do.

Pydantic's errors go in. Its noise does not come out: a list that lost its only item because that item is wrong, each
member of a union, its names for Python's types.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from serve_app.config.part import Part

Place = tuple[str | int, ...]
Fault = tuple[Place, str]
"""Where, and a sentence without a full stop."""

MOVED: dict[Place, str] = {
    ("postprocess", "safety_checker"): "is gone: a safety checker belongs to a model now, name its folder as "
    "catalogue[N].safety, or say `safety: none` there",
}
MOVED[("postprocess", "safety_folder")] = MOVED[("postprocess", "safety_checker")]
EMPTY = "must have at least one entry"
SENTENCES = {
    "missing": "is required",
    "model_type": "must be a mapping of settings",
    "tuple_type": "must be a list",
    "string_type": "must be text (put it in quotes)",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "ip_v4_network": "must be a network with its host bits zero, such as 10.1.0.0/16",
    "ip_v6_network": "must be a network with its host bits zero, such as 10.1.0.0/16",
    "too_short": EMPTY,
}
PATTERNS = {
    r"^https?://[^/]": "must be a URL that starts with http:// or https://",
    r"^[0-9a-f]{64}$": 'must be 64 characters 0-9 and a-f in quotes: printf %s "$KEY" | sha256sum',
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "must begin with a letter or digit and hold only those, dots, dashes, underscores",
}
SECRET = ("url", "sha256")
"""Settings whose value is not repeated: it may hold a password."""
LONGEST = 60


def faults_of(error: ValidationError, values: object, model: type[BaseModel]) -> tuple[Fault, ...]:
    """One fault for each place, in the file's order; `values` is what was validated."""
    found: dict[Place, str] = {}
    for each in error.errors(include_url=False):
        place = _in_values(each["loc"], values, missing=each["type"] == "missing")
        sentence = _sentence(each, place, model)
        name, colon, rest = sentence.partition(": ")
        if colon and name in _fields(model, place):  # from a validator of the whole part
            place, sentence = (*place, name), rest
        elif each["type"] == "value_error" and holds(_value_at(values, place), first := sentence.split()[0]):
            place = (*place, first)  # likewise, of a setting that is no more
        if each["type"] != "too_short" or not _value_at(values, place):
            found.setdefault(place, sentence)
    return tuple(found.items())


def shown_place(place: Place) -> str:
    """As an operator writes it: catalogue[0].loras[2].source."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def shown(fault: Fault) -> str:
    """The fault in a line."""
    place, sentence = fault
    return f"{shown_place(place)}: {sentence}" if place else sentence


def meant(name: object, names: Sequence[str]) -> str:
    """A guess at what was meant, as the end of a sentence; nothing where nothing is near."""
    longer = [each for each in names if each.lower().startswith(str(name).lower())]
    near = longer or get_close_matches(str(name), names, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _sentence(error: Any, place: Place, model: type[BaseModel]) -> str:  # noqa: ANN401 (pydantic's ErrorDetails)
    kind, given, context = error["type"], error["input"], error.get("ctx") or {}
    if kind == "extra_forbidden":
        names = tuple(_fields(model, place[:-1]))
        return MOVED.get(place, f"is no setting{meant(place[-1], names) or _known(names)}")
    if kind == "missing":
        return SENTENCES[kind]
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", error["msg"]))
    if kind == "literal_error":
        sentence = f"must be {context['expected']}"
    else:
        sentence = PATTERNS.get(context.get("pattern", "")) or SENTENCES.get(kind) or _plain(error["msg"])
    return sentence + _given(given, place)


def _plain(message: str) -> str:
    for noise in ("Input should be", "Value should be"):
        message = message.replace(noise, "must be")
    return message.replace("String should", "must").replace("Tuple should", "must").replace(" after validation", "")


def _given(value: object, place: Place) -> str:
    if (place and place[-1] in SECRET) or isinstance(value, Mapping | list):
        return ""
    text = "nothing" if value is None else repr(value)
    return f", not {text}" if len(text) <= LONGEST else ""


def _known(names: Sequence[str]) -> str:
    return f"; there are {', '.join(names)}" if names else ""


def _in_values(location: Place, values: object, *, missing: bool) -> Place:
    """The location without what pydantic adds for itself: only names and numbers that are in the values."""
    place: list[str | int] = []
    for number, part in enumerate(location):
        last = missing and number == len(location) - 1
        if not last and not holds(values, part):
            break
        place.append(part)
        values = None if last else values[part]  # type: ignore[index]
    return tuple(place)


def holds(values: object, part: str | int) -> bool:
    """Whether what YAML gave has something under this name or number."""
    if isinstance(values, Mapping):
        return part in values
    return isinstance(values, Sequence) and isinstance(part, int) and part < len(values)


def _value_at(values: Any, place: Place) -> object:  # noqa: ANN401 (what YAML gave)
    for part in place:
        values = values[part]
    return values


def _fields(model: type[BaseModel], place: Place) -> Iterator[str]:
    """The names of the settings at a place."""
    for part in place:
        if not isinstance(part, int):
            model = next(_parts(model.model_fields[part].annotation), model) if part in model.model_fields else model
    yield from model.model_fields


def _parts(annotation: object) -> Iterator[type[Part]]:
    """The parts of the configuration that a type speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        yield annotation
    for inner in get_args(annotation):
        yield from _parts(inner)
