"""The `darkroom` command: `submit` speaks to a running service, all others work on its configuration's own data."""

import typer

from serve_app.cli.jobs import jobs
from serve_app.cli.keys import keys
from serve_app.cli.submit import submit
from serve_app.cli.webhooks import webhooks

app = typer.Typer(help="Darkroom: self-hosted image-to-image diffusion.", no_args_is_help=True)
app.command()(submit)
app.add_typer(jobs, name="jobs")
app.add_typer(webhooks, name="webhooks")
app.add_typer(keys, name="keys")


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    print(installed("darkroom"))
