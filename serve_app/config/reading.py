"""A configuration as far as it can be understood: what stands in a file, all its faults, and what is left without them.

So that what is wrong with the rest of it can be told in the same breath.
"""

from collections.abc import Hashable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from serve_app.config.wording import EMPTY, Fault, Place, faults_of, holds
from serve_app.errors import ConfigError

if TYPE_CHECKING:
    from serve_app.config import AppConfig

GONE = object()
"""Stands where an entry of a list was taken out, so that those behind it keep their numbers."""
NOT_CLOSED = "what is opened here is not closed: a bracket, a brace or a quotation mark is missing"
PLAIN = {
    "<stream end>": NOT_CLOSED,
    "unexpected end of stream": NOT_CLOSED,
    "<block end>": "is indented unlike the lines that it belongs to",
    "expected ',' or": "a comma, or a closing bracket or brace, is missing here or before",
    r"character '\t'": "begins with a tab: indent with blanks",
    "cannot start any token": "a text that begins with a sign of YAML's: put quotation marks around it",
    "mapping values are not allowed": "two `: ` in a line: put quotation marks around the text, or mend indentation",
    "could not find expected ':'": "a name without its colon, here or in the line before",
}
"""What the reader of YAML says, and what a person has to look for."""
ROUNDS = 20
"""Each takes out at least one faulty setting of those that hid behind others."""


@dataclass(frozen=True, slots=True)
class Raw:
    """What a file says, unchecked."""

    values: object
    beside: Path | None
    """Relative paths are looked for here; None: nowhere, for no file is known."""


@dataclass(frozen=True, slots=True)
class Understood:
    """A configuration without its faulty settings; None where nothing is left."""

    config: "AppConfig | None"
    faults: tuple[Fault, ...]
    _tree: object

    def original(self, place: Place) -> Place:
        """The place in the file of a place in `config`."""
        return _original(self._tree, place)


class _Loader(yaml.SafeLoader):
    """Refuses a name that stands twice in one mapping, of which YAML would drop one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for number, (key, _) in enumerate(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value in names[:number]:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands here twice", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep=deep)


def read_raw(file: Path | None) -> Raw:
    """What a YAML file says, ours or Serve's; nothing for no file. Raises ConfigError, with the line in it."""
    if file is None:
        return Raw({}, None)
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{file}{_where_and_what(error)}") from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise ConfigError(f"{file}: not a text file of YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    match values:
        case {"applications": [{"args": args}, *_]}:
            # Serve hands us these without the file's name, so nothing is beside it.
            return Raw(args, None)
        case None:
            return Raw({}, None)
        case dict():
            return Raw(values, file.absolute().parent)
        case _:
            raise ConfigError(f"{file}: must be a mapping of settings, as in `storage: {{data_dir: /data}}`")


def understood(raw: Raw, model: "type[AppConfig]") -> Understood:
    """What can be made of it."""
    tree = deepcopy(raw.values)
    faults: dict[Place, str] = {}
    for _ in range(ROUNDS):
        values = _live(tree)
        try:
            return Understood(model.model_validate(values, context=raw.beside), tuple(faults.items()), tree)
        except ValidationError as error:
            found = [(_original(tree, place), sentence) for place, sentence in faults_of(error, values, model)]
        for place, sentence in found:
            if not _was_emptied(raw.values, place, sentence):
                faults.setdefault(place, sentence)
            _take_out(tree, place)
    return Understood(None, tuple(faults.items()), tree)


def _where_and_what(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    what = next((plain for said, plain in PLAIN.items() if said in problem), None)
    mark = error.context_mark if what == NOT_CLOSED else error.problem_mark
    mark = mark or error.problem_mark or error.context_mark
    line = "" if mark is None else f", line {mark.line + 1}"
    if what is None:
        return f"{line}: {', '.join(filter(None, (error.context, problem)))}"
    return f"{line}: {what} (YAML says: {error.context or problem})"


def _was_emptied(values: Any, place: Place, sentence: str) -> bool:  # noqa: ANN401 (what YAML gave)
    """Whether the list has no entry only because its faulty ones were taken out."""
    return sentence == EMPTY and [*_steps(values, (*place, 0))][-1][0] != []


def _take_out(tree: Any, place: Place) -> None:  # noqa: ANN401 (what YAML gave)
    """The setting at the place, or the entry of a list that cannot be without it."""
    steps = list(_steps(tree, place))
    if steps and place[-1] == "id" and isinstance(steps[-1][0], dict) and len(steps) == len(place):
        steps[-1][0]["id"] = f"unnamed-{'-'.join(map(str, place))}"  # so that the rest of the entry is looked at
        return
    for holder, part in reversed(steps):
        if isinstance(holder, dict) and part in holder:
            del holder[part]
            return
        if isinstance(holder, list):
            holder[int(part)] = GONE
            return


def _steps(tree: Any, place: Place) -> Iterator[tuple[Any, str | int]]:  # noqa: ANN401 (what YAML gave)
    for part in place:
        yield tree, part
        if not holds(tree, part):
            return
        tree = tree[part]


def _live(tree: object) -> object:
    if isinstance(tree, dict):
        return {name: _live(value) for name, value in tree.items()}
    return [_live(value) for value in tree if value is not GONE] if isinstance(tree, list) else tree


def _original(tree: Any, place: Place) -> Place:  # noqa: ANN401 (what YAML gave)
    found: list[str | int] = []
    for part in place:
        if isinstance(tree, list) and isinstance(part, int):
            live = [number for number, value in enumerate(tree) if value is not GONE]
            part = live[part] if part < len(live) else part
            tree = tree[part] if part < len(tree) else None
        else:
            tree = tree.get(part) if isinstance(tree, dict) else None
        found.append(part)
    return tuple(found)
