"""Pictures in a bucket, on two real servers: the contract of every store, and a server that is away or refuses."""

import asyncio
import signal
import time
from datetime import timedelta

import pytest

from serve_app.config import S3Config
from serve_app.errors import RouteNotFound, StorageFailed, StoreUnavailable
from serve_app.postprocess.spool import Spool
from serve_app.postprocess.storage import S3Store, s3
from tests.conftest import free_port
from tests.servers.listening import ListeningProcess
from tests.storage.buckets import BUCKET, empty_place
from tests.unit.postprocess.store_contract import NAME, OTHER, PNG, AtomicStoreContract, StoreContract


class TestS3StoreOnMoto(AtomicStoreContract):
    @pytest.fixture
    def store(self, moto: ListeningProcess) -> S3Store:
        return S3Store(empty_place(moto))


class TestS3StoreOnS3rver(StoreContract):
    """Not the atomic one: s3rver itself writes in place."""

    @pytest.fixture
    def store(self, s3rver: ListeningProcess) -> S3Store:
        return S3Store(empty_place(s3rver))


async def test_two_prefixes_of_one_bucket_do_not_see_each_other(bucket: S3Config) -> None:
    await S3Store(bucket).put(NAME, b"one", PNG)
    with pytest.raises(RouteNotFound):
        await S3Store(bucket.model_copy(update={"prefix": bucket.prefix + "x"})).get(NAME)


async def fails_in(store: S3Store, *, least: float = 0.0) -> None:
    """All three calls fail, the slowest of them after `least` seconds."""
    slowest = 0.0
    calls = (
        (store.put(NAME, b"one", PNG), StorageFailed),
        (store.get(NAME), StoreUnavailable),
        (store.delete(NAME), StorageFailed),
    )
    for call, failure in calls:
        began = time.monotonic()
        with pytest.raises(failure) as caught:
            await call
        assert caught.value.__cause__ is not None
        slowest = max(slowest, time.monotonic() - began)
    assert slowest >= least


async def test_a_server_that_is_not_there_is_a_storage_failure() -> None:
    store = S3Store(S3Config(bucket=BUCKET, endpoint=f"http://127.0.0.1:{free_port()}"))
    await fails_in(store)


async def test_a_server_that_never_answers_is_a_storage_failure_in_limited_time(
    unsteady: ListeningProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "REQUEST_LIMIT", timedelta(seconds=1))
    monkeypatch.setattr(s3, "RETRYING_LIMIT", timedelta(seconds=0.5))
    unsteady.send(signal.SIGSTOP)
    store = S3Store(empty_place(unsteady))
    await fails_in(store, least=0.9)


async def test_a_bucket_that_is_not_there_is_a_storage_failure_and_not_an_absent_picture(bucket: S3Config) -> None:
    await fails_in(S3Store(bucket.model_copy(update={"bucket": "nobodys"})))


async def test_credentials_that_the_server_does_not_know_are_a_storage_failure(
    s3rver: ListeningProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    await fails_in(S3Store(S3Config(bucket=BUCKET, endpoint=s3rver.url)))


async def test_an_https_endpoint_is_never_asked_without_tls(moto: ListeningProcess) -> None:
    await fails_in(S3Store(S3Config(bucket=BUCKET, endpoint=moto.url.replace("http:", "https:"))))


async def test_pictures_arrive_when_a_server_that_was_away_is_back(unsteady: ListeningProcess) -> None:
    store = S3Store(empty_place(unsteady))
    spool = Spool(store, 10**9, time.time)
    await store.put(NAME, b"before", PNG)
    unsteady.stop()
    putting = asyncio.create_task(spool.put_all({NAME: b"one", OTHER: b"two"}, time.time() + 60))
    await asyncio.sleep(1.5)
    assert not putting.done()
    unsteady.start()
    await putting
    assert [(await store.get(name)).data for name in (NAME, OTHER)] == [b"one", b"two"]


async def test_pictures_arrive_when_a_server_that_hung_goes_on(unsteady: ListeningProcess) -> None:
    store = S3Store(empty_place(unsteady))
    unsteady.send(signal.SIGSTOP)
    putting = asyncio.create_task(Spool(store, 10**9, time.time).put_all({NAME: b"one"}, time.time() + 60))
    await asyncio.sleep(0.5)
    assert not putting.done()
    unsteady.send(signal.SIGCONT)
    await putting
    assert (await store.get(NAME)).data == b"one"


async def test_a_put_that_is_cancelled_ends_at_once_and_harms_nothing(unsteady: ListeningProcess) -> None:
    store = S3Store(empty_place(unsteady))
    unsteady.send(signal.SIGSTOP)
    putting = asyncio.create_task(store.put(NAME, b"one", PNG))
    await asyncio.sleep(0.2)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    unsteady.send(signal.SIGCONT)
    await store.put(NAME, b"two", PNG)
    assert (await store.get(NAME)).data == b"two"
