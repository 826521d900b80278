"""Forecasts from real records: kept for a while, and true for jobs that came since."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serve_app.config import POCKET
from serve_app.records.database import Database, migrate
from serve_app.records.jobs import JobRecords
from serve_app.records.leases import Leases
from serve_app.service.forecast import KEPT_S, Estimate, Forecast
from tests.records.making import NOW, OURS, accept, heartbeat, outcome

COST = 100_000
"""Two seconds of the first guess."""


class Clock:
    """A time that tests set."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """Records in a file."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'records.sqlite'}"
    migrate(url)
    database = Database(url)
    yield database
    await database.close()


async def test_a_later_job_ends_later_and_knows_its_place(database: Database) -> None:
    records, clock = JobRecords(database), Clock()
    forecast = Forecast(records, POCKET, clock)
    jobs = [(await accept(records, id, cost=COST, created_at=NOW + id)).record for id in (1, 2, 3)]
    clock.now = NOW + 4
    told = [await forecast.estimate(job) for job in jobs]
    assert [estimate.queue_position for estimate in told] == [0, 1, 2]
    assert 0 < told[0].eta_s <= told[1].eta_s <= told[2].eta_s
    assert (await forecast.load()).queue_num == 3


async def test_a_forecast_is_kept_for_half_a_second_and_counts_down(database: Database) -> None:
    records, clock = JobRecords(database), Clock()
    forecast = Forecast(records, POCKET, clock)
    job = (await accept(records, 1, cost=COST)).record
    first = await forecast.estimate(job)
    clock.now += KEPT_S / 2
    assert (await forecast.estimate(job)).eta_s == pytest.approx(first.eta_s - KEPT_S / 2)
    newcomer = (await accept(records, 2, cost=COST, created_at=clock.now)).record
    assert (await forecast.estimate(newcomer)).eta_s >= first.eta_s
    assert (await forecast.load()).queue_num == 1
    clock.now += 60
    assert (await forecast.load()).queue_num == 2


async def test_an_ended_job_has_no_future(database: Database) -> None:
    records, leases = JobRecords(database), Leases(database)
    job = (await accept(records, 7)).record
    await leases.renew(OURS, [heartbeat(7, done=1, started_at=NOW)], NOW)
    await leases.end(7, job.fence, outcome(), NOW + 2)
    ended = await records.get(7)
    assert ended is not None
    assert await Forecast(records, POCKET, Clock()).estimate(ended) == Estimate(0.0, 0)
