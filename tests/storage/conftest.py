"""Real S3 servers, started once for the tests of this folder, and the credentials that both take."""

import signal
from collections.abc import Iterator

import pytest

from serve_app.config import S3Config
from tests.servers import s3rver as s3rver_server
from tests.servers.listening import ListeningProcess
from tests.servers.moto_server import moto_server
from tests.storage.buckets import BUCKET, empty_place


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3rver_server.CREDENTIAL)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3rver_server.CREDENTIAL)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


@pytest.fixture(scope="session")
def moto() -> Iterator[ListeningProcess]:
    with moto_server(BUCKET) as server:
        yield server


@pytest.fixture(scope="session")
def s3rver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListeningProcess]:
    if (reason := s3rver_server.missing()) is not None:
        pytest.skip(reason)
    with s3rver_server.s3rver(BUCKET, tmp_path_factory.mktemp("s3rver")) as server:
        yield server


@pytest.fixture(scope="session")
def _second_s3rver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListeningProcess]:
    if (reason := s3rver_server.missing()) is not None:
        pytest.skip(reason)
    with s3rver_server.s3rver(BUCKET, tmp_path_factory.mktemp("s3rver")) as server:
        yield server


@pytest.fixture
def unsteady(_second_s3rver: ListeningProcess) -> Iterator[ListeningProcess]:
    """An s3rver that a test may stop, pause and start again."""
    yield _second_s3rver
    _second_s3rver.send(signal.SIGCONT)


@pytest.fixture(params=["moto", "s3rver"])
def bucket(request: pytest.FixtureRequest) -> S3Config:
    """An empty place in the bucket of each server in turn."""
    return empty_place(request.getfixturevalue(request.param))
