"""Keeps finished pictures under their names: a seam of three methods, and the stores behind it.

Owns which names exist and that a file is seen whole or not at all. How long a
picture lives is the job records' to say.
"""

from serve_app.config import StorageConfig
from serve_app.postprocess.storage.local import LocalStore
from serve_app.postprocess.storage.memory import InMemoryStore
from serve_app.postprocess.storage.s3 import S3Store
from serve_app.postprocess.storage.seam import NAME, PNG_TYPE, ObjectStore, StoredFile, answers_at_all

__all__ = [
    "NAME",
    "PNG_TYPE",
    "InMemoryStore",
    "LocalStore",
    "ObjectStore",
    "S3Store",
    "StoredFile",
    "answers_at_all",
    "open_store",
]


def open_store(storage: StorageConfig) -> LocalStore | S3Store:
    """The store of a configuration. Raises StorageFailed where it cannot be opened; S3 is not asked yet."""
    return LocalStore(storage.pictures_path) if storage.s3 is None else S3Store(storage.s3)
