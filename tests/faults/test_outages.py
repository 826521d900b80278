"""What jobs stand on goes away and comes back: all of Ray, PostgreSQL, the S3 server, room in the data directory."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import CONFIG, trying
from tests.faults.service import FaultService
from tests.faults.trial import Reference, Trial, check
from tests.servers import s3rver as s3rver_server
from tests.servers.listening import ListeningProcess
from tests.servers.postgres import PostgresServer, missing, postgres

pytestmark = [pytest.mark.timeout(1200), pytest.mark.thorough]
BUCKET = "pictures"
AWAY_S = 60.0
SETTLE_S = 5.0
"""Jobs whose pictures were stored before may still end."""
FULL_S = 20.0
DISK_BYTES = 16 * 2**20
CREDENTIALS = {"AWS_ACCESS_KEY_ID": s3rver_server.CREDENTIAL, "AWS_SECRET_ACCESS_KEY": s3rver_server.CREDENTIAL}


async def test_jobs_outlive_the_whole_of_ray(trial: Trial) -> None:
    await trial.submit()
    await trial.until_steps(1)
    trial.strikes()
    await asyncio.to_thread(trial.service.crash)
    trial.strikes()
    await asyncio.to_thread(trial.service.start)
    check(await trial.finish("SIGKILL all of Ray, start it again"))


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListeningProcess]:
    if (reason := s3rver_server.missing()) is not None:
        pytest.skip(reason)
    with s3rver_server.s3rver(BUCKET, tmp_path_factory.mktemp("s3rver")) as server:
        yield server


@pytest.fixture(scope="module")
def clustered(
    tmp_path_factory: pytest.TempPathFactory, database: PostgresServer, store: ListeningProcess
) -> Iterator[FaultService]:
    """A service with its records in PostgreSQL and its pictures in a bucket."""
    config = {
        **CONFIG,
        "records": {"url": database.url()},
        "storage": {"s3": {"bucket": BUCKET, "endpoint": store.url}},
    }
    with _running(tmp_path_factory.mktemp("clustered"), config, environment=CREDENTIALS) as service:
        yield service


@pytest.fixture
async def clustered_trial(clustered: FaultService, reference: Reference) -> AsyncIterator[Trial]:
    async with trying(clustered, reference) as trial:
        yield trial


async def test_jobs_outlive_a_restart_of_postgresql(clustered_trial: Trial, database: PostgresServer) -> None:
    trial = clustered_trial
    await trial.submit()
    await trial.until_steps(1)
    trial.strikes()
    database.restart()  # in this thread: the server ends with the thread that started it
    trial.strikes()
    check(await trial.finish("restart PostgreSQL"))


async def test_pictures_wait_for_an_s3_server_that_is_away(clustered_trial: Trial, store: ListeningProcess) -> None:
    trial = clustered_trial
    await trial.submit()
    await trial.until_steps(1)
    trial.strikes()
    await asyncio.to_thread(store.stop)
    await asyncio.sleep(SETTLE_S)
    before = await trial.in_flight()
    await asyncio.sleep(AWAY_S)
    assert await trial.in_flight() == before, "a job ended while its picture could not be stored"
    await asyncio.to_thread(store.start)
    trial.strikes()
    check(await trial.finish("S3 server away for a minute"))


async def test_jobs_outlive_a_full_data_directory(tmp_path: Path, reference: Reference) -> None:
    if os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted as root")
    with _small_disk(tmp_path / "disk") as disk, _running(tmp_path, CONFIG, disk / "data") as service:
        async with trying(service, reference) as trial:
            await trial.submit()
            await trial.until_steps(1)
            trial.strikes()
            ballast = _fill(disk)
            await asyncio.sleep(FULL_S)
            ballast.unlink()
            trial.strikes()
            check(await trial.finish("data directory full, then freed"))


@contextmanager
def _running(
    folder: Path,
    config: Mapping[str, object],
    data_dir: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[FaultService]:
    service = FaultService(folder, config, data_dir, environment)
    try:
        service.start()
        yield service
    finally:
        service.stop()


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own that holds DISK_BYTES."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "darkroom-faults", str(folder)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _fill(disk: Path) -> Path:
    """A file that takes all the room that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast
