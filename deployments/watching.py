"""Watches over `deployments.node`: shows how its start goes, tries once more, stops it, leaves no process behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType

from deployments.processes import adopt_orphans, children, hear, kill_children
from deployments.progress import Terminal
from deployments.steps import Failed, Ready, Said, Step, Stopped, Waiting, read
from deployments.terminal import lines_printed
from serve_app.access.keys import ensure_first_key
from serve_app.config import AppConfig

PATIENCE = {
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_gcs_server_port_wait_time_s": "300",
    "RAY_py_gcs_connect_timeout_s": "300",
    "RAY_gcs_rpc_server_connect_timeout_s": "300",
    "RAY_gcs_server_request_timeout_seconds": "300",
    "RAY_health_check_failure_threshold": "30",
    # Workers are niced by 15 unless told: beside other programs at full load they got a hundredth of a core each, and a
    # start did not end within ten minutes.
    "RAY_worker_niceness": "0",
}
"""Ray's own limits are for machines of a cluster, which can do without a slow one; this one is all there is."""
TRIES = 2
STOP_S = 20.0
"""Replicas may take so long to give their jobs back."""
KILL_S = 20.0
TICK_S = 1.0


class Ended:
    """The process has closed its stdout."""


Event = Step | Ended | int
"""A step; the end; a signal's number."""
Heard = tuple[int, Event]
"""Which try it is from; signals are from none."""


class Service:
    """One run of the service, from start to stop."""

    def __init__(
        self,
        config: AppConfig,
        host: str,
        port: int,
        settings: Mapping[str, str],
        node: Sequence[str] = (sys.executable, "-m", f"{__package__}.node"),
    ) -> None:
        """`settings` of Ray's environment, and the command of what is watched over; what is set already counts."""
        self._node = node
        self._config = config
        self._host, self._port = host, port
        self._settings = settings
        self._log = config.storage.data_path.absolute() / "logs" / "service.log"
        self._terminal = Terminal("darkroom")
        self._events: SimpleQueue[Heard] = SimpleQueue()
        self._try = 0  # written by _launched; what earlier ones still say is passed over
        self._began = time.monotonic()

    def run(self) -> int:
        """Start it, wait for a signal, stop it. Returns the exit status."""
        spared = children()
        adopt_orphans()
        hear(self._hear)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._log.write_bytes(b"")
        self._tell_key()
        with lines_printed():
            return self._tried(spared)

    def _tried(self, spared: frozenset[int]) -> int:
        for left in reversed(range(TRIES)):
            with self._launched() as child:
                try:
                    status = self._run(child, left)
                finally:
                    self._terminal.wait_for("")
                    kill_children(spared, KILL_S)
            if status is not None:
                return status
        raise AssertionError("the last try has a status")

    def _run(self, child: "subprocess.Popen[str]", tries_left: int) -> int | None:
        """The exit status; None: another try is due."""
        match self._until_started():
            case Ready() as ready:
                self._tell_ready(ready)
                return self._until_stopped(child)
            case Failed() as failed:
                self._tell_failed(failed, tries_left)
                return None if failed.again and tries_left else 1
            case number:
                self._terminal.say("stopped before it was ready")
                return 128 + number

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self._events.put((0, number))

    def _launched(self) -> "subprocess.Popen[str]":
        command = [*self._node, "--host", self._host, "--port", str(self._port)]
        self._try += 1
        with self._log.open("ab") as log:
            child = subprocess.Popen(
                command,
                env={**PATIENCE, **self._settings, **os.environ},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                errors="replace",
                process_group=0,  # a terminal's Ctrl-C goes to the group in front
            )
        assert child.stdin is not None
        with suppress(OSError):  # it has ended already: that is heard below
            child.stdin.write(self._config.model_dump_json())
            child.stdin.close()
        threading.Thread(target=_read, args=(child, self._try, self._events), daemon=True).start()
        return child

    def _until_started(self) -> Ready | Failed | int:
        while True:
            match self._next():
                case Waiting(what):
                    self._terminal.wait_for(what)
                case Ready() | Failed() as step:
                    self._terminal.wait_for("")
                    return step
                case Ended():
                    self._terminal.wait_for("")
                    return Failed([f"the process that starts it ended: {_last_line(self._log)}"], again=True)
                case int(number):
                    self._terminal.wait_for("")
                    return number
                case _:
                    continue

    def _until_stopped(self, child: "subprocess.Popen[str]") -> int:
        while True:
            match self._next():
                case int():
                    return self._stop(child)
                case Ended():
                    self._terminal.say(f"the service ended by itself, see {self._log}", error=True)
                    return 1
                case _:
                    continue

    def _stop(self, child: "subprocess.Popen[str]") -> int:
        """At the second signal, or where it takes too long, the rest is killed: jobs are written down."""
        self._terminal.wait_for("stopping")
        child.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_S
        while time.monotonic() < until and not isinstance(self._next(), Stopped | Ended | int):
            continue
        self._terminal.wait_for("")
        self._terminal.say("stopped")
        return 0

    def _next(self) -> Event | None:
        """What happens next, lines shown; None after a second in which nothing did."""
        try:
            source, event = self._events.get(timeout=TICK_S)
        except Empty:
            source, event = 0, None
        self._terminal.tick()
        if source not in (0, self._try):
            return None
        if isinstance(event, Said):
            self._terminal.show(event.line)
        return event

    def _tell_key(self) -> None:
        made = ensure_first_key(self._config.auth, self._config.storage.data_path)
        if made is not None:
            self._terminal.say(f"your key is {made}")
            self._terminal.say(
                "it is shown this once; only its hash is kept. `make key`, or `darkroom keys create`, makes another."
            )
        elif not self._config.auth.keys:
            self._terminal.say(
                "keys were made before; `make key`, or `darkroom keys create`, makes another one and shows it."
            )

    def _tell_ready(self, ready: Ready) -> None:
        url = f"http://{_in_url(self._host)}:{self._port}"
        models = ", ".join(entry.id for entry in self._config.catalogue)
        self._terminal.say(f"loaded {models} in {time.monotonic() - self._began:.0f} s")
        self._terminal.say(f"logs are in {self._log.parent} and {ready.logs}")
        self._terminal.say(f"ready at {url} (documentation: {url}/docs; Ctrl-C stops it)")

    def _tell_failed(self, failed: Failed, tries_left: int) -> None:
        for reason in failed.reasons:
            self._terminal.say(" ".join(reason.split()), error=True)
        again = ", and is tried once more" if failed.again and tries_left else ""
        self._terminal.say(f"it did not start{again}; log: {self._log}", error=True)


def _read(child: "subprocess.Popen[str]", source: int, heard: "SimpleQueue[Heard]") -> None:
    assert child.stdout is not None
    for line in child.stdout:
        heard.put((source, read(line)))
    heard.put((source, Ended()))


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _in_url(host: str) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{shown}]" if ":" in shown else shown
