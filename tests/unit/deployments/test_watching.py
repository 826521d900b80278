"""Starting and stopping with scripts in the place of Ray: quiet, tried once more, and no process is left behind."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from deployments.steps import Failed, Ready, Said, Step, Stopped, Waiting, written

PATIENCE_S = 120.0
LEAVES_ORPHANS = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c',"
    "'import time; time.sleep(600)'], start_new_session=True); time.sleep(0.2)"])
"""
"""A process whose parent is about to die, in a session of its own: nobody but an adopter finds it."""
HANG = "import time; time.sleep(600)\n"


def tells(*steps: Step) -> str:
    return "".join(f"print({written(step)!r}, flush=True)\n" for step in steps)


def serves(before: str = "") -> str:
    """A node that is ready and stops in order."""
    stop = (
        "import signal, threading\nstop = threading.Event()\nsignal.signal(signal.SIGTERM, lambda *_: stop.set())\n"
        + tells(Waiting("starting Ray"), Ready("/logs"))
        + "stop.wait()\n"
    )
    return before + stop + tells(Stopped())


@contextmanager
def watching(folder: Path, script: str) -> Iterator["subprocess.Popen[str]"]:
    """The watching process, in a group of its own as a shell's job is."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.deployments.watched", str(folder), script],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0, preexec_fn=hear_hangups,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(PATIENCE_S)
        child.stdout.close()


def read_until(child: "subprocess.Popen[str]", words: str) -> str:
    assert child.stdout is not None
    text = ""
    for line in child.stdout:
        text += line
        if words in line:
            return text
    pytest.fail(f"it ended before it said {words!r}: {text}")


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def below(child: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> list[psutil.Process]:
    return psutil.Process(child.pid).children(recursive=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_starts_ends_it_quietly_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    with watching(tmp_path, LEAVES_ORPHANS + tells(Waiting("starting Ray")) + HANG) as child:
        text = read_until(child, "starting Ray")
        until(lambda: len(below(child)) > 1)
        there = below(child)
        os.killpg(child.pid, number)
        rest, _ = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 128 + number
        assert alive(there) == []
        assert "Traceback" not in text + rest
        assert rest.strip().endswith("darkroom: stopped before it was ready")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_serves_stops_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with watching(tmp_path, serves(LEAVES_ORPHANS)) as child:
        read_until(child, "darkroom: ready at http://127.0.0.1:1")
        there = below(child)
        os.killpg(child.pid, number)
        rest, _ = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 0
        assert alive(there) == []
        assert rest.splitlines() == ["darkroom: stopping …", "darkroom: stopped"]


def test_a_second_ctrl_c_does_not_wait_for_replicas(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + tells(Ready("/logs")) + HANG
    with watching(tmp_path, deaf) as child:
        read_until(child, "ready")
        there = below(child)
        child.send_signal(signal.SIGINT)
        read_until(child, "stopping")
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 0
        assert alive(there) == []


def test_a_start_that_fails_is_tried_once_more_and_then_told_in_a_line_with_its_log(tmp_path: Path) -> None:
    script = tells(
        Waiting("starting Ray"), Failed(["Exception: The current node timed out\nduring startup"], again=True)
    )
    with watching(tmp_path, script) as child:
        text, _ = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 1
    assert text.count("Exception: The current node timed out during startup") == 2
    assert text.count("is tried once more") == 1
    assert text.strip().endswith(f"it did not start; log: {tmp_path / 'logs' / 'service.log'}")
    assert "Traceback" not in text


def test_the_second_try_may_succeed(tmp_path: Path) -> None:
    once = f"import pathlib, sys\nmark = pathlib.Path({str(tmp_path / 'mark')!r})\n"
    once += "if not mark.exists():\n    mark.touch()\n    sys.exit('Ray said no')\n"
    with watching(tmp_path, once + serves()) as child:
        text = read_until(child, "darkroom: ready")
    assert "the process that starts it ended: Ray said no" in text


def test_a_fault_that_another_try_would_meet_again_is_not_tried_again(tmp_path: Path) -> None:
    with watching(
        tmp_path, tells(Failed(["catalogue[0]: cannot load", "catalogue[1]: nor this"], again=False))
    ) as child:
        text, _ = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 1
    assert "darkroom: catalogue[0]: cannot load\ndarkroom: catalogue[1]: nor this\n" in text
    assert "once more" not in text


def test_a_service_that_ends_by_itself_is_told_and_is_an_error(tmp_path: Path) -> None:
    with watching(tmp_path, tells(Said("hello"), Ready("/logs"))) as child:
        text, _ = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 1
    assert "hello\n" in text
    assert "ended by itself" in text


def test_what_the_starting_process_prints_by_itself_is_in_the_log_only(tmp_path: Path) -> None:
    noise = "import sys; print('Token authentication is enabled', file=sys.stderr)\n"
    with watching(tmp_path, noise + tells(Failed(["no"], again=False))) as child:
        text, _ = child.communicate(timeout=PATIENCE_S)
    assert "Token" not in text
    assert "Token" in (tmp_path / "logs" / "service.log").read_text()


def test_ctrl_c_at_a_terminal_shows_one_line_of_progress_and_no_more(tmp_path: Path) -> None:
    child, parent, text = at_a_terminal(tmp_path, tells(Waiting("starting Ray")) + HANG, b"starting Ray")
    os.write(parent, b"\x03")  # as the key does: the terminal signals the group in front
    child.wait(PATIENCE_S)
    os.close(parent)
    assert child.returncode == 128 + signal.SIGINT
    assert b"Traceback" not in text


def test_a_terminal_that_is_closed_stops_it_and_leaves_no_process(tmp_path: Path) -> None:
    child, parent, _ = at_a_terminal(tmp_path, serves(), b"ready")
    there = below(child)
    os.close(parent)
    child.wait(PATIENCE_S)
    assert there != []
    assert alive(there) == []


def at_a_terminal(folder: Path, script: str, words: bytes) -> tuple["subprocess.Popen[bytes]", int, bytes]:
    """The watching process on a terminal of its own, that terminal's other end, and what it showed up to `words`."""
    parent, end = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.deployments.watched", str(folder), script],
        stdin=end, stdout=end, stderr=end, start_new_session=True,
        preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(end)
    text = b""
    while words not in text:
        text += os.read(parent, 4096)
    return child, parent, text


def take_terminal() -> None:
    """Make stdin the controlling terminal of this new session."""
    import fcntl
    import termios

    hear_hangups()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def hear_hangups() -> None:
    """Take SIGHUP as at a terminal, also where the tests themselves run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
