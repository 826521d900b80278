"""Clearing away: what has expired goes, and nothing else does."""

import time
from pathlib import Path

import pytest

from serve_app.errors import RouteNotFound, StorageFailed
from serve_app.jobs.records import Idempotency
from serve_app.messages import picture_names
from serve_app.service.upkeep import DAY_S, Upkeep
from tests.unit.service.stand_in import Bench, bench


def upkeep_of(one: Bench) -> Upkeep:
    return Upkeep(one.leases, one.outbox, one.store, one.config.webhooks)


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
        await upkeep.delete_pictures(later)
        monkeypatch.setattr(one.store, "delete", delete)
        assert await upkeep.delete_pictures(later) == 1
        assert await upkeep.delete_pictures(later) == 0


async def test_idempotency_keys_are_kept_for_a_day(tmp_path: Path) -> None:
    key = Idempotency("a key", "0" * 64)
    async with bench(tmp_path) as one:
        upkeep = upkeep_of(one)
        first = await one.accept(key)
        await upkeep.forget(time.time() + DAY_S - 60)
        assert (await one.accept(key)).id == first.id
        await upkeep.forget(time.time() + DAY_S + 60)
        assert (await one.accept(key)).id != first.id


async def test_a_delivered_webhook_is_kept_for_a_month_and_its_job_tells_of_it_for_longer(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        upkeep = upkeep_of(one)
        job = await one.ended((await one.accept(webhook="https://good.test/hook")).id)
        now = time.time()
        (due,) = await one.outbox.claim("me", now + 9, now, 9, 9, {})
        await one.outbox.delivered(due.entry.id, "me", 200, now)
        for later, listed in ((30 * DAY_S - 60, 1), (30 * DAY_S + 60, 0)):
            await upkeep.forget(now + later)
            assert len(await one.outbox.listing(None, 9)) == listed
            assert (await one.watcher.view(job)).webhook_status == "delivered"
