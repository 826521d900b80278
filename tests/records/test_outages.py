"""A database that fails is told as RecordsUnavailable and used again when it is back; our own mistakes stay errors."""

import asyncio
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from serve_app.config import RecordsConfig
from serve_app.errors import RecordsUnavailable
from serve_app.records.clearing import Clearing
from serve_app.records.database import Database, migrate
from serve_app.records.engines import POSTGRES_CONNECTIONS
from serve_app.records.jobs import JobRecords, State
from serve_app.records.leases import Leases
from tests.conftest import free_port
from tests.records.conftest import sqlite_url
from tests.records.making import LATER, NOW, OURS, THEIRS, accept, claim_ids, has_input, heartbeat, hook, outcome, read
from tests.servers.postgres import PostgresServer

BRIEF_S = 0.3
SMALL_DISK_BYTES = 400_000
DOINGS: dict[str, Callable[[JobRecords, Leases], Awaitable[object]]] = {
    "accept": lambda records, _: accept(records, id=8),
    "get": lambda records, _: records.get(7),
    "preview": lambda records, _: records.preview(7),
    "unended": lambda records, _: records.unended("pocket"),
    "recent": lambda records, _: records.recent("pocket", 9),
    "counts": lambda records, _: records.counts(),
    "list": lambda records, _: records.list(),
    "ask_cancel": lambda records, _: records.ask_cancel(7),
    "watch": lambda records, _: records.watch(7, NOW),
    "retry": lambda records, _: records.retry(7, NOW),
    "claim": lambda _, leases: leases.claim(THEIRS, NOW, 9),
    "renew": lambda _, leases: leases.renew(OURS, [heartbeat(started_at=NOW)], NOW),
    "add_attempt": lambda _, leases: leases.add_attempt(7, 1),
    "release": lambda _, leases: leases.release(7, 1),
    "end": lambda _, leases: leases.end(7, 1, outcome(hook=hook()), NOW),
}
CLEARING: dict[str, Callable[[Clearing], Awaitable[object]]] = {
    "take_expired": lambda clearing: clearing.take_expired(NOW, NOW + 9, 9),
    "forget_pictures": lambda clearing: clearing.forget_pictures(7, NOW),
    "purge_inputs": lambda clearing: clearing.purge_inputs(NOW),
    "purge_jobs": lambda clearing: clearing.purge_jobs(NOW),
    "purge_idempotency": lambda clearing: clearing.purge_idempotency(NOW),
}


@pytest.fixture
async def on_postgres(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    """A database on the server, with job 7, connected."""
    database = Database(postgres_server.url())
    async with database.write() as connection:
        await connection.execute(text("DELETE FROM jobs"))
    await accept(JobRecords(database))
    yield database
    await database.close()


async def everything_fails(database: Database) -> None:
    for doing in DOINGS.values():
        with pytest.raises(RecordsUnavailable):
            await doing(JobRecords(database), Leases(database))
    for clears in CLEARING.values():
        with pytest.raises(RecordsUnavailable):
            await clears(Clearing(database))


async def test_a_server_that_stops_is_told_by_every_method_and_used_again_when_it_is_back(
    on_postgres: Database, postgres_server: PostgresServer
) -> None:
    before = await read(JobRecords(on_postgres))
    postgres_server.stop()
    await everything_fails(on_postgres)
    postgres_server.start()
    assert await read(JobRecords(on_postgres)) == before
    await accept(JobRecords(on_postgres), id=8)


async def test_a_server_that_was_restarted_is_not_even_noticed(
    on_postgres: Database, postgres_server: PostgresServer
) -> None:
    postgres_server.restart()
    assert await claim_ids(Leases(on_postgres)) == [7]


async def test_a_transaction_that_a_crash_cuts_off_did_not_happen(
    on_postgres: Database, postgres_server: PostgresServer
) -> None:
    async def cut_off() -> None:
        async with on_postgres.write() as connection:
            await connection.execute(text("DELETE FROM jobs"))
            postgres_server.restart(signal.SIGQUIT)

    with pytest.raises(RecordsUnavailable):
        await cut_off()
    assert (await read(JobRecords(on_postgres))).state == State.QUEUED


async def test_a_transaction_that_takes_too_long_is_given_up(
    on_postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.records.database.TRANSACTION_S", BRIEF_S)
    with pytest.raises(RecordsUnavailable, match="in time"):
        await sleep_on_server(on_postgres)
    assert await read(JobRecords(on_postgres))


async def test_a_driver_gives_a_transaction_up_before_its_leases_run_out(postgres_server: PostgresServer) -> None:
    records = RecordsConfig(lease_s=0.5, tick_s=0.1)
    database = Database(postgres_server.url(), records.transaction_s)
    began = time.monotonic()
    with pytest.raises(RecordsUnavailable, match="in time"):
        await sleep_on_server(database)
    assert time.monotonic() - began >= records.transaction_s
    assert records.transaction_s + records.tick_s < records.lease_s
    await database.close()


async def sleep_on_server(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("SELECT pg_sleep(9)"))


async def test_a_statement_that_takes_too_long_is_given_up_at_the_time_that_the_url_may_set(
    postgres_server: PostgresServer,
) -> None:
    database = Database(f"{postgres_server.url()}?options=-cstatement_timeout%3D100ms")
    with pytest.raises(RecordsUnavailable, match="statement timeout"):
        await sleep_on_server(database)
    await database.close()


async def test_when_all_connections_are_busy_the_records_are_unavailable(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.records.engines.BUSY_S", BRIEF_S)
    database = Database(postgres_server.url())
    async with AsyncExitStack() as held:
        for _ in range(POSTGRES_CONNECTIONS):
            await held.enter_async_context(database.read())
        with pytest.raises(RecordsUnavailable, match="in time"):
            await JobRecords(database).get(7)
    assert await JobRecords(database).get(10) is None
    await database.close()


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "no-such-host.invalid"])
async def test_a_server_that_is_not_there_is_unavailable(address: str) -> None:
    database = Database(f"postgresql+psycopg://darkroom@{address.format(port=free_port())}/darkroom")
    with pytest.raises(RecordsUnavailable):
        await JobRecords(database).get(7)
    await database.close()


async def test_a_file_that_another_process_writes_is_unavailable_until_it_is_done_and_can_be_read(
    sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.records.engines.BUSY_S", BRIEF_S)
    path = Path(shutil.copy(sqlite_template, tmp_path / "records.sqlite"))
    database = Database(sqlite_url(path))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        with pytest.raises(RecordsUnavailable, match="locked"):
            await accept(JobRecords(database))
        assert await JobRecords(database).get(7) is None
    other.execute("COMMIT")
    other.close()
    await accept(JobRecords(database))
    await database.close()


@pytest.mark.parametrize("harm", ["no folder", "no database", "a folder"])
async def test_a_file_that_cannot_be_used_is_unavailable(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "data" / "records.sqlite"
    if harm != "no folder":
        path.parent.mkdir()
    if harm == "no database":
        path.write_bytes(random.Random(0).randbytes(8192))
    if harm == "a folder":
        path.mkdir()
    database = Database(sqlite_url(path))
    for use in (JobRecords(database).get(7), accept(JobRecords(database))):
        with pytest.raises(RecordsUnavailable):
            await use
    await database.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of SMALL_DISK_BYTES."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a full disk needs the right to mount one: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_on_a_full_disk_nothing_is_accepted_and_nothing_is_lost(small_disk: Path) -> None:
    url = sqlite_url(small_disk / "records.sqlite")
    migrate(url)
    database = Database(url)
    records = JobRecords(database)
    await accept(records)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(SMALL_DISK_BYTES))
    for _ in range(3):
        with pytest.raises(RecordsUnavailable, match="full"):
            await accept(records, id=8, png=bytes(20_000))
    ballast.unlink()
    assert (await accept(records, id=8, png=bytes(20_000))).record.id == 8
    assert await has_input(database, 7)
    assert await claim_ids(Leases(database)) == [7, 8]
    await database.close()


async def test_a_wrong_statement_is_our_mistake_and_not_an_outage(database: Database) -> None:
    for wrong in ("SELECT * FROM no_such_table", "SELEC 1", "INSERT INTO settings (name) VALUES ('a')"):
        with pytest.raises(DBAPIError):
            async with database.write() as connection:
                await connection.execute(text(wrong))


async def test_an_error_in_the_middle_of_a_transaction_takes_all_of_it_back(
    database: Database, records: JobRecords
) -> None:
    async def fail() -> None:
        async with database.write() as connection:
            await connection.execute(text("DELETE FROM jobs"))
            raise ZeroDivisionError

    await accept(records)
    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await read(records)


async def test_tasks_that_are_cancelled_at_any_moment_leave_the_database_usable(
    records: JobRecords, leases: Leases
) -> None:
    chance = random.Random(0)
    await accept(records)

    async def broken_off(id: int) -> None:
        task = asyncio.create_task(accept(records, id=id))
        await asyncio.sleep(chance.uniform(0, 0.05))
        task.cancel()
        await asyncio.wait([task])

    await asyncio.gather(*(broken_off(id) for id in range(100, 140)))
    written = {record.id for record in await records.list(limit=100)}
    claimed = {each.record.id for each in await leases.claim(THEIRS, LATER, 100)}
    assert claimed == written, "what was written was written with its picture"
    await asyncio.gather(*(read(records) for _ in range(20)))
