"""A real PostgreSQL server of the distribution's binaries, on a free port, in a folder that goes when it stops.

The server refuses to run as root, so under root it runs as another user, who owns the folder.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BINARIES = Path("/usr/lib/postgresql")
USERS = ("postgres", "nobody")
SUPERUSER = "darkroom"
WITH_US = ("setpriv", "--pdeathsig", "INT")
"""The server ends also where the tests are killed."""
START_SECONDS = 60
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # tests kill the server, not the machine
    "max_connections": "60",
    "shared_buffers": "16MB",
    "autovacuum": "off",
    "logging_collector": "off",
}


class PostgresServer:
    """One server and its folder; it can be stopped, killed and started again with what it holds."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        identity = _identity()
        self._user = identity and identity[0]
        self._group = identity and identity[1]
        self._process: subprocess.Popen[bytes] | None = None  # written by start() and stop()
        self.port = _free_port()

    def url(self, database: str = "postgres") -> str:
        """The SQLAlchemy URL of one database."""
        return f"postgresql+psycopg://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        """Write an empty cluster into the folder."""
        if self._user is not None:
            shutil.chown(self._folder, self._user, self._group)
        options = ["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--wal-segsize=1"]
        options.append(f"--username={SUPERUSER}")
        self._run([str(self._binaries / "initdb"), f"--pgdata={self._folder / 'data'}", *options])

    def start(self) -> None:
        """Start the server on its port and wait until it takes connections."""
        settings = {**SETTINGS, "port": str(self.port), "unix_socket_directories": str(self._folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*WITH_US, str(self._binaries / "postgres"), "-D", str(self._folder / "data"), *options],
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._folder,
                user=self._user,
                group=self._group,
            )
        self._wait_until_ready()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT disconnects everybody and shuts down, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it and start it again in its place."""
        self.stop(how)
        self.start()

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            log = (self._folder / "log").read_text(errors="replace")
            assert self._process is not None
            assert self._process.poll() is None, f"PostgreSQL did not start: {log}"
            assert time.monotonic() < until, f"PostgreSQL does not answer: {log}"
            time.sleep(0.05)

    def _answers(self) -> bool:
        command = [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, capture_output=True, check=False, cwd=self._folder, user=self._user, group=self._group
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")


def missing() -> str | None:
    """Why PostgreSQL cannot be started on this machine, or None where it can."""
    if _newest() is None:
        return f"no PostgreSQL server under {BINARIES} (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and _identity() is None:
        return f"PostgreSQL refuses to run as root, and none of the users {', '.join(USERS)} is there"
    return None


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A running server with one empty database `postgres`; ends with its folder at the end."""
    binaries = _newest()
    assert binaries is not None, missing()
    # Not pytest's folder: its parents are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="darkroom-postgres-"))
    server = PostgresServer(binaries, folder)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder)


def _newest() -> Path | None:
    found = [path.parent for path in BINARIES.glob("*/bin/initdb")]
    return max(found, key=lambda path: float(path.parent.name), default=None)


def _identity() -> tuple[int, int] | None:
    """User and group to run the server as; None: as we are."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = next((known[name] for name in USERS if name in known), None)
    return (entry.pw_uid, entry.pw_gid) if entry else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
