"""s3rver 3.7, an S3 server of npm's, on a free port; what it holds outlives its process, in a folder.

It refuses expired links and unknown access keys; it checks no signature (SigV4), and writes without atomicity.
The package is installed once, under build/ of the checkout.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import free_port
from tests.servers import npm
from tests.servers.listening import ListeningProcess

PACKAGE = "s3rver@3.7"
FOLDER = "s3rver-3.7"
SCRIPT = npm.BUILD / FOLDER / "node_modules" / "s3rver" / "bin" / "s3rver.js"
CREDENTIAL = "S3RVER"
"""Its one access key, and that key's secret."""


def missing() -> str | None:
    """Why s3rver cannot be started on this machine, or None where it can; installs it where it is not there yet."""
    return npm.missing(FOLDER, [PACKAGE])


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
