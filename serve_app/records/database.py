"""Reaches the database of the records: SQLite beside the service, or PostgreSQL in a cluster.

Owns transactions, migrations, and what counts as the database's own failure: that becomes
RecordsUnavailable here. What is written is none of its business.
"""

import asyncio
import fcntl
import math
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from serve_app.errors import ConfigError, RecordsUnavailable
from serve_app.records.engines import SQLITE, migration_engine, parse_url, postgres_engine, sqlite_engine

READERS = 4
"""Connections of one process to SQLite beside the one that writes."""
TRANSACTION_S = 25.0
"""After this the database counts as gone, whatever it is doing."""
MIGRATIONS = Path(__file__).with_name("migrations")
MIGRATION_LOCK = 0x6461726B726F6F6D
"""A number that is ours among PostgreSQL's advisory locks: "darkroom" in ASCII."""
SQLITE_MISTAKES = (
    sqlite3.SQLITE_ERROR,  # among them: no such table
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_RANGE,
)
"""SQLite's codes for mistakes of the caller; all its others tell of files, disks and locks."""
POSTGRES_OUTAGES = ("08", "25006", "25P03", "40", "53", "55P03", "57", "58", "XX")
"""SQLSTATEs or their beginnings: connection, a standby that only reads, idle in a transaction, rolled back by the
server, no room or memory, lock not available, operator intervention, system error, internal error."""


class Database:
    """Connections to one database, for the event loop that uses it first.

    `url` is sqlite+aiosqlite:///FILE or postgresql+psycopg://...; raises ConfigError for any other.
    Nothing is connected until it is needed, and a database that comes back is used again.
    A transaction that takes longer than `within_s` or TRANSACTION_S is given up.
    """

    def __init__(self, url: str, within_s: float = math.inf) -> None:
        parsed = parse_url(url)
        self._within_s = within_s
        if parsed.drivername == SQLITE:
            self._reader = sqlite_engine(parsed, READERS, "BEGIN")
            # One writing connection: tasks of this process queue for it in order, and only other processes
            # have to be waited for by polling. A transaction that is a writer from its start never deadlocks.
            self._writer = sqlite_engine(parsed, 1, "BEGIN IMMEDIATE")
        else:
            self._reader = self._writer = postgres_engine(parsed)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads. Raises RecordsUnavailable."""
        async with self._transaction(self._reader) as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: all of it happens, or after an error nothing. Raises RecordsUnavailable.

        Where the connection breaks during the commit, RecordsUnavailable is raised though it may have happened:
        whoever tries again must be able to find that out.
        """
        async with self._transaction(self._writer) as connection:
            yield connection

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        with outages_as_ours():
            async with asyncio.timeout(min(TRANSACTION_S, self._within_s)), engine.begin() as connection:
                yield connection

    async def close(self) -> None:
        """Close all connections. Raises RecordsUnavailable."""
        with outages_as_ours():
            await self._reader.dispose()
            await self._writer.dispose()


def one_node_only(url: str) -> bool:
    """Whether these records can be used by the processes of one machine only. Raises ConfigError for a bad URL."""
    return parse_url(url).drivername == SQLITE


def migrate(url: str) -> None:
    """Bring the database to the shape of `tables`; the first time, make it and SQLite's folder.

    Several processes may do this at once. Raises ConfigError for a bad URL and for records of a newer version of
    this program, RecordsUnavailable where the database cannot be reached.
    """
    parsed = parse_url(url)
    engine = migration_engine(parsed)
    try:
        with outages_as_ours(), _one_at_a_time(parsed), engine.begin() as connection:
            _upgrade(connection)
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> None:
    """In the one transaction of this connection."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigError(f"the records cannot be migrated: {error}") from error


def _one_at_a_time(url: URL) -> AbstractContextManager[None]:
    """PostgreSQL has locks for it."""
    return _file_lock(Path(url.database or "")) if url.drivername == SQLITE else nullcontext()


@contextmanager
def _file_lock(database: Path) -> Iterator[None]:
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        lock = database.with_name(f"{database.name}.lock").open("wb")
    except OSError as error:
        raise RecordsUnavailable(f"{database.parent}: {error}") from error
    with lock:  # closing it lets go
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def outages_as_ours() -> Iterator[None]:
    """Raise RecordsUnavailable for what is the database's fault; let mistakes of ours through."""
    try:
        yield
    except (PoolTimeoutError, TimeoutError) as error:
        raise RecordsUnavailable(f"no answer in time: {error}") from error
    except DBAPIError as error:
        if not (error.connection_invalidated or is_outage(error.orig)):
            raise
        raise RecordsUnavailable(f"{type(error.orig).__name__}: {error.orig}") from error


def is_outage(error: BaseException | None) -> bool:
    """Whether a driver's error tells of the database's state and not of a wrong statement."""
    if isinstance(error, sqlite3.Error) and hasattr(error, "sqlite_errorcode"):
        return error.sqlite_errorcode & 0xFF not in SQLITE_MISTAKES
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return error.sqlstate.startswith(POSTGRES_OUTAGES)
    # The database did not say it, the driver did: refused, cut off, no such host, closed.
    return isinstance(error, sqlite3.OperationalError | psycopg.OperationalError)
