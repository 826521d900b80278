"""Who waited for a job to its end is told where the time went, and nobody else."""

import asyncio
from pathlib import Path

import pytest

from serve_app.errors import Overloaded
from serve_app.service.replicas import BrokenOff
from serve_app.service.runs import PAUSE_S
from serve_app.service.stopwatch import Stage
from tests.unit.service.stand_in import bench

ALL = [Stage.REACH, Stage.QUEUE, Stage.ENGINE, Stage.HANDOVER, Stage.FINISH, Stage.END]
ENGINE_S, QUEUED_S = 0.5, 0.25
"""What the scripted replicas say."""


async def test_a_job_that_was_awaited_here_tells_all_stages_of_its_way(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        laps = (await one.watcher.awaited(await one.accept(), 8.0)).laps
        assert (list(laps), laps[Stage.ENGINE]) == (ALL, ENGINE_S)
        assert laps[Stage.QUEUE] >= QUEUED_S


async def test_waiting_for_a_replica_that_has_room_is_waiting_in_a_queue(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.append(Overloaded("full"))
        laps = (await one.watcher.awaited(await one.accept(), 8.0)).laps
        assert laps[Stage.QUEUE] >= QUEUED_S + PAUSE_S


async def test_time_of_an_attempt_that_broke_off_is_not_lost(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.append(BrokenOff("killed"))
        laps = (await one.watcher.awaited(await one.accept(), 8.0)).laps
        assert laps[Stage.REACH] + laps[Stage.ENGINE] + laps[Stage.HANDOVER] >= 0.5


@pytest.mark.parametrize("within_s", [0.0, 0.2])
async def test_a_job_that_has_not_ended_tells_nothing(tmp_path: Path, within_s: float) -> None:
    async with bench(tmp_path) as one:
        one.replicas.script.append(asyncio.Event())
        assert (await one.watcher.awaited(await one.accept(), within_s)).laps == {}


async def test_a_job_that_another_process_drove_tells_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as driver, bench(tmp_path, driver.store) as other:
        seen = await other.watcher.awaited(await driver.accept(), 8.0)
        assert (seen.view.state, seen.laps) == ("success", {})
