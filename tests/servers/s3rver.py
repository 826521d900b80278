"""s3rver 3.7, an S3 server of npm's, on a free port; what it holds outlives its process, in a folder.

It refuses expired links and unknown access keys; it checks no signature (SigV4), and writes without atomicity.
The package is installed once, under build/ of the checkout.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import free_port
from tests.servers.listening import ListeningProcess

PACKAGE = "s3rver@3.7"
INSTALLED = Path(__file__).parent.parent.parent / "build" / "s3rver-3.7"
SCRIPT = INSTALLED / "node_modules" / "s3rver" / "bin" / "s3rver.js"
INSTALL_SECONDS = 240
CREDENTIAL = "S3RVER"
"""Its one access key, and that key's secret."""


def missing() -> str | None:
    """Why s3rver cannot be started on this machine, or None where it can; installs it where it is not there yet."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "s3rver needs node and npm"
    return None if SCRIPT.exists() else _install()


@contextmanager
def s3rver(bucket: str, folder: Path) -> Iterator[ListeningProcess]:
    """A running server with one bucket, its files in `folder`; ends at the end."""
    port = free_port()
    options = ["-d", str(folder), "-a", "127.0.0.1", "-p", str(port), "-s", "--configure-bucket", bucket]
    server = ListeningProcess(["node", str(SCRIPT), *options], port)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _install() -> str | None:
    """Put the package in its place whole, also where two processes do; why it could not, if so."""
    INSTALLED.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=INSTALLED.parent) as folder:
        made = Path(folder) / INSTALLED.name
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(made), PACKAGE]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return f"npm did not install {PACKAGE} within {INSTALL_SECONDS} s"
        if done.returncode != 0:
            return f"npm could not install {PACKAGE}: {done.stderr.strip()[-300:]}"
        try:
            made.rename(INSTALLED)
        except OSError:
            return None if SCRIPT.exists() else f"{INSTALLED} is in the way"
    return None
