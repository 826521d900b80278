"""Plans of all statements at 100,000 ended jobs: none reads or sorts a whole table, on either database."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from serve_app.access.admission import Admission
from serve_app.records.clearing import Clearing
from serve_app.records.database import Database
from serve_app.records.jobs import Idempotency, JobRecords, State
from serve_app.records.leases import Leases
from serve_app.records.outbox import HookState, Outbox
from tests.records.making import NOW, OURS, THEIRS, accept, heartbeat, hook, outcome

ROWS = 100_000
EXPLAINED = ("SELECT", "UPDATE", "DELETE", "WITH")
LARGE = ("jobs", "outbox", "idempotency")
COPIES = {
    "jobs": ("id", "file_prefix", "created_at", "ended_at"),
    "outbox": ("id", "job_id", "created_at", "ended_at"),
    "idempotency": ("idempotency_key", "job_id", "created_at"),
}
"""The columns in which copies of a row differ from it, by table."""
KEY = Idempotency("0", "0" * 64)
OPERATIONS: dict[str, Callable[[Database], Awaitable[object]]] = {
    "accept": lambda database: accept(JobRecords(database), id=8, idempotent=KEY),
    "first_job": lambda database: Admission(database, 9).first_job("first", KEY),
    "require_room": lambda database: Admission(database, 9).require_room("pocket"),
    "get": lambda database: JobRecords(database).get(7),
    "with_prefix": lambda database: JobRecords(database).with_prefix("00000000"),
    "preview": lambda database: JobRecords(database).preview(7),
    "unended": lambda database: JobRecords(database).unended("pocket"),
    "recent": lambda database: JobRecords(database).recent("pocket", 9),
    "list": lambda database: JobRecords(database).list(),
    "list failed": lambda database: JobRecords(database).list(state=State.FAILED),
    "list of a key": lambda database: JobRecords(database).list(key_name="second"),
    "ask_cancel": lambda database: JobRecords(database).ask_cancel(7),
    "watch": lambda database: JobRecords(database).watch(7, NOW),
    "claim": lambda database: Leases(database).claim(THEIRS, NOW, 9),
    "claim what is over": lambda database: Leases(database).claim(THEIRS, NOW, 9, only_over=True),
    "renew": lambda database: Leases(database).renew(OURS, [heartbeat(started_at=NOW, preview=b"png")], NOW),
    "add_attempt": lambda database: Leases(database).add_attempt(7, 1),
    "end": lambda database: Leases(database).end(7, 1, outcome(State.FAILED, hook()), NOW),
    "retry": lambda database: JobRecords(database).retry(7, NOW),
    "take_expired": lambda database: Clearing(database).take_expired(NOW, NOW + 9, 9),
    "forget_pictures": lambda database: Clearing(database).forget_pictures(7, NOW),
    "purge_inputs": lambda database: Clearing(database).purge_inputs(NOW),
    "purge_jobs": lambda database: Clearing(database).purge_jobs(NOW - 1),
    "purge_idempotency": lambda database: Clearing(database).purge_idempotency(NOW - 1),
    "webhooks due": lambda database: Outbox(database).claim("me", NOW + 9, NOW, 9, 9, {}),
    "webhooks listed": lambda database: Outbox(database).listing(None, 9),
    "dead webhooks listed": lambda database: Outbox(database).listing(HookState.DEAD, 9),
    "webhook of a job": lambda database: Outbox(database).status_of(7),
    "webhooks purged": lambda database: Outbox(database).purge(NOW - 1, NOW - 1),
}


@pytest.fixture
async def full(database: Database) -> Database:
    """A job that waits, and a hundred thousand that ended well and had their webhooks delivered."""
    records, leases = JobRecords(database), Leases(database)
    await accept(records, id=100, idempotent=KEY)
    await leases.end(100, 1, outcome(hook=hook(100)), NOW, started_at=NOW)
    (due,) = await Outbox(database).claim("me", NOW + 9, NOW, 9, 9, {})
    await Outbox(database).delivered(due.entry.id, "me", 200, NOW)
    async with database.write() as connection:
        for table, differing in COPIES.items():
            await connection.run_sync(copy, table, differing)
        if connection.dialect.name == "postgresql":  # which does it by itself, some time later; SQLite never does
            await connection.execute(text("ANALYZE"))
    await accept(records, id=7)
    return database


def copy(connection: Connection, table: str, differing: tuple[str, ...]) -> None:
    """Copies of a table's only row, each a second younger than the one before."""
    counted = f"""
        WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ROWS})
        SELECT {{columns}} FROM {table}, numbers
    """
    names = [row[0] for row in connection.execute(text(f"SELECT * FROM {table} LIMIT 0")).cursor.description]
    new = {
        "id": "'msg_' || n" if table == "outbox" else "1000 + n",
        "job_id": "1000 + n",
        "file_prefix": "'prefix-' || n",
        "idempotency_key": "'key-' || n",
        "created_at": "created_at + n",
        "ended_at": "ended_at + n",
    }
    columns = ", ".join(new[name] if name in differing else name for name in names)
    connection.execute(text(f"INSERT INTO {table} ({', '.join(names)}) {counted.format(columns=columns)}"))


@contextmanager
def statements(engine: AsyncEngine) -> Iterator[list[tuple[str, object]]]:
    """What the engine sends meanwhile."""
    seen: list[tuple[str, object]] = []

    def note(*sent: object) -> None:
        _, _, statement, parameters, _, many = sent
        seen.append((str(statement), parameters[0] if many else parameters))  # type: ignore[index]

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine.sync_engine, "before_cursor_execute", note)


async def test_no_statement_reads_or_sorts_a_whole_table(full: Database) -> None:
    slow = {}
    for name, operation in OPERATIONS.items():
        with statements(full._reader) as read, statements(full._writer) as written:
            await operation(full)
        for statement, parameters in [*read, *written]:
            if statement.lstrip().startswith(EXPLAINED):
                plan = await explained(full, statement, parameters)
                if is_slow(statement, plan):
                    slow[name] = [statement, *plan]
    assert not slow, "\n".join(f"{name}: {lines}" for name, lines in slow.items())


async def explained(database: Database, statement: str, parameters: object) -> list[str]:
    """The lines of a statement's plan."""
    async with database.write() as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN (COSTS ON)"
        rows = (await connection.exec_driver_sql(f"{explain} {statement}", parameters)).all()  # type: ignore[arg-type]
        return [str(row[-1]) for row in rows]


def is_slow(statement: str, plan: list[str]) -> bool:
    """Whether a large table is read whole: not along an index in whose order a LIMIT ends the reading."""
    scans = [line for line in plan for table in LARGE if f"SCAN {table}" in line or f"Seq Scan on {table}" in line]
    in_order = all("USING INDEX" in line for line in scans) and not any("TEMP B-TREE" in line for line in plan)
    return bool(scans) and not (in_order and "LIMIT" in statement)
