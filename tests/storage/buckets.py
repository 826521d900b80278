"""Where the tests of this folder keep their pictures."""

import uuid

from serve_app.config import S3Config
from tests.servers.listening import ListeningProcess

BUCKET = "pictures"


def empty_place(server: ListeningProcess) -> S3Config:
    """A prefix of the server's bucket that nobody has used."""
    return S3Config(bucket=BUCKET, endpoint=server.url, prefix=uuid.uuid4().hex)
