"""How the operator's commands reach the database of the configuration, and how they show what is in it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import OperationalError, ProgrammingError

from serve_app.config import AppConfig, data_dir_told, load_config
from serve_app.config.places import is_there
from serve_app.errors import ConfigError, RecordsUnavailable
from serve_app.records.database import Database, one_node_only
from serve_app.records.engines import parse_url

T = TypeVar("T")

ConfigFile = Annotated[Path | None, typer.Option("--config", help="The service's YAML file; else the defaults.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        file_okay=False,
        help="Where pictures, records and keys lie; else DARKROOM_DATA_DIR, storage.data_dir of the file, the default.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
LONGEST = 10_000
"""Characters of a line that nobody has to see at once."""

Limit = Annotated[int, typer.Option(min=1, help="How many, the newest first.")]


@contextmanager
def bad_configuration_told() -> Iterator[None]:
    """A bad configuration ends the command."""
    try:
        yield
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--config") from error


def configuration(file: Path | None, data_dir: Path | None = None) -> AppConfig:
    """The service's configuration; a bad one ends the command."""
    with bad_configuration_told():
        return load_config(file, data_dir)


def tell_data_dir(config: AppConfig, data_dir: Path | None) -> None:
    """On stderr, so that what a command prints stays what was asked for."""
    typer.echo(f"data directory: {data_dir_told(config, data_dir)}", err=True)


def on_records(file: Path | None, data_dir: Path | None, work: Callable[[Database], Awaitable[T]]) -> T:
    """What `work` gives on the records of this configuration; tells the data directory where they lie in it."""
    config = configuration(file, data_dir)
    if config.records.url is None:
        tell_data_dir(config, data_dir)
    return ask(config, work)


def ask(config: AppConfig, work: Callable[[Database], Awaitable[T]]) -> T:
    """What `work` gives on the records. Where these cannot be reached or are not there yet, the command ends."""
    try:
        with bad_configuration_told():
            _require_file(config.records_url)
            return asyncio.run(_asked(config.records_url, work))
    except RecordsUnavailable as error:
        raise stop(f"the records cannot be reached: {error.detail}") from error
    except (OperationalError, ProgrammingError) as error:
        raise stop(f"these are no records of this version, start the service first: {error.orig}") from error


def stop(message: str, status: int = 1) -> typer.Exit:
    """Tell why on stderr; raise what this gives."""
    typer.echo(message, err=True)
    return typer.Exit(status)


def show_json(value: object) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows for people, the first column never cut; where stdout is no terminal, one line each."""
    table = Table(box=None, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name == columns[0])
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = LONGEST
    console.print(table)


def show_fields(fields: Mapping[str, object]) -> None:
    """One thing with all it has, a line each."""
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        text = ", ".join(value) if isinstance(value, tuple) else value
        print(f"{name:{width}}  {'-' if text is None else text}")


def moment(seconds: float | None) -> str:
    """A time in UTC to the second; the records write 0 for never."""
    return "-" if not seconds else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


async def _asked(url: str, work: Callable[[Database], Awaitable[T]]) -> T:
    database = Database(url)
    try:
        return await work(database)
    finally:
        await database.close()


def _require_file(url: str) -> None:
    """SQLite would make an empty one."""
    if one_node_only(url) and not is_there(file := Path(parse_url(url).database or "")):
        raise RecordsUnavailable(f"there is no {file}")
