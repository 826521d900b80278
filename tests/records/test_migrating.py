"""Migrating: a database gets its tables, whoever starts at the same moment, and keeps what it has."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, text

from serve_app.errors import ConfigError, RecordsUnavailable
from serve_app.records.database import MIGRATIONS, Database, migrate, one_node_only
from serve_app.records.engines import migration_engine, parse_url
from serve_app.records.jobs import JobRecords, _row
from serve_app.records.outbox import Outbox
from serve_app.records.tables import metadata
from tests.conftest import free_port
from tests.records.conftest import sqlite_url
from tests.records.making import OURS, accept, new_job, read

FRESH = "fresh"
PROCESSES = 4


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables; of SQLite without a file, in a folder that is not there."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "100% new" / "data" / "records.sqlite")
        return
    server = request.getfixturevalue("postgres_server")
    with psycopg.connect(server.url().replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {FRESH}")
        yield server.url(FRESH)
        connection.execute(f"DROP DATABASE {FRESH} WITH (FORCE)")


def test_migrations_make_the_very_tables_that_the_code_knows(database_url: str) -> None:
    engine = migration_engine(parse_url(database_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_processes_that_start_at_the_same_moment_all_find_the_tables(fresh_url: str) -> None:
    fork = multiprocessing.get_context("fork")  # with everything imported, so that they really meet
    processes = [fork.Process(target=migrate, args=(fresh_url,)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    migrate(fresh_url)


async def test_migrating_again_keeps_what_is_there(database_url: str, records: JobRecords) -> None:
    accepted = await accept(records)
    migrate(database_url)
    assert await read(records) == accepted.record


async def test_jobs_of_the_first_shape_are_kept(fresh_url: str) -> None:
    (Path(parse_url(fresh_url).database or "").parent).mkdir(parents=True, exist_ok=True)
    engine, new = migration_engine(parse_url(fresh_url)), new_job()
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        command.upgrade(config, "0001")
        (first := MetaData()).reflect(connection)
        connection.execute(first.tables["jobs"].insert().values(_row(new, OURS, 7, 7)))
    engine.dispose()
    migrate(fresh_url)
    database = Database(fresh_url)
    record = await read(JobRecords(database))
    assert (record.file_prefix, record.job, record.links, record.result) == (new.file_prefix, new.job, new.links, None)
    assert await Outbox(database).status_of(record.id) == ""
    await database.close()


def test_records_of_a_newer_version_are_refused(fresh_url: str) -> None:
    migrate(fresh_url)
    engine = migration_engine(parse_url(fresh_url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ConfigError, match="9999"):
        migrate(fresh_url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "records.sqlite",
        "sqlite:///records.sqlite",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "postgresql://host/darkroom",
        "postgresql+asyncpg://host/darkroom",
        "postgresql+psycopg://host",
        "mysql+aiomysql://host/darkroom",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"records\.url"):
        Database(url)
    with pytest.raises(ConfigError, match=r"records\.url"):
        migrate(url)


def test_a_refused_url_is_not_told_with_its_password() -> None:
    with pytest.raises(ConfigError) as refused:
        Database("postgresql://darkroom:hunter2@host/darkroom")
    assert "hunter2" not in str(refused.value)


def test_sqlite_is_for_one_node_and_postgresql_for_any_number() -> None:
    assert one_node_only("sqlite+aiosqlite:////data/records.sqlite")
    assert not one_node_only("postgresql+psycopg://host/darkroom")


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(RecordsUnavailable, match="refused"):
        migrate(f"postgresql+psycopg://darkroom@127.0.0.1:{free_port()}/darkroom")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(RecordsUnavailable, match="data"):
        migrate(sqlite_url(tmp_path / "data" / "records.sqlite"))
