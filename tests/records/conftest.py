"""Every test of this folder runs twice: on a file of SQLite and on a real PostgreSQL."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from serve_app.records.database import Database, migrate
from serve_app.records.jobs import JobRecords
from serve_app.records.leases import Leases
from serve_app.records.tables import metadata
from tests.servers.postgres import PostgresServer, missing, postgres

DISCONNECT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid()"
)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests; its database has the tables."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with postgres() as server:
        migrate(server.url())
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that has the tables."""
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite"
    migrate(sqlite_url(path))
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database for each test, migrated and empty."""
    if request.param == "sqlite":
        template = request.getfixturevalue("sqlite_template")
        return sqlite_url(Path(shutil.copy(template, tmp_path / "records.sqlite")))
    url: str = request.getfixturevalue("postgres_server").url()
    empty(url)
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Connections to it."""
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture
def records(database: Database) -> JobRecords:
    """The jobs in it."""
    return JobRecords(database)


@pytest.fixture
def leases(database: Database) -> Leases:
    """Who drives them."""
    return Leases(database)


def sqlite_url(path: Path) -> str:
    """The URL of a file."""
    return f"sqlite+aiosqlite:///{path}"


def empty(url: str) -> None:
    """Delete all that is in a database of PostgreSQL; making a new one takes ten times as long."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(DISCONNECT)
        for table in reversed(metadata.sorted_tables):
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name)))
