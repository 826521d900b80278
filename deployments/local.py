"""`python -m deployments.local`: the service on this machine alone, without a dashboard, until Ctrl-C.

`serve run` and `serve deploy` start the same application; this start also says which key to use
and checks the port first.
"""

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import ray
from ray import serve

from deployments.terminal import lines_printed
from serve_app.config import AppConfig, data_dir_told, load_config
from serve_app.errors import ConfigError
from serve_app.jobs.keys import ensure_first_key

LOGICAL_CPUS = 2
"""What Ray counts with; the deployments ask for less than one together, so a single core will do."""
SERVE_SETTINGS = {
    # On a busy machine a proxy takes longer to come up than the 5 s after which Serve would kill it.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
    # A replica that hangs is killed, not asked to finish: its jobs run again meanwhile.
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
    # Slow and large bodies of strangers are stopped where they come in.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.proxy.guards",
}
"""What Serve reads from the environment when Ray starts; the Dockerfile sets the same."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Start, wait for a signal, stop. Returns the exit status."""
    options = _options(arguments)
    if (taken := _why_taken(options.host, options.port)) is not None:
        print(f"darkroom: cannot listen on {options.host}:{options.port}: {taken}", file=sys.stderr)
        print("darkroom: end what uses the port, or choose another, e.g. PORT=8001", file=sys.stderr)
        return 1
    try:
        config = load_config(options.config, options.data_dir)
    except ConfigError as error:
        print(f"darkroom: {error}", file=sys.stderr)
        return 1
    print(f"darkroom: data directory: {data_dir_told(config, options.data_dir)}", flush=True)
    _tell_key(ensure_first_key(config.auth, config.storage.data_path), config)
    with lines_printed():
        _start(config, options.host, options.port)
        stop = _stop_signal()
        print(f"darkroom: ready at http://{options.host}:{options.port}", flush=True)
        stop.wait()
        print("darkroom: stopping", flush=True)
        serve.shutdown()
        ray.shutdown()
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployments.local", description="Serve on this machine alone.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--config", type=Path, help="a YAML file with what differs from the defaults (AppConfig)")
    parser.add_argument("--data-dir", type=Path, help="where pictures, records and keys lie")
    return parser.parse_args(arguments)


def _why_taken(host: str, port: int) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror
    return None


def _tell_key(made: str | None, config: AppConfig) -> None:
    if made is not None:
        print(f"darkroom: your key is {made}", flush=True)
        print("darkroom: it is shown this once; only its hash is kept. `make key` makes another.", flush=True)
    elif not config.auth.keys:
        print("darkroom: keys were made before; `make key` makes another one and shows it.", flush=True)


def _stop_signal() -> threading.Event:
    """Set by Ctrl-C and SIGTERM. Ray installs handlers of its own when it starts, so call this after that."""
    stop = threading.Event()

    def hear(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGINT, hear)
    signal.signal(signal.SIGTERM, hear)
    return stop


def _start(config: AppConfig, host: str, port: int) -> None:
    from deployments.app import application  # binds on import: after the port is known to be free

    for name, value in SERVE_SETTINGS.items():
        os.environ.setdefault(name, value)
    ray.init("local", num_cpus=LOGICAL_CPUS, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"host": host, "port": port})
    serve.run(application(config), name="darkroom", route_prefix="/")


if __name__ == "__main__":
    sys.exit(main())
