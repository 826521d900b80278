"""How far a start is, as the process that starts tells it to the one that watches: one JSON object a line."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is waited for from now on."""

    what: str


@dataclass(frozen=True, slots=True)
class Said:
    """A line for people, as it is."""

    line: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Requests are answered."""

    logs: str
    """Where Ray and Serve keep theirs."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The start is over."""

    reasons: list[str]
    """A line each."""
    again: bool
    """Whether another try may do better."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Every replica has ended in order; what is left may be killed."""


Step = Waiting | Said | Ready | Failed | Stopped
KINDS: dict[str, Callable[..., Step]] = {kind.__name__: kind for kind in (Waiting, Said, Ready, Failed, Stopped)}


def written(step: Step) -> str:
    """The step as a line."""
    return json.dumps({"kind": type(step).__name__, **asdict(step)})


def read(line: str) -> Step:
    """The step in a line."""
    fields = json.loads(line)
    return KINDS[fields.pop("kind")](**fields)
