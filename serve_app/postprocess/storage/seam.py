"""What a store of pictures is: three methods, the names it knows, and the failures it tells."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from obstore.exceptions import BaseError

from serve_app.errors import RouteNotFound, StorageFailed, StoreUnavailable
from serve_app.messages import TEMPORARY_FOLDER

NAME = re.compile(
    rf"(?:{TEMPORARY_FOLDER})?[0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}}-[0-9]{{1,3}}\.png"
)
"""What `messages.picture_names` makes and nothing else, so that no name can leave the store's folder."""
NOBODYS = "00000000-0000-0000-0000-000000000000-0.png"
PNG_TYPE = "image/png"
STORE_FAILURES = (BaseError, OSError, ValueError, RuntimeError)
"""What obstore raises: its own tree, and builtin errors for some of the system's."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a store, whole."""

    data: bytes
    content_type: str


class ObjectStore(Protocol):
    """Files by name, see NAME; a file appears and is replaced atomically."""

    async def put(self, name: str, data: bytes, content_type: str) -> None:
        """Store `data`, replacing a file of that name: when this returns, it will still be there after a power cut.

        Raises StorageFailed, also on a bad name.
        """

    async def get(self, name: str) -> StoredFile:
        """Read a file. Raises RouteNotFound if there is none or the name is bad, else StoreUnavailable."""

    async def delete(self, name: str) -> None:
        """Remove a file; one that is not there is no error. Raises StorageFailed, also on a bad name."""


async def answers_at_all(store: ObjectStore) -> None:
    """Ask for a picture that nobody ever made: that it is not there is an answer. Raises StoreUnavailable."""
    with suppress(RouteNotFound):
        await store.get(NOBODYS)


def require_name(name: str) -> None:
    """Raises StorageFailed for what is not a picture's name."""
    if NAME.fullmatch(name) is None:
        raise StorageFailed(f"{name!r} is not a picture's name")


@contextmanager
def storage_failures(
    doing: str, failed: type[StorageFailed] | type[StoreUnavailable] = StorageFailed
) -> Iterator[None]:
    """Raises `failed` from whatever a backend raises; `doing` says what was tried.

    StorageFailed ends a job; StoreUnavailable is for whoever asks for what is stored.
    """
    try:
        yield
    except STORE_FAILURES as failure:
        raise failed(f"{doing}: {type(failure).__name__}: {failure}") from failure
