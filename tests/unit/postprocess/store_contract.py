"""What every object store keeps to. A test class inherits `StoreContract` and gives a `store` fixture."""

import asyncio

import pytest

from serve_app.errors import RouteNotFound, StorageFailed
from serve_app.postprocess.storage import ObjectStore, StoredFile

NAME = "6ef3f81f-0d5a-4b7e-9c3e-2f1a0b9c8d7e-0.png"
OTHER = "6ef3f81f-0d5a-4b7e-9c3e-2f1a0b9c8d7e-1.png"
TEMPORARY = f"temp/{NAME}"
PNG = "image/png"
BAD_NAMES = (
    "",
    ".",
    "..",
    "0.png",
    f"../{NAME}",
    f"..%2f{NAME}",
    f"/{NAME}",
    f"sub/{NAME}",
    "temp/",
    f"temp/temp/{NAME}",
    f"temp/../{NAME}",
    f"temp//{NAME}",
    f"temp%2f{NAME}",
    f"/temp/{NAME}",
    f"TEMP/{NAME}",
    f"temp.{NAME}",
    f"sub\\{NAME}",
    f"{NAME}/..",
    f"{NAME}\n",
    f"{NAME}\0",
    f" {NAME}",
    f"{NAME}#1",
    NAME.upper(),
    NAME.replace("-0.png", "-٣.png"),
    NAME.replace("-0.png", "-.png"),
    NAME.replace(".png", ".html"),
    NAME.replace(".png", ".png.html"),
    "-" * 36 + "-0.png",
)


class StoreContract:
    """Subclasses define a fixture `store` that returns an empty store."""

    async def test_what_is_put_is_got_with_its_type(self, store: ObjectStore) -> None:
        await store.put(NAME, b"one", PNG)
        await store.put(OTHER, b"two", PNG)
        assert await store.get(NAME) == StoredFile(b"one", PNG)
        assert await store.get(OTHER) == StoredFile(b"two", PNG)

    async def test_a_temporary_picture_is_not_reached_by_the_permanent_name(self, store: ObjectStore) -> None:
        await store.put(TEMPORARY, b"one", PNG)
        assert (await store.get(TEMPORARY)).data == b"one"
        with pytest.raises(RouteNotFound):
            await store.get(NAME)
        await store.put(NAME, b"two", PNG)
        await store.delete(TEMPORARY)
        with pytest.raises(RouteNotFound):
            await store.get(TEMPORARY)
        assert (await store.get(NAME)).data == b"two"

    async def test_a_second_put_replaces_the_first(self, store: ObjectStore) -> None:
        await store.put(NAME, b"a long first file", PNG)
        await store.put(NAME, b"short", PNG)
        assert (await store.get(NAME)).data == b"short"

    async def test_a_file_that_was_never_put_is_not_found(self, store: ObjectStore) -> None:
        with pytest.raises(RouteNotFound):
            await store.get(NAME)

    async def test_a_deleted_file_is_not_found_and_others_stay(self, store: ObjectStore) -> None:
        await store.put(NAME, b"one", PNG)
        await store.put(OTHER, b"two", PNG)
        await store.delete(NAME)
        with pytest.raises(RouteNotFound):
            await store.get(NAME)
        assert (await store.get(OTHER)).data == b"two"

    async def test_deleting_what_is_not_there_is_no_error(self, store: ObjectStore) -> None:
        await store.delete(NAME)
        await store.delete(NAME)

    @pytest.mark.parametrize("name", BAD_NAMES)
    async def test_a_name_that_is_not_a_pictures_is_refused(self, store: ObjectStore, name: str) -> None:
        with pytest.raises(StorageFailed):
            await store.put(name, b"one", PNG)
        with pytest.raises(RouteNotFound):
            await store.get(name)
        with pytest.raises(StorageFailed):
            await store.delete(name)

    @pytest.mark.parametrize("content_type", ["text/html", "image/jpeg", ""])
    async def test_a_type_that_does_not_fit_the_suffix_is_refused(self, store: ObjectStore, content_type: str) -> None:
        with pytest.raises(StorageFailed):
            await store.put(NAME, b"one", content_type)
        with pytest.raises(RouteNotFound):
            await store.get(NAME)


class AtomicStoreContract(StoreContract):
    """What S3 and every store for production keep to as well."""

    async def test_a_reader_sees_the_old_file_or_the_new_one_never_a_mixture(self, store: ObjectStore) -> None:
        versions = [bytes([n]) * 2_000_000 for n in range(4)]
        await store.put(NAME, versions[0], PNG)
        writing = asyncio.create_task(self._put_in_turn(store, versions))
        reads = 0
        while not writing.done() or reads == 0:
            assert (await store.get(NAME)).data in versions
            reads += 1
        await writing

    async def _put_in_turn(self, store: ObjectStore, versions: list[bytes]) -> None:
        for version in versions:
            await store.put(NAME, version, PNG)
