"""Pictures as files in one folder of this machine.

obstore reads and deletes; writing is ours, because obstore does not flush to the
disk, and a job is told `success` after its pictures are written.
"""

import asyncio
import os
import secrets
from pathlib import Path

import obstore

from serve_app.postprocess.storage.over_obstore import ObstoreFiles
from serve_app.postprocess.storage.seam import storage_failures


class LocalStore(ObstoreFiles):
    """Files in one folder, made if it is absent. Raises StorageFailed if it cannot be.

    A file is written beside its name, flushed, and renamed: readers see a whole file or none. A machine
    that dies meanwhile may leave a `*.partial` behind, which no name reaches.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        with storage_failures(f"open {root}"):
            _make_folder(self._root)
            super().__init__(obstore.store.LocalStore(self._root))

    async def _write(self, name: str, data: bytes) -> None:
        await asyncio.to_thread(_write_durably, self._root / name, data)


def _write_durably(path: Path, data: bytes) -> None:
    _make_folder(path.parent)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder and what is missing above it, each entered durably into its parent."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
