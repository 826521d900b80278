"""Clearing away: what has expired goes, and nothing else does."""

import asyncio
import time
from pathlib import Path

import pytest

from serve_app.errors import RouteNotFound, StorageFailed
from serve_app.messages import picture_names
from serve_app.records.clearing import Clearing
from serve_app.service.upkeep import DAY_S, TAKEN_S, Upkeep
from tests.unit.service.stand_in import Bench, bench


def upkeep_of(one: Bench, **records: float | None) -> Upkeep:
    settings = one.config.records.model_copy(update=records)
    return Upkeep(Clearing(one.database), one.outbox, one.store, settings, one.config.webhooks)


async def test_pictures_of_temporary_jobs_go_when_their_links_have_expired(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        upkeep = upkeep_of(one)
        kept, temporary = [await one.ended((await one.accept(temp=temp, samples=2)).id) for temp in ("no", "yes")]
        now = time.time()
        assert await upkeep.delete_pictures(now + DAY_S - 60) == 0
        assert await upkeep.delete_pictures(now + DAY_S + 60) == 1
        assert await upkeep.delete_pictures(now + DAY_S + 60) == 0
        for name in picture_names(temporary.file_prefix, 2, temporary=True):
            with pytest.raises(RouteNotFound):
                await one.store.get(name)
        for name in picture_names(kept.file_prefix, 2, temporary=False):
            await one.store.get(name)


async def test_a_store_that_is_away_is_asked_again_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(tmp_path) as one:
        upkeep = upkeep_of(one)
        await one.ended((await one.accept(temp="yes")).id)
        later, delete = time.time() + 2 * DAY_S, one.store.delete

        async def away(_: str) -> None:
            raise StorageFailed("away")

        monkeypatch.setattr(one.store, "delete", away)
        assert await upkeep.delete_pictures(later) == 0
        monkeypatch.setattr(one.store, "delete", delete)
        assert await upkeep.delete_pictures(later + TAKEN_S) == 1
        assert await upkeep.delete_pictures(later + TAKEN_S) == 0


async def test_all_that_has_expired_goes_in_one_round_but_for_what_cannot_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.service.upkeep.TAKEN_AT_ONCE", 2)
    async with bench(tmp_path) as one:
        upkeep = upkeep_of(one)
        first, *_ = [await one.ended((await one.accept(temp="yes")).id) for _ in range(7)]
        later, delete = time.time() + 2 * DAY_S, one.store.delete

        async def stubborn(name: str) -> None:
            if first.file_prefix in name:
                raise StorageFailed("it stays")
            await delete(name)

        monkeypatch.setattr(one.store, "delete", stubborn)
        assert await upkeep.delete_pictures(later) == 6
        assert await upkeep.delete_pictures(later) == 0


async def test_all_deleting_ends_before_what_was_taken_is_due_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.service.upkeep.TAKEN_AT_ONCE", 1)
    monkeypatch.setattr("serve_app.service.upkeep.DELETING_S", 0.5)
    async with bench(tmp_path) as one:
        for _ in range(4):
            await one.ended((await one.accept(temp="yes")).id)

        async def slow(_: str) -> None:
            await asyncio.sleep(0.3)

        monkeypatch.setattr(one.store, "delete", slow)
        assert await upkeep_of(one).delete_pictures(time.time() + 2 * DAY_S) < 4


async def test_ended_jobs_are_forgotten_after_a_month_or_when_the_configuration_says(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        job, now = await one.ended((await one.accept()).id), time.time()
        await upkeep_of(one, keep_s=None).forget(now + 9999 * DAY_S)
        await upkeep_of(one).forget(now + 30 * DAY_S - 60)
        await upkeep_of(one, keep_s=3600.0).forget(now + 3500)
        assert await one.records.get(job.id) is not None
        await upkeep_of(one, keep_s=3600.0).forget(now + 3700)
        assert await one.records.get(job.id) is None
        other = await one.ended((await one.accept()).id)
        await upkeep_of(one).forget(time.time() + 30 * DAY_S + 60)
        assert await one.records.get(other.id) is None
