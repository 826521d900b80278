"""SQLite statements in one trip to the connection's thread.

aiosqlite makes a trip each to open a cursor, execute, fetch and close; a trip costs a fifth of a millisecond or more,
so a one-row read through SQLAlchemy took ten of them and 3 ms. SQLAlchemy reads all rows at once anyway.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple, Self

import aiosqlite
from aiosqlite.core import _STOP_RUNNING_SENTINEL

FETCHED_ROWS = 64
"""aiosqlite's own default; nothing here fetches in parts."""


class _Answer(NamedTuple):
    """All that came of a statement."""

    rows: Sequence[Any]
    description: Any
    rowcount: int
    lastrowid: int | None


Run = Callable[[sqlite3.Connection, str, Any], _Answer]


class OneTripCursor:
    """What SQLAlchemy asks of an aiosqlite cursor. Raises sqlite3's errors."""

    arraysize = 1

    def __init__(self, connection: "OneTripConnection") -> None:
        self._connection = connection
        self._answer = _Answer((), None, -1, None)

    @property
    def description(self) -> Any:  # noqa: ANN401 (DB-API's tuples)
        """Of the columns; None where the statement gives no rows."""
        return self._answer.description

    @property
    def rowcount(self) -> int:
        """Rows that were changed."""
        return self._answer.rowcount

    @property
    def lastrowid(self) -> int | None:
        """Of the last insert."""
        return self._answer.lastrowid

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> Self:
        """Run one statement and fetch all it gives."""
        self._answer = await self._connection.answer(_execute, sql, parameters)
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Self:
        """Run one statement for each of several."""
        self._answer = await self._connection.answer(_execute_many, sql, parameters)
        return self

    async def fetchall(self) -> Sequence[Any]:
        """The rows of the last statement."""
        return self._answer.rows

    async def close(self) -> None:
        """sqlite3's cursor is closed already."""


class OneTripConnection(aiosqlite.Connection):
    """An aiosqlite connection with such cursors."""

    def cursor(self) -> OneTripCursor:  # type: ignore[override]
        """A new one, without a trip."""
        return OneTripCursor(self)

    def stop(self) -> None:
        """End the thread; nobody waits for it.

        aiosqlite's gives a future that is not awaited where connecting failed: the thread then dies when it tells an
        event loop that was closed meanwhile.
        """
        self._running = False
        self._tx.put_nowait((None, self._close_and_stop))

    def _close_and_stop(self) -> object:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        return _STOP_RUNNING_SENTINEL

    async def answer(self, run: Run, sql: str, parameters: Iterable[Any]) -> _Answer:
        """What one of the two functions below gives, on the connection's thread."""
        answer: _Answer = await self._execute(run, self._conn, sql, parameters)  # type: ignore[no-untyped-call]
        return answer


def connect(database: str, **options: Any) -> OneTripConnection:  # noqa: ANN401 (sqlite3's)
    """As aiosqlite.connect; for SQLAlchemy's `async_creator_fn`. The thread does not keep the process alive."""
    connection = OneTripConnection(partial(sqlite3.connect, database, **options), FETCHED_ROWS)
    connection._thread.daemon = True  # as SQLAlchemy does with those that it makes
    return connection


def _execute(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any]) -> _Answer:
    with closing(connection.cursor()) as cursor:
        cursor.execute(sql, parameters)
        rows = cursor.fetchall() if cursor.description else ()
        return _Answer(rows, cursor.description, cursor.rowcount, cursor.lastrowid)


def _execute_many(connection: sqlite3.Connection, sql: str, parameters: Iterable[Sequence[Any]]) -> _Answer:
    with closing(connection.cursor()) as cursor:
        cursor.executemany(sql, parameters)
        return _Answer((), None, cursor.rowcount, cursor.lastrowid)
