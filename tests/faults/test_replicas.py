"""Processes of the service die or hang, one at a time."""

import asyncio
import signal
import time

import pytest

from tests.faults.client import STEPS
from tests.faults.service import DIFFUSION, INGRESS, PROXY, FaultService
from tests.faults.trial import Trial, check

NEW_SECONDS = 180


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.thorough)])
async def test_jobs_of_a_killed_diffusion_replica_run_again_with_the_same_picture(trial: Trial, kills: int) -> None:
    await trial.submit()
    for _ in range(kills):
        await trial.until_steps(trial.random.randint(1, STEPS // 4))
        trial.strikes()
        await _replaced(trial.service, DIFFUSION, signal.SIGKILL)
    check(await trial.finish(f"SIGKILL a diffusion replica {kills} x"))


@pytest.mark.thorough
async def test_a_diffusion_replica_that_hangs_is_replaced(trial: Trial) -> None:
    await trial.submit()
    await trial.until_steps(trial.random.randint(1, STEPS // 4))
    trial.strikes()
    await _replaced(trial.service, DIFFUSION, signal.SIGSTOP)
    check(await trial.finish("SIGSTOP a diffusion replica"))


@pytest.mark.thorough
async def test_jobs_of_a_killed_ingress_are_driven_by_others(trial: Trial) -> None:
    await trial.submit()
    await trial.until_steps(1)
    trial.strikes()
    await _replaced(trial.service, INGRESS, signal.SIGKILL)
    check(await trial.finish("SIGKILL an ingress replica"))


@pytest.mark.thorough
async def test_a_killed_proxy_loses_no_job(trial: Trial) -> None:
    await trial.submit()
    await trial.until_steps(1)
    trial.strikes()
    await _replaced(trial.service, PROXY, signal.SIGKILL)
    check(await trial.finish("SIGKILL the proxy"))


async def _replaced(service: FaultService, title: str, how: signal.Signals) -> None:
    """Strike the oldest process of this title and wait until it is gone and there is a new one."""
    before = service.pids(title)
    service.send(before[0], how)
    until = time.monotonic() + NEW_SECONDS
    while not set(now := service.pids(title)) - set(before) or before[0] in now:
        assert time.monotonic() < until, f"{title} was not replaced"
        await asyncio.sleep(0.5)
