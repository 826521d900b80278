"""The stores without a server keep the contract; the local one is atomic and durable on disk and tells its failures."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.errors import RouteNotFound, StorageFailed, StoreUnavailable
from serve_app.postprocess.storage import InMemoryStore, LocalStore
from tests.unit.postprocess.store_contract import NAME, OTHER, PNG, TEMPORARY, AtomicStoreContract


class TestInMemoryStore(AtomicStoreContract):
    @pytest.fixture
    def store(self) -> InMemoryStore:
        return InMemoryStore()


class TestLocalStore(AtomicStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path)


async def test_a_file_never_stands_half_written_under_its_name(tmp_path: Path) -> None:
    store, path, whole = LocalStore(tmp_path), tmp_path / NAME, 40_000_000
    putting = asyncio.create_task(store.put(NAME, bytes(whole), PNG))
    sizes, others = set(), set()
    while not putting.done():
        await asyncio.sleep(0)
        sizes.add(path.stat().st_size if path.exists() else None)
        others |= {other.name for other in tmp_path.iterdir()} - {NAME}
    await putting
    assert all(name.endswith(".partial") for name in others)
    assert others, "the watch never saw the file under way, so it would not have seen a half one"
    assert sizes <= {None, whole}
    assert [left.name for left in tmp_path.iterdir()] == [NAME]


async def test_the_folder_is_made_and_files_outlive_the_store(tmp_path: Path) -> None:
    await LocalStore(tmp_path / "new" / "pictures").put(NAME, b"one", PNG)
    assert (tmp_path / "new" / "pictures" / NAME).read_bytes() == b"one"
    assert (await LocalStore(tmp_path / "new" / "pictures").get(NAME)).data == b"one"


async def test_nothing_is_read_from_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"outside")
    store = LocalStore(tmp_path / "inside")
    for name in (f"../{NAME}", str(tmp_path / NAME)):
        with pytest.raises(Exception, match="not a picture's name"):
            await store.get(name)


def test_a_store_that_cannot_be_opened_is_a_storage_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed) as caught:
        LocalStore(tmp_path / "file" / "pictures")
    assert caught.value.__cause__ is not None


async def test_a_put_that_fails_is_a_storage_failure_from_theirs(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (tmp_path / NAME).mkdir()
    with pytest.raises(StorageFailed) as caught:
        await store.put(NAME, b"one", PNG)
    assert caught.value.__cause__ is not None
    assert NAME in caught.value.detail


async def test_a_lost_folder_fails_jobs_and_is_unavailable_to_readers(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "pictures")
    (tmp_path / "pictures").rmdir()
    (tmp_path / "pictures").write_bytes(b"")
    with pytest.raises(StorageFailed):
        await store.put(NAME, b"one", PNG)
    with pytest.raises(StoreUnavailable):
        await store.get(NAME)
    with pytest.raises(StorageFailed):
        await store.delete(NAME)


async def test_a_picture_is_on_the_disk_before_its_job_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's bytes before it has its name, and then the folder, which holds the name."""
    store, synced = LocalStore(tmp_path), list[str]()
    real = os.fsync

    def fsync(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        synced.append(
            "folder" if path.is_dir() else f"{path.suffix} {path.stat().st_size} {(tmp_path / NAME).exists()}"
        )
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    await store.put(NAME, b"one", PNG)
    assert synced == [".partial 3 False", "folder"]


async def test_two_writers_of_one_name_leave_one_whole_file(tmp_path: Path) -> None:
    first, second = LocalStore(tmp_path), LocalStore(tmp_path)
    versions = [bytes([n]) * 3_000_000 for n in range(6)]
    writers = ((first, second)[n % 2].put(NAME, version, PNG) for n, version in enumerate(versions))
    await asyncio.gather(*writers)
    assert (await first.get(NAME)).data in versions
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


async def test_a_folder_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "pictures")
    (tmp_path / "pictures").rmdir()
    await store.put(TEMPORARY, b"one", PNG)
    assert (await store.get(TEMPORARY)).data == b"one"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounting.returncode != 0:
        pytest.skip(f"no small disk could be mounted: {mounting.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


async def test_a_full_disk_is_a_storage_failure_that_leaves_nothing_and_ends_when_there_is_room(
    small_disk: Path,
) -> None:
    store = LocalStore(small_disk)
    await store.put(NAME, bytes(700_000), PNG)
    with pytest.raises(StorageFailed, match="No space left"):
        await store.put(OTHER, bytes(600_000), PNG)
    with pytest.raises(RouteNotFound):
        await store.get(OTHER)
    assert [path.name for path in small_disk.iterdir()] == [NAME]
    await store.delete(NAME)
    await store.put(OTHER, bytes(600_000), PNG)
    assert len((await store.get(OTHER)).data) == 600_000
