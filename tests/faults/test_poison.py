"""A job that kills every replica it runs on."""

import asyncio
import time
from math import ceil, log2

import pytest

from serve_app.config import RecordsConfig
from tests.faults.service import DIFFUSION
from tests.faults.trial import SEEDS, Trial, check

pytestmark = [pytest.mark.timeout(1200), pytest.mark.thorough]
LEAST = RecordsConfig().max_attempts
RUN_SECONDS = 240
LONG: dict[str, object] = {"num_inference_steps": 50, "width": 256, "height": 256, "samples": 2}
"""So that the poison is seen running in time."""


async def test_a_job_that_kills_replicas_is_found_and_takes_nobody_with_it(trial: Trial) -> None:
    poison_seed, *innocent = SEEDS
    await trial.submit([poison_seed], **LONG)
    await trial.submit(innocent)
    poison = trial.jobs[0]
    trial.doomed.add(poison.id)
    kills = 0
    while await _runs_again(trial, attempts=kills):
        trial.strikes()
        for pid in trial.service.pids(DIFFUSION):
            trial.service.send(pid)
        kills += 1
    check(await trial.finish("a poison job kills every replica it runs on"))
    told = await trial.client.look(poison)
    assert (told["attempts"], told["status"]) == (kills, "failed")
    assert LEAST <= kills <= 1 + ceil(log2(len(SEEDS))), "one death, and one for each halving"
    assert told["message"]


async def _runs_again(trial: Trial, attempts: int) -> bool:
    """Whether the poison runs, after so many deaths; False once it has ended."""
    until = time.monotonic() + RUN_SECONDS
    while True:
        told = await trial.client.look(trial.jobs[0])
        if told["ended_at"] is not None:
            return False
        if told["attempts"] == attempts and told["progress"]["done"] > 0:
            return True
        assert time.monotonic() < until, f"the poison does not run: {told}"
        await asyncio.sleep(0.1)
