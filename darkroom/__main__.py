"""`darkroom`, and `python -m darkroom`."""

import signal


def main() -> None:
    """Run the command. A Ctrl-C while its modules are imported, which takes a second, ends it without a traceback."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # and not what nohup and the like have chosen
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from deployments.command import app

    signal.signal(signal.SIGINT, before)
    app(prog_name="darkroom")


if __name__ == "__main__":
    main()
