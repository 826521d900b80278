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
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from serve_app.config import AuthConfig, KeyEntry
from serve_app.errors import ConfigError, InvalidKey

logger = logging.getLogger(__name__)

KEY_FILE = "keys.json"
LOCK_FILE = "keys.lock"
KEY_BYTES = 32
FIRST_KEY_NAME = "first"
NO_KEYS = AuthConfig()
NAME_RULE = "a name has letters, digits, '.', '_' and '-', begins with one of the first two, and is at most 128 long"
MEND = "mend it, or move it away and make new keys"

Entries = tuple[KeyEntry, ...]
ENTRIES = TypeAdapter(Entries)
Stamp = tuple[int, int, int]
"""A file's inode, size and modification time: it changes with every write."""


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key as an operator may see it."""

    name: str
    sha256: str
    configured: bool
    """Whether it stands in the configuration; else in the data directory's file."""


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


def make_key(data_dir: Path, name: str, auth: AuthConfig = NO_KEYS) -> str:
    """A new key, told this once; only its hash is stored.

    Raises ConfigError for a bad name, for one that a key there or in the configuration has, and for a bad key file.
    """
    with _locked(data_dir):
        return _add_key(data_dir, name, auth)


def make_numbered_key(data_dir: Path, auth: AuthConfig) -> tuple[str, str]:
    """A name that is free, of client-1, client-2, ..., and its new key. Raises ConfigError for a bad key file."""
    with _locked(data_dir):
        taken = key_names(auth, data_dir)
        name = next(name for number in count(1) if (name := f"client-{number}") not in taken)
        return name, _add_key(data_dir, name, auth)


def revoke_key(data_dir: Path, name: str, auth: AuthConfig) -> tuple[ListedKey, ...]:
    """Take a name's keys out of the file for good, and tell which keys of any name are left.

    Older versions let keys share a name. Raises ConfigError where no key in the file has it, and for a bad key file.
    """
    configured = any(entry.name == name for entry in auth.keys)
    with _locked(data_dir):
        entries = _read_entries(data_dir)
        kept = tuple(entry for entry in entries if entry.name != name)
        if len(kept) < len(entries):
            _write_entries(data_dir, kept)
        elif configured:
            raise ConfigError(f"the key {name} stands in the configuration: take it out of auth.keys and start again")
        else:
            raise ConfigError(f"there is no key named {name}")
    return list_keys(auth, data_dir)


def list_keys(auth: AuthConfig, data_dir: Path) -> tuple[ListedKey, ...]:
    """All keys that are good now. Raises ConfigError for a bad key file."""
    stored = (ListedKey(entry.name, entry.sha256, configured=False) for entry in _read_entries(data_dir))
    return (*(ListedKey(entry.name, entry.sha256, configured=True) for entry in auth.keys), *stored)


def key_names(auth: AuthConfig, data_dir: Path) -> tuple[str, ...]:
    """The names of all keys that are good now. Raises ConfigError for a bad key file."""
    return tuple(key.name for key in list_keys(auth, data_dir))


def ensure_first_key(auth: AuthConfig, data_dir: Path) -> str | None:
    """A key where neither the configuration nor the file has one, else None."""
    if auth.keys:
        return None
    with _locked(data_dir):
        return None if _read_entries(data_dir) else _add_key(data_dir, FIRST_KEY_NAME, auth)


def _add_key(data_dir: Path, name: str, auth: AuthConfig) -> str:
    """Only under the lock."""
    key = secrets.token_urlsafe(KEY_BYTES)
    try:
        entry = KeyEntry(name=name, sha256=_sha256(key))
    except ValueError as error:
        raise ConfigError(f"a key cannot be named {name!r}: {NAME_RULE}") from error
    entries = _read_entries(data_dir)
    if any(one.name == name for one in (*auth.keys, *entries)):
        raise ConfigError(f"there is a key named {name} already; choose another name, or revoke that key first")
    _write_entries(data_dir, (*entries, entry))
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
        return ENTRIES.validate_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; {MEND}") from error
    except ValidationError as error:
        raise ConfigError(f"{path} cannot be read as a list of keys: {_first_fault(error)}; {MEND}") from error


def _first_fault(error: ValidationError) -> str:
    """Where in the file, and what; never the text there, which may be a key."""
    first = error.errors(include_input=False, include_url=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return f"{place} {first['msg']}".strip()


def _write_entries(data_dir: Path, entries: Entries) -> None:
    """Replaces the file at once, readable by its owner only."""
    rows = [entry.model_dump() for entry in entries]
    try:
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
    except OSError as error:
        raise ConfigError(f"{data_dir / KEY_FILE} cannot be written: {error.strerror}") from error


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """One writer at a time, over all processes and threads of this machine."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"nothing can be written into the data directory {data_dir}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which also lets go of the lock
