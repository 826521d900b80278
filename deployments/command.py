"""The whole `darkroom` command: what serve_app.cli has, and `serve` and `demo`, which need Ray.

Ray is imported when one of these two runs, for it takes seconds.
"""

from typing import Annotated

import typer

from serve_app.cli import app
from serve_app.cli.records import ConfigFile, DataDir

__all__ = ["app"]

Host = Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 lets other machines call.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")]


@app.command()
def serve(host: Host = "127.0.0.1", port: Port = 8000, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Serve on this machine until Ctrl-C; the first start prints the key to use."""
    from deployments.local import main

    where = [] if config is None else ["--config", str(config)]
    where += [] if data_dir is None else ["--data-dir", str(data_dir)]
    raise typer.Exit(main(["--host", host, "--port", str(port), *where]))


@app.command()
def demo(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Start the service, send it a picture, write before and after side by side, and stop it."""
    from deployments.demo import main

    raise typer.Exit(main(["--host", host, "--port", str(port)]))
