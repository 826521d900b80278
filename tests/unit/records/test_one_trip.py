"""SQLite's statements in one trip to the connection's thread."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from serve_app.records import one_trip
from serve_app.records.one_trip import OneTripConnection


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[OneTripConnection]:
    made = one_trip.connect(str(tmp_path / "file.sqlite"))
    async with made:
        await made.cursor().execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
        yield made


async def test_a_statement_tells_all_that_came_of_it(connection: OneTripConnection) -> None:
    cursor = connection.cursor()
    await cursor.execute("INSERT INTO things VALUES (7, ?)", ("star",))
    assert (cursor.lastrowid, cursor.rowcount, cursor.description, await cursor.fetchall()) == (7, 1, None, ())
    await cursor.executemany("INSERT INTO things VALUES (?, ?)", [(8, "ring"), (9, "moon")])
    assert (cursor.rowcount, await cursor.fetchall()) == (2, ())
    await cursor.execute("SELECT name FROM things WHERE id > ? ORDER BY id", (7,))
    assert cursor.description is not None
    assert [column[0] for column in cursor.description] == ["name"]
    assert await cursor.fetchall() == [("ring",), ("moon",)]


async def test_rows_that_an_insert_returns_are_fetched(connection: OneTripConnection) -> None:
    cursor = connection.cursor()
    await cursor.execute("INSERT INTO things (name) VALUES (?) RETURNING id", ("star",))
    assert await cursor.fetchall() == [(1,)]


async def test_what_sqlite_refuses_is_raised_and_holds_no_lock(connection: OneTripConnection) -> None:
    cursor = connection.cursor()
    await cursor.execute("INSERT INTO things VALUES (7, 'star')")
    with pytest.raises(sqlite3.IntegrityError):
        await cursor.execute("INSERT INTO things VALUES (8, 'star')")
    await connection.commit()
    await cursor.execute("DROP TABLE things")


async def test_each_statement_is_one_trip(connection: OneTripConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    trips: list[object] = []
    execute = connection._execute

    async def counted(run: Any, *arguments: Any) -> Any:  # noqa: ANN401 (aiosqlite's own types)
        trips.append(run)
        return await execute(run, *arguments)

    monkeypatch.setattr(connection, "_execute", counted)
    cursor = connection.cursor()
    await cursor.execute("SELECT id FROM things")
    assert await cursor.fetchall() == []
    await cursor.close()
    assert len(trips) == 1


def test_the_thread_of_a_stopped_connection_tells_nothing_to_a_loop_that_is_closed() -> None:
    may_go_on = threading.Event()

    async def stopped() -> OneTripConnection:
        connection = one_trip.connect(":memory:")
        await connection
        connection._tx.put_nowait((None, may_go_on.wait))
        connection.stop()
        return connection

    thread = asyncio.run(stopped())._thread
    may_go_on.set()
    thread.join(5)
    assert not thread.is_alive()
