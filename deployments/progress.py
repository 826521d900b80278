"""What a person sees of a start: lines, and while something takes time one line that counts its seconds.

Where stdout is no terminal, a wait is a line when it begins, and another one now and then. A terminal that was
closed is no reason to stop short of cleaning up.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

AGAIN_S = 15.0
"""Where nobody watches a line change, a wait is told again after so long."""
CLEAR = "\r\x1b[K"


class Terminal:
    """Lines that begin with `name`."""

    def __init__(self, name: str, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._out = out or sys.stdout
        self._clock = clock
        self._watched = self._out.isatty()
        self._waiting = ""
        self._began = self._told = clock()
        self._drawn = False

    def say(self, text: str, *, error: bool = False) -> None:
        """One line."""
        self.show(f"{self._name}: {text}", error=error)

    def show(self, line: str, *, error: bool = False) -> None:
        """One line as it is."""
        self._clear()
        self._write(f"{line}\n", sys.stderr if error else self._out)

    def wait_for(self, what: str) -> None:
        """What is waited for from now on; "" for nothing."""
        if what == self._waiting:
            return self.tick()
        self._clear()
        self._waiting, self._began = what, self._clock()
        if what and not self._watched:
            self._tell()
        return self.tick()

    def tick(self) -> None:
        """Call it about once a second: draws the seconds anew."""
        if not self._waiting:
            return
        if self._watched:
            seconds = self._clock() - self._began
            self._write(f"{CLEAR}{self._name}: {self._waiting} … {seconds:.0f} s", self._out)
            self._drawn = True
        elif self._clock() - self._told >= AGAIN_S:
            self._tell()

    def _tell(self) -> None:
        self._told = self._clock()
        seconds = self._told - self._began
        self._write(f"{self._name}: {self._waiting} …{f' {seconds:.0f} s' if seconds >= 1 else ''}\n", self._out)

    def _clear(self) -> None:
        if self._drawn:
            self._write(CLEAR, self._out)
            self._drawn = False

    def _write(self, text: str, out: TextIO) -> None:
        try:
            out.write(text)
            out.flush()
        except (OSError, ValueError):
            # Closed: nobody reads any more. Python would complain once more when it flushes at its end.
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), out.fileno())
