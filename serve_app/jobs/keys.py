"""Who may call: checks keys against their SHA-256 and makes new ones.

Keys come from the configuration and from keys.json in the data directory, which several
processes may read and write at once. A key itself is never stored.
"""

import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serve_app.config import AuthConfig, KeyEntry
from serve_app.errors import ConfigError, InvalidKey

logger = logging.getLogger(__name__)

KEY_FILE = "keys.json"
LOCK_FILE = "keys.lock"
KEY_BYTES = 32
FIRST_KEY_NAME = "first"

Entries = tuple[KeyEntry, ...]
Stamp = tuple[int, int, int]
"""A file's inode, size and modification time: it changes with every write."""


class KeyRing:
    """The keys that are good now. Raises ConfigError where the key file cannot be read at the start."""

    def __init__(self, config: AuthConfig, data_dir: Path) -> None:
        self._configured = config.keys
        self._data_dir = data_dir
        # Both written by verify() alone, when the file has changed.
        self._stamp = _stamp(data_dir)
        self._stored = _read_entries(data_dir)

    def verify(self, key: str | None) -> KeyEntry:
        """The entry of this key. Raises InvalidKey."""
        self._follow_file()
        digest = _sha256(key or "")
        found = None
        for entry in (*self._configured, *self._stored):  # to the end, so that time tells nothing
            if hmac.compare_digest(entry.sha256, digest):
                found = entry
        if not key or found is None:
            raise InvalidKey
        return found

    def _follow_file(self) -> None:
        stamp = _stamp(self._data_dir)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._stored = _read_entries(self._data_dir)
        except ConfigError:
            logger.exception("The key file was changed and cannot be read; the keys before the change stay good")


def make_key(data_dir: Path, name: str) -> str:
    """A new key, told this once; only its hash is stored. Raises ConfigError for a bad name or key file."""
    with _locked(data_dir):
        return _add_key(data_dir, name)


def key_names(auth: AuthConfig, data_dir: Path) -> tuple[str, ...]:
    """The names of all keys that are good now. Raises ConfigError for a bad key file."""
    return tuple(entry.name for entry in (*auth.keys, *_read_entries(data_dir)))


def ensure_first_key(auth: AuthConfig, data_dir: Path) -> str | None:
    """A key where neither the configuration nor the file has one, else None."""
    if auth.keys:
        return None
    with _locked(data_dir):
        return None if _read_entries(data_dir) else _add_key(data_dir, FIRST_KEY_NAME)


def _add_key(data_dir: Path, name: str) -> str:
    """Only under the lock."""
    key = secrets.token_urlsafe(KEY_BYTES)
    try:
        entry = KeyEntry(name=name, sha256=_sha256(key))
    except ValueError as error:
        raise ConfigError(f"a key cannot be named {name!r}") from error
    _write_entries(data_dir, (*_read_entries(data_dir), entry))
    return key


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _stamp(data_dir: Path) -> Stamp | None:
    try:
        stat = (data_dir / KEY_FILE).stat()
    except OSError:  # why, reading the file will tell
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _read_entries(data_dir: Path) -> Entries:
    path = data_dir / KEY_FILE
    try:
        rows = json.loads(path.read_bytes())
        if not isinstance(rows, list):
            raise ConfigError(f"{path} is not a list of keys")
        return tuple(KeyEntry.model_validate(row) for row in rows)
    except FileNotFoundError:
        return ()
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as a list of keys") from error


def _write_entries(data_dir: Path, entries: Entries) -> None:
    """Replaces the file at once, readable by its owner only."""
    rows = [entry.model_dump() for entry in entries]
    descriptor, draft = tempfile.mkstemp(dir=data_dir, prefix=KEY_FILE)  # mkstemp makes files of mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(rows, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(data_dir / KEY_FILE)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """One writer at a time, over all processes and threads of this machine."""
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which also lets go of the lock
