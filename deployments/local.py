"""`python -m deployments.local`: the service on this machine alone, without a dashboard, until Ctrl-C.

Checks first what can be checked without loading, then watches over `deployments.node`, which starts Ray in a process
group of its own: a Ctrl-C is ours alone to hear, and nothing stays behind whatever becomes of a start. `serve run` and
`serve deploy` start the same application; this start also says which key to use.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from deployments.processes import end_with_parent, hear

SERVE_SETTINGS = {
    # On a busy machine a proxy takes longer to come up than the 5 s after which Serve would kill it.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    # A replica that hangs is killed, not asked to finish: its jobs run again meanwhile.
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
    # Slow and large bodies of strangers are stopped where they come in.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.proxy.guards",
}
"""What Serve reads from the environment when Ray starts; the Dockerfile sets the same."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, start, wait for a signal, stop. Returns the exit status."""
    hear(_leave)
    options = _options(arguments)
    if options.end_with_parent:
        end_with_parent()
    # Not above: these take a second, in which Ctrl-C is to be quiet too.
    from deployments.watching import Service
    from serve_app.config import data_dir_told
    from serve_app.preflight import examine

    findings = examine(options.config, options.data_dir, options.host, options.port)
    for line in findings.problems:
        print(f"darkroom: {line}", file=sys.stderr)
    if findings.config is None or findings.problems:
        print(f"darkroom: not started, {_count(len(findings.problems))} to mend", file=sys.stderr)
        return 1
    print(f"darkroom: data directory: {data_dir_told(findings.config, options.data_dir)}", flush=True)
    for line in findings.notes:
        print(f"darkroom: {line}", flush=True)
    return Service(findings.config, options.host, options.port, SERVE_SETTINGS).run()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployments.local", description="Serve on this machine alone.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--config", type=Path, help="a YAML file with what differs from the defaults (AppConfig)")
    parser.add_argument("--data-dir", type=Path, help="where pictures, records and keys lie")
    parser.add_argument("--end-with-parent", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """Before there is anything to stop."""
    os._exit(128 + number)


def _count(problems: int) -> str:
    return "1 problem" if problems == 1 else f"{problems} problems"


if __name__ == "__main__":
    sys.exit(main())
