"""Drives jobs whose driver is gone, delivers webhooks, clears away what has expired. Any number may run."""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial

from ray.serve.handle import DeploymentHandle

from deployments.records import Parts
from serve_app.config import AppConfig
from serve_app.errors import RecordsUnavailable
from serve_app.inputs.post import GuardedPoster
from serve_app.records.clearing import Clearing
from serve_app.records.outbox import Outbox
from serve_app.service.runs import job_again
from serve_app.service.upkeep import Upkeep
from serve_app.webhooks.deliverer import Deliverer
from serve_app.webhooks.secrets import HookSecrets
from serve_app.webhooks.sending import Sender

logger = logging.getLogger("ray.serve")

ORPHANS_AT_ONCE = 64
"""Jobs that one courier drives at a time."""
CLAIMED_AT_ONCE = 16
CLEAR_S = 10.0
FORGET_S = 600.0


class Courier:
    """Looks for work every `courier.sweep_s`."""

    def __init__(self, config: AppConfig, models: dict[str, DeploymentHandle], postprocess: DeploymentHandle) -> None:
        self._sweep_s = config.courier.sweep_s
        self._parts = parts = Parts(config, models, postprocess)
        self._poster = GuardedPoster(config.webhooks)
        sender = Sender(HookSecrets(parts.database), self._poster, config.webhooks, time.time, random.Random())
        outbox = Outbox(parts.database)
        self._deliverer = Deliverer(outbox, sender, config.webhooks, str(uuid.uuid4()))
        self._upkeep = Upkeep(Clearing(parts.database), outbox, parts.store, config.records, config.webhooks)
        parts.driver.start()
        self._tasks = [
            asyncio.create_task(self._every(self._sweep_s, self._claim), name="claim"),
            asyncio.create_task(self._every(self._sweep_s, self._deliverer.round), name="deliver"),
            asyncio.create_task(self._every(CLEAR_S, self._upkeep.delete_pictures), name="clear"),
            asyncio.create_task(self._every(FORGET_S, self._upkeep.forget), name="forget"),
        ]

    def check_health(self) -> None:
        """Ray's health check: every task goes on."""
        ended = [task.get_name() for task in self._tasks if task.done()]
        if ended or not self._parts.driver.alive:
            raise RuntimeError(f"ended: {', '.join(ended) or 'rounds'}")

    async def _every(self, pause_s: float, work: Callable[[float], Awaitable[object]]) -> None:
        while True:
            try:
                await work(time.time())
            except RecordsUnavailable as error:
                logger.warning("the courier waits for the records: %s", error)
            await asyncio.sleep(pause_s)

    async def _claim(self, now: float) -> None:
        driver = self._parts.driver
        room = min(CLAIMED_AT_ONCE, ORPHANS_AT_ONCE - driver.jobs)
        for claimed in await self._parts.leases.claim(
            driver.lease(), now, room if room > 0 else CLAIMED_AT_ONCE, only_over=room <= 0
        ):
            logger.warning("job %d lost its driver and is driven here", claimed.record.id)
            driver.drive(claimed.record, partial(job_again, claimed))

    async def __del__(self) -> None:
        """Serve calls it before it ends the process: everything that was claimed goes back."""
        for task in self._tasks:
            task.cancel()
        await self._deliverer.close()
        await self._poster.close()
        await self._parts.close()
