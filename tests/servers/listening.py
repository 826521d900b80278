"""A server process that tests start on a port of this machine, stop, and start again."""

import signal
import socket
import subprocess
import time
from collections.abc import Sequence

START_SECONDS = 60


class ListeningProcess:
    """A command that serves HTTP on one port of 127.0.0.1; silent."""

    def __init__(self, command: Sequence[str], port: int) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None  # written by start() and stop()
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        assert self._process is None
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, f"ended with {self._process.returncode}: {self._command}"
            assert time.monotonic() < until, f"does not answer: {self._command}"
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, e.g. SIGSTOP: it takes connections and never answers."""
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
