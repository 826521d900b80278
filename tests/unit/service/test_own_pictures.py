"""Our own links as init images: read from the store, checked as their readers are, and no other link with them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serve_app.config import ApiConfig, StorageConfig
from serve_app.errors import ImageFetchFailed
from serve_app.records.jobs import JobRecord
from serve_app.service.own_pictures import OwnPictures
from tests.unit.service.stand_in import Bench, bench


@dataclass
class Clock:
    """A time that tests set."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


def own(one: Bench, now: float = 0.0, **public: str | None) -> OwnPictures:
    api, storage = ApiConfig(public_url=public.get("api")), StorageConfig(public_url=public.get("storage"))
    config = one.config.model_copy(update={"api": api, "storage": storage})
    return OwnPictures(config, one.records, one.store, Clock(now))


async def ended(one: Bench, **fields: object) -> JobRecord:
    return await one.ended((await one.accept(None, **fields)).id)


async def reason(pictures: OwnPictures, link: str) -> str:
    with pytest.raises(ImageFetchFailed) as caught:
        await pictures.read(link)
    return caught.value.reason


@pytest.mark.parametrize("temp", ["no", "yes"])
async def test_a_link_as_it_was_told_gives_its_file(one: Bench, temp: str) -> None:
    record = await ended(one, temp=temp, samples=2)
    for link in record.links:
        data = await own(one).read(link + "#part")
        assert data is not None
        assert data.startswith(b"\x89PNG")


async def test_a_permanent_picture_is_known_by_where_it_is_served(one: Bench) -> None:
    name = (await ended(one)).links[0].rpartition("/")[2]
    public = own(one, api="https://our.test/sub/", storage="https://cdn.test/bucket")
    for link in (f"https://our.test/sub/files/{name}", f"https://cdn.test/bucket/{name}"):
        assert await public.read(link) is not None


async def test_links_that_look_like_ours_are_left_to_the_guard(one: Bench) -> None:
    permanent, temporary = (await ended(one)).links[0], (await ended(one, temp="yes")).links[0]
    name = permanent.rpartition("/")[2]
    public = own(one, api="https://our.test")
    for link in (
        *(f"http://here.test.evil.test/files/{name}", f"http://evil.test/files/{name}", f"http://evil.test/{name}"),
        *(f"http://here.test@evil.test/files/{name}", f"https://our.test.evil.test/files/{name}"),
        *(f"https://our.test:444/files/{name}", f"http://our.test/files/{name}", f"https://our.test/files/../{name}"),
        *(f"https://our.test/other/{name}", permanent + "?x=1", permanent.replace("here", "HERE2")),
        *(temporary[:-1] + ("0" if temporary[-1] != "0" else "1"), temporary.partition("?")[0]),
        *(temporary.replace("temp/", ""), permanent.replace("/files/", "/files/temp/")),
        *(permanent.replace(name[:8], "00000000"), "http://here.test/healthz", "http://here.test/files/keys.json"),
    ):
        assert await public.read(link) is None, link


async def test_a_link_that_has_expired_or_whose_picture_is_gone_says_so(one: Bench) -> None:
    temporary, permanent = await ended(one, temp="yes"), await ended(one)
    late = own(one, now=temporary.created_at + one.config.storage.temporary_s)
    assert await reason(late, temporary.links[0]) == "the link has expired"
    await one.store.delete(permanent.links[0].rpartition("/")[2])
    assert await reason(own(one), permanent.links[0]) == "the picture is no longer kept"


async def test_a_future_link_says_that_its_picture_is_not_there_yet(one: Bench) -> None:

    one.replicas.script.append(asyncio.Event())
    record = await one.accept()
    assert await reason(own(one), record.links[0]) == "the picture is not finished yet"
