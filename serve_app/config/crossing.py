"""What settings must be true together, which no single one of them can tell."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from serve_app.config.wording import Fault, Place, meant, shown_place

if TYPE_CHECKING:
    from serve_app.config import AppConfig

SHARED = {"id": "an id", "name": "a name", "sha256": "a key"}


def cross_faults(config: "AppConfig") -> Iterator[Fault]:
    """Every fault, by the setting that is to be changed."""
    yield from _taken(("catalogue",), config.catalogue, "id")
    for number, entry in enumerate(config.catalogue):
        for kind in ("vaes", "loras", "embeddings"):
            yield from _taken(("catalogue", number, kind), getattr(entry, kind), "id")
    yield from _taken(("auth", "keys"), config.auth.keys, "name")
    yield from _taken(("auth", "keys"), config.auth.keys, "sha256")
    ids = [entry.id for entry in config.catalogue]
    if config.default_model is not None and config.default_model not in ids:
        guess = meant(config.default_model, ids) or f": it has {', '.join(ids)}"
        yield ("default_model",), f"{config.default_model!r} is not in the catalogue{guess}"


def _taken(place: Place, entries: Sequence[Any], name: str) -> Iterator[Fault]:
    first: dict[object, int] = {}
    for number, entry in enumerate(entries):
        value = getattr(entry, name)
        if (other := first.setdefault(value, number)) != number:
            what = repr(value) if name != "sha256" else "this hash"
            by = shown_place((*place, other))
            yield (*place, number, name), f"{what} is taken by {by}: two cannot share {SHARED[name]}"
