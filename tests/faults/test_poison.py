"""A job that kills every replica it runs on."""

import asyncio
import time

import pytest

from serve_app.config import RecordsConfig
from tests.faults.service import DIFFUSION
from tests.faults.trial import SEEDS, Trial, check

pytestmark = [pytest.mark.timeout(1200), pytest.mark.thorough]
KILLS = RecordsConfig().max_attempts
RUN_SECONDS = 240
LONG: dict[str, object] = {"num_inference_steps": 50, "width": 256, "height": 256, "samples": 2}
"""So that the poison is seen running in time."""


async def test_a_job_that_kills_replicas_is_quarantined_and_takes_nobody_with_it(trial: Trial) -> None:
    poison_seed, *innocent = SEEDS
    await trial.submit([poison_seed], **LONG)
    await trial.submit(innocent)
    poison = trial.jobs[0]
    trial.doomed.add(poison.id)
    for kill in range(KILLS):
        await _until_it_runs(trial, attempts=kill)
        trial.strikes()
        for pid in trial.service.pids(DIFFUSION):
            trial.service.send(pid)
    check(await trial.finish("a poison job kills every replica it runs on"))
    told = await trial.client.look(poison)
    assert (told["attempts"], told["status"]) == (KILLS, "failed")
    assert told["message"]
    struck = [told["attempts"] for told in (await trial.seen())[1:]]
    assert max(struck) <= 1, f"an innocent job died with the poison more than once: {struck}"


async def _until_it_runs(trial: Trial, attempts: int) -> None:
    until = time.monotonic() + RUN_SECONDS
    while True:
        told = await trial.client.look(trial.jobs[0])
        assert told["ended_at"] is None, told
        if told["attempts"] == attempts and told["progress"]["done"] > 0:
            return
        assert time.monotonic() < until, f"the poison does not run: {told}"
        await asyncio.sleep(0.1)
