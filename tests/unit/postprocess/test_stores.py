"""The two shipped stores keep the contract; the local one is atomic on disk and tells its failures."""

import asyncio
from pathlib import Path

import pytest

from serve_app.errors import StorageFailed
from serve_app.postprocess.storage import InMemoryStore, LocalStore
from tests.unit.postprocess.store_contract import NAME, PNG, StoreContract


class TestInMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> InMemoryStore:
        return InMemoryStore()


class TestLocalStore(StoreContract):
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


async def test_a_lost_folder_is_a_storage_failure(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "pictures")
    (tmp_path / "pictures").rmdir()
    (tmp_path / "pictures").write_bytes(b"")
    with pytest.raises(StorageFailed):
        await store.put(NAME, b"one", PNG)
    with pytest.raises(StorageFailed):
        await store.get(NAME)
    with pytest.raises(StorageFailed):
        await store.delete(NAME)
