"""`darkroom keys`: the keys that clients use."""

import typer

from serve_app.config import load_config
from serve_app.errors import ConfigError
from serve_app.jobs.keys import make_key

keys = typer.Typer(help="The keys that clients use.", no_args_is_help=True)


@keys.command("create")
def create(name: str) -> None:
    """Make a key, print it once, keep its hash in the data directory."""
    try:
        print(make_key(load_config().storage.data_path, name))
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
