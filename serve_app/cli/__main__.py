"""`python -m serve_app.cli` is the `darkroom` command."""

from serve_app.cli import app

app()
