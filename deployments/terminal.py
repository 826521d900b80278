"""How lines of the service's processes come to the terminal of `deployments.local`: by datagrams on a Unix socket.

Ray's own way would print every line of every process with a prefix. Here only what is meant for the operator comes,
and nobody waits: where the terminal does not take it, or nobody listens, a line is left out and counted.
"""

import logging
import os
import select
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from serve_app.config import TERMINAL, terminal_socket
from serve_app.service.lines import LINES, printable

LARGEST = 2048
"""Bytes of a line; a pipe takes so much at once or not at all."""
LAST_WORD = b"\0"
"""What ends the printing."""


@contextmanager
def lines_printed(to: int = 1) -> Iterator[None]:
    """While the block runs, print the lines of processes that start meanwhile to the file descriptor `to`."""
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear,
    ):
        address = str(Path(folder) / "lines")
        ear.bind(address)
        os.environ[TERMINAL] = address
        printing = threading.Thread(target=_print, args=(ear, to), name="lines", daemon=True)
        printing.start()
        try:
            yield
        finally:
            del os.environ[TERMINAL]
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
                mouth.sendto(LAST_WORD, address)
            printing.join()


def _print(ear: socket.socket, to: int) -> None:
    left_out = 0
    while (heard := ear.recv(LARGEST)) != LAST_WORD:
        if not select.select([], [to], [], 0)[1]:
            left_out += 1  # nobody reads: waiting here would have every other print of this process wait too
            continue
        more = f"darkroom: {left_out} lines are left out here\n" if left_out else ""
        left_out = 0
        text = printable(heard.decode(errors="replace"))
        with suppress(OSError):
            os.write(to, f"{more}darkroom: {text}\n".encode()[:4096])


class _ToTerminal(logging.Handler):
    """Sends lines to the socket, and counts those that it does not take."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address
        self._mouth = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """As logging has it."""
        lost = f"({self._lost} lines were lost) " if self._lost else ""
        try:
            self._mouth.sendto(f"{lost}{record.getMessage()}".encode()[:LARGEST], socket.MSG_DONTWAIT, self._address)
        except OSError:  # it is full, or nobody is there
            self._lost += 1
        else:
            self._lost = 0

    def close(self) -> None:
        """As logging has it."""
        self._mouth.close()
        super().close()


def say_lines() -> None:
    """Have this process' lines go to Ray's log files and, where one listens, to the terminal. More calls do nothing."""
    if LINES.handlers:
        return
    LINES.setLevel(logging.INFO)
    LINES.propagate = False
    LINES.addHandler(_ToRaysLog())
    if (address := terminal_socket()) is not None:
        LINES.addHandler(_ToTerminal(address))


class _ToRaysLog(logging.Handler):
    """Passes lines on to Serve's logger, whose handlers write the log files."""

    def emit(self, record: logging.LogRecord) -> None:
        """As logging has it."""
        logging.getLogger("ray.serve").handle(record)
