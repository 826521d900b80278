"""moto's S3 server on a free port. It forgets everything when it ends.

It accepts any credentials, and expired and tampered links; it enforces conditional writes.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from tests.conftest import free_port
from tests.servers.listening import ListeningProcess


@contextmanager
def moto_server(bucket: str) -> Iterator[ListeningProcess]:
    """A running server with one empty bucket; ends at the end."""
    port = free_port()
    # Not the moto_server script: a virtual environment that was moved breaks its first line.
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = ListeningProcess(command, port)
    try:
        server.start()
        make_bucket(server, bucket)
        yield server
    finally:
        server.stop()


def make_bucket(server: ListeningProcess, bucket: str) -> None:
    """Make an empty bucket; needed again after every start."""
    httpx2.put(f"{server.url}/{bucket}", trust_env=False, timeout=30).raise_for_status()
