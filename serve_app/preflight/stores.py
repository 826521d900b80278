"""What the service needs of others: the database of the records, and the bucket of the pictures. Bounded waits."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL

from serve_app.config import AppConfig
from serve_app.config.places import is_there
from serve_app.config.wording import Fault
from serve_app.errors import ConfigError, DarkroomError
from serve_app.postprocess.storage import S3Store
from serve_app.preflight.places import folder_faults
from serve_app.records.database import MIGRATIONS
from serve_app.records.engines import SQLITE, parse_url

WAIT_S = 2
"""For an answer: what takes longer counts as away."""
MAGIC = b"SQLite format 3\0"
PROBE = "00000000-0000-4000-8000-000000000000-0.png"
"""A picture's name that no job has."""
VERSION = "SELECT version_num FROM alembic_version"
BUSY = "database is locked"


def records_faults(config: AppConfig) -> Iterator[Fault]:
    """Why the records cannot be opened, or brought to this version's shape."""
    try:
        url = parse_url(config.records_url)
        if url.drivername == SQLITE:
            own = config.records.url is None  # beside the pictures, in the folder that `data_faults` looks at
            faults = _sqlite_faults(Path(url.database or ""), look_at_folder=not own)
        else:
            faults = _postgres_faults(url)
        yield from ((("records", "url"), fault) for fault in faults)
    except ConfigError as error:
        yield ("records", "url"), str(error).removeprefix("records.url ")


def bucket_faults(config: AppConfig) -> Iterator[Fault]:
    """Why pictures cannot be stored in the bucket."""
    if config.storage.s3 is None:
        return
    try:
        asyncio.run(asyncio.wait_for(_write_and_delete(S3Store(config.storage.s3)), WAIT_S))
    except TimeoutError:
        yield ("storage", "s3"), _away(config, f"no answer within {WAIT_S} s")
    except DarkroomError as error:
        yield ("storage", "s3"), _away(config, error.detail)


async def _write_and_delete(store: S3Store) -> None:
    await store.put(PROBE, b"\0", "image/png")
    await store.delete(PROBE)


def _away(config: AppConfig, reason: str) -> str:
    s3 = config.storage.s3
    assert s3 is not None
    where = s3.endpoint or "AWS"
    what = "check endpoint, bucket, and the credentials in the environment (AWS_ACCESS_KEY_ID and so on)"
    return f"bucket {s3.bucket} at {where} cannot be written: {_short(reason)}: {what}"


def _sqlite_faults(file: Path, *, look_at_folder: bool) -> Iterator[str]:
    if look_at_folder:
        yield from folder_faults(file.parent.absolute())
    if not is_there(file):
        return
    try:
        with file.open("r+b") as opened:
            start = opened.read(len(MAGIC))
    except OSError as error:
        yield f"{file} cannot be opened for writing: {error.strerror}"
        return
    if start not in (b"", MAGIC):
        yield f"{file} is no SQLite database: move it away, or name another one"
        return
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=WAIT_S)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            versions = connection.execute(VERSION).fetchall() if "alembic_version" in tables else []
    except sqlite3.Error as error:
        if BUSY not in str(error):  # another service uses it, which is fine
            yield f"{file}: {error}: it is damaged; restore it, or move it away"
        return
    yield from _version_faults(str(file), versions, known=not tables or bool(versions))


def _postgres_faults(url: URL) -> Iterator[str]:
    shown = f"{url.host or 'the local socket'}{f':{url.port}' if url.port else ''}/{url.database}"
    options = {name: value for name, value in url.query.items() if isinstance(value, str)}
    address = make_conninfo(
        host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database,
        **{**options, "connect_timeout": str(WAIT_S)},
    )  # fmt: skip
    try:
        with psycopg.connect(address) as connection:
            (there,) = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone() or (False,)
            versions = connection.execute(VERSION).fetchall() if there else []
            (may,) = connection.execute("SELECT has_schema_privilege(current_schema(), 'CREATE')").fetchone() or (True,)
            (standby,) = connection.execute("SELECT pg_is_in_recovery()").fetchone() or (False,)
    except psycopg.Error as error:
        reason = _short(str(error).partition("\n")[0])
        yield f"{shown}: {reason}: start the database, or correct the URL, its user or password"
        return
    if standby:
        yield f"{shown} is a standby that only reads: name the primary"
    elif not may and _head() not in {version for (version,) in versions}:
        yield f"{shown}: user {url.username} may not create tables there: GRANT CREATE ON SCHEMA"
    yield from _version_faults(shown, versions, known=True)


def _version_faults(shown: str, versions: list[tuple[str]], *, known: bool) -> Iterator[str]:
    if not known:
        yield f"{shown} is another program's database: name another one"
    for (version,) in versions:
        if version not in _revisions():
            yield f"{shown} is of a newer Darkroom (revision {version}): run that one, or name another database"


def _revisions() -> set[str]:
    return {script.revision for script in _scripts().walk_revisions()}


def _head() -> str | None:
    return _scripts().get_current_head()


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return ScriptDirectory.from_config(config)


def _short(text: str) -> str:
    """In one line, of a length that a person reads."""
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]} …"
