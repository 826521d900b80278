"""The real service as a session of processes of its own, whose members tests may kill, stop and start again."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.conftest import KEY_LINE, free_port

START_SECONDS = 300
STOP_SECONDS = 90
GONE_SECONDS = 15
"""What a service that has stopped may still need until its last process is gone."""
REPLICA = "ray::ServeReplica:darkroom:"
DIFFUSION = f"{REPLICA}Diffusion-pocket"
INGRESS = f"{REPLICA}Ingress"
COURIER = f"{REPLICA}Courier"
PROXY = "ray::ProxyActor"


class FaultService:
    """One configuration on one data directory and one port; `start` works again after `crash`."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, object],
        data_dir: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = ""  # written by the first start, which makes it
        self.data_dir = data_dir or folder / "data"
        self._config = folder / "config.yaml"
        self._config.write_text(yaml.safe_dump(dict(config)))
        self._log = folder / "log"
        # Short, because Ray puts sockets below it and their paths are bounded; and nobody else's Ray is in it.
        self._ray = Path(tempfile.mkdtemp(prefix="dr-"))
        self._environment = {
            **os.environ,
            **(environment or {}),
            "DARKROOM_DATA_DIR": str(self.data_dir),
            "RAY_TMPDIR": str(self._ray),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._main: subprocess.Popen[bytes] | None = None  # written by start, stop and crash

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        assert self._main is None
        command = [sys.executable, "-m", "deployments.local", "--port", str(self.port), "--config", str(self._config)]
        with self._log.open("wb") as log:
            self._main = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + START_SECONDS
        while "darkroom: ready" not in self.log:
            assert self._main.poll() is None, f"the service ended: {self.log}"
            assert time.monotonic() < until, f"the service is not ready: {self.log}"
            time.sleep(0.2)
        keys = [line.removeprefix(KEY_LINE) for line in self.log.splitlines() if line.startswith(KEY_LINE)]
        self.key = keys[0] if keys else self.key

    @property
    def log(self) -> str:
        """What it has printed since it started."""
        return self._log.read_text(errors="replace")

    def pids(self, title: str = "") -> list[int]:
        """Its processes whose title begins so, oldest first."""
        if self._main is None:
            return []
        return [pid for pid in _session(self._main.pid) if _title(pid).startswith(title)]

    def send(self, pid: int, how: signal.Signals = signal.SIGKILL) -> None:
        """Send one of its processes a signal; one that is gone already is left in peace."""
        if pid in self.pids():
            os.kill(pid, how)

    def crash(self) -> None:
        """SIGKILL to all its processes at once: the machine's power goes, as far as they can tell."""
        assert self._main is not None
        self._kill_all()
        self._main.wait(STOP_SECONDS)
        self._main = None

    def stop(self) -> None:
        """End it as Ctrl-C does, and see that nothing of it is left running; clears away what Ray kept."""
        if self._main is None:
            return
        try:
            self._main.send_signal(signal.SIGTERM)
            self._main.wait(STOP_SECONDS)
            left = self._left()
            assert not left, f"still running after the service has stopped: {left}"
        finally:
            self._kill_all()
            self._main.wait(STOP_SECONDS)
            self._main = None
            shutil.rmtree(self._ray, ignore_errors=True)

    def _left(self) -> list[str]:
        until = time.monotonic() + GONE_SECONDS
        while (pids := self.pids()) and time.monotonic() < until:
            time.sleep(0.2)
        return [_title(pid) for pid in pids]

    def _kill_all(self) -> None:
        while pids := self.pids():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)


def _session(leader: int) -> list[int]:
    """The living processes of a session; Ray's workers leave the process group and stay in it."""
    return sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _is_in(path, leader))


def _is_in(path: Path, leader: int) -> bool:
    try:
        # proc(5): pid (comm) state ppid pgrp session ...; a comm may hold blanks and parentheses.
        state, _, _, session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(session) == leader and state != "Z"


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
