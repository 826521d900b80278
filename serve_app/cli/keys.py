"""`darkroom keys`: the keys that clients use. A running service knows of each change at its next request."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from serve_app.access.keys import ListedKey, list_keys, make_key, make_numbered_key, revoke_key
from serve_app.cli.records import (
    AsJson,
    ConfigFile,
    DataDir,
    configuration,
    show_json,
    show_table,
    stop,
    tell_data_dir,
)
from serve_app.config import AppConfig
from serve_app.errors import ConfigError

keys = typer.Typer(help="The keys that clients use.", no_args_is_help=True)

COLUMNS = ("name", "from", "SHA-256 begins")
SHOWN_DIGITS = 12
BAD_KEYS = 2

Name = Annotated[str, typer.Argument(help="The key's name.")]
NewName = Annotated[str | None, typer.Argument(help="Who the key is for; else client-1, client-2, ...")]


@keys.command("create")
def create(name: NewName = None, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Make a key, print it once, keep its hash in the data directory."""
    with bad_keys_told():
        settings = _settings(config, data_dir)
        where = settings.storage.data_path
        if name is None:
            name, key = make_numbered_key(where, settings.auth)
        else:
            key = make_key(where, name, settings.auth)
    typer.echo(f"the key of {name}, shown this once; a service on this data directory takes it from now on:", err=True)
    print(key)


@keys.command("list")
def list_all(as_json: AsJson = False, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """The names of all keys. The keys themselves are not kept anywhere."""
    with bad_keys_told():
        settings = _settings(config, data_dir)
        found = list_keys(settings.auth, settings.storage.data_path)
    if as_json:
        show_json([{"name": key.name, "from": _origin(key), "sha256": key.sha256} for key in found])
    else:
        show_table(COLUMNS, [(key.name, _origin(key), key.sha256[:SHOWN_DIGITS]) for key in found])


@keys.command("revoke")
def revoke(name: Name, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Take a key away for good. Its jobs stay, and belong to whoever gets a key of that name next."""
    with bad_keys_told():
        settings = _settings(config, data_dir)
        left = revoke_key(settings.storage.data_path, name, settings.auth)
    print(f"the key {name} is revoked")
    if any(key.name == name for key in left):
        typer.echo("another one of that name stands in the configuration (auth.keys), and is good still", err=True)
    if not left:
        typer.echo("it was the last one: nobody may call until there is another; the next start makes one", err=True)


def _settings(config: ConfigFile, data_dir: DataDir) -> AppConfig:
    settings = configuration(config, data_dir)
    tell_data_dir(settings, data_dir)
    return settings


def _origin(key: ListedKey) -> str:
    return "configuration" if key.configured else "data directory"


@contextmanager
def bad_keys_told() -> Iterator[None]:
    """What is wrong with a name or with the file of keys ends the command with one sentence."""
    try:
        yield
    except ConfigError as error:
        raise stop(str(error), BAD_KEYS) from error
