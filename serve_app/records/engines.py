"""Connections to the two databases of the records, with what each needs set, and limits to every wait."""

import sqlite3
from contextlib import suppress

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from serve_app.errors import ConfigError
from serve_app.records import one_trip

SQLITE = "sqlite+aiosqlite"
POSTGRES = "postgresql+psycopg"
POSTGRES_CONNECTIONS = 8
"""Of one process at most."""
CONNECT_S = 5
BUSY_S = 10.0
"""How long one writer of an SQLite file waits for another, and a task for a connection."""
STATEMENT_S = 10
"""How long PostgreSQL may work on one statement, or leave what was sent to it unacknowledged."""
IDLE_S = 30
"""After this PostgreSQL takes a transaction's locks from a client that does nothing."""


def parse_url(url: str) -> URL:
    """The URL of the records. Raises ConfigError unless it names a file or one of PostgreSQL's databases."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError("records.url is not an SQLAlchemy URL") from error
    if parsed.drivername not in (SQLITE, POSTGRES) or parsed.database in (None, "", ":memory:"):
        raise ConfigError(f"records.url must be {SQLITE}:///FILE or {POSTGRES}://USER@HOST/DATABASE")
    return parsed


def sqlite_engine(url: URL, connections: int, begin: str) -> AsyncEngine:
    """At most so many connections to a file; each transaction starts with the statement `begin`."""
    engine = create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=BUSY_S,
        connect_args={"timeout": BUSY_S, "async_creator_fn": one_trip.connect},
    )
    _set_up_sqlite(engine.sync_engine, begin)
    return engine


def postgres_engine(url: URL) -> AsyncEngine:
    """A pool that notices when the server was restarted."""
    # What the URL asks for comes last, and so it counts.
    options = (
        f"-c statement_timeout={STATEMENT_S}s",
        f"-c idle_in_transaction_session_timeout={IDLE_S}s",
        *url.normalized_query.get("options", ()),
    )
    return create_async_engine(
        url.update_query_dict({"options": " ".join(options)}),
        pool_size=POSTGRES_CONNECTIONS,
        max_overflow=0,
        pool_timeout=BUSY_S,
        pool_pre_ping=True,
        connect_args={"connect_timeout": CONNECT_S, "tcp_user_timeout": STATEMENT_S * 1000},
    )


def migration_engine(url: URL) -> Engine:
    """A synchronous engine whose transactions may take as long as they need."""
    if url.drivername == POSTGRES:
        return create_engine(url, connect_args={"connect_timeout": CONNECT_S})
    engine = create_engine(url.set(drivername="sqlite"), connect_args={"timeout": BUSY_S})
    _set_up_sqlite(engine, "BEGIN IMMEDIATE")
    return engine


def _set_up_sqlite(engine: Engine, begin: str) -> None:
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "close", _let_go)

    # The driver by itself would begin a transaction with its first change only, after what was read for it.
    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _prepare_sqlite(connection: DBAPIConnection, _: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")  # kept in the file: only the very first time it changes anything
    # With NORMAL a machine that loses power would lose the last commits: jobs that were accepted.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _let_go(connection: DBAPIConnection, _: object) -> None:
    """End the transaction of a connection whose task was cancelled: a closed one keeps its locks for as long as a
    cursor of it is referred to, e.g. by a traceback."""
    with suppress(sqlite3.Error):  # it is closed all the same
        connection.rollback()
