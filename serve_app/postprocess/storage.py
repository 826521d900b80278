"""Keeps finished pictures under their names: the seam of three methods, and two stores behind it.

Owns which names exist and that a file is seen whole or not at all. Links and
their lifetime belong to the ingress and the job records.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import obstore
from obstore.exceptions import BaseError

from serve_app.errors import RouteNotFound, StorageFailed

NAME = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}-[0-9]{1,3}\.png")
"""<uuid>-<n>.png and nothing else, so that no name can leave the store's folder."""
PNG_TYPE = "image/png"
STORE_FAILURES = (BaseError, OSError, ValueError, RuntimeError)
"""What obstore raises: its own tree, and builtin errors for some of the system's."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a store, whole."""

    data: bytes
    content_type: str


class ObjectStore(Protocol):
    """Files by name. A name is <uuid>-<n>.png; a file appears and is replaced atomically."""

    async def put(self, name: str, data: bytes, content_type: str) -> None:
        """Store `data`, replacing a file of that name. Raises StorageFailed, also on a bad name."""

    async def get(self, name: str) -> StoredFile:
        """Read a file. Raises RouteNotFound if there is none or the name is bad, else StorageFailed."""

    async def delete(self, name: str) -> None:
        """Remove a file; one that is not there is no error. Raises StorageFailed, also on a bad name."""


class _ObstoreFiles:
    """What every store over obstore does. Content types follow from the suffix: not all backends keep them."""

    def __init__(self, backend: "obstore.store.ObjectStore") -> None:
        self._backend = backend

    async def put(self, name: str, data: bytes, content_type: str) -> None:
        """Store `data` in one request, replacing a file of that name."""
        _require_name(name)
        if content_type != PNG_TYPE:
            raise StorageFailed(f"{name} cannot be stored as {content_type}")
        with _storage_failures(f"put {name}"):
            await obstore.put_async(self._backend, name, data, use_multipart=False)

    async def get(self, name: str) -> StoredFile:
        """Read a file whole."""
        if NAME.fullmatch(name) is None:
            raise RouteNotFound(f"{name!r} is not a picture's name")
        with _storage_failures(f"get {name}"):
            try:
                answer = await obstore.get_async(self._backend, name)
                return StoredFile(bytes(await answer.bytes_async()), PNG_TYPE)
            except FileNotFoundError as missing:
                raise RouteNotFound(name) from missing

    async def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        _require_name(name)
        with _storage_failures(f"delete {name}"):
            try:
                await obstore.delete_async(self._backend, name)
            except FileNotFoundError:
                return


class LocalStore(_ObstoreFiles):
    """Files in one folder of this machine, made if it is absent. Raises StorageFailed if it cannot be.

    obstore writes beside the final name and renames, so readers see a whole file or none.
    """

    def __init__(self, root: Path) -> None:
        with _storage_failures(f"open {root}"):
            super().__init__(obstore.store.LocalStore(root.absolute(), mkdir=True))


class InMemoryStore(_ObstoreFiles):
    """Files in this process: for tests, and for a trial run that leaves nothing behind."""

    def __init__(self) -> None:
        super().__init__(obstore.store.MemoryStore())


def _require_name(name: str) -> None:
    if NAME.fullmatch(name) is None:
        raise StorageFailed(f"{name!r} is not a picture's name")


@contextmanager
def _storage_failures(doing: str) -> Iterator[None]:
    try:
        yield
    except STORE_FAILURES as failure:
        raise StorageFailed(f"{doing}: {type(failure).__name__}: {failure}") from failure
