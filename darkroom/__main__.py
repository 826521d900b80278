"""`darkroom`, and `python -m darkroom`."""

from deployments.command import app


def main() -> None:
    """Run the command."""
    app(prog_name="darkroom")


if __name__ == "__main__":
    main()
