"""The processes below this one: adopted when their parents die, and killed without a remainder.

Ray starts a dozen of them; whoever stops in the middle of a start cannot rely on Ray to find them all.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import psutil

PAUSE_S = 0.05
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""By which somebody asks a process to end."""
SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36
"""Of Linux's prctl(2). Elsewhere orphans go to the first process, and those that Ray leaves end by themselves."""


def hear(handler: Callable[[int, FrameType | None], object]) -> None:
    """Call this at SIGNALS from now on; a hangup that is ignored stays so, as nohup leaves it."""
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def adopt_orphans() -> None:
    """From now on a process below this one whose parent dies becomes this one's child."""
    _prctl(SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """From now on this process gets SIGTERM when the one that started it dies, however that comes about."""
    parent = os.getppid()
    _prctl(SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above
        os.kill(os.getpid(), signal.SIGTERM)


def children() -> frozenset[int]:
    """The processes below this one."""
    return frozenset(process.pid for process in psutil.Process().children(recursive=True))


def kill_children(spared: frozenset[int], limit_s: float) -> None:
    """SIGKILL everything below this process but those spared, and wait until all are gone, at most so long."""
    until = time.monotonic() + limit_s
    while (alive := _alive(spared)) and time.monotonic() < until:
        for process in alive:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(PAUSE_S)


def _alive(spared: frozenset[int]) -> list[psutil.Process]:
    found = [each for each in psutil.Process().children(recursive=True) if each.pid not in spared]
    return [each for each in found if not _is_dead(each)]


def _is_dead(process: psutil.Process) -> bool:
    """Whether it has ended; where it is this one's own child, its remains are cleared away."""
    with suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return False
        with suppress(ChildProcessError):  # another one's child, or cleared away meanwhile
            os.waitpid(process.pid, os.WNOHANG)
    return True


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
