"""Delivers the outbox: claims what is due, sends it, marks the outcome. A courier calls `round` every second.

A receiver that hangs holds its own host's slots and nobody else's.
"""

import asyncio
import logging
import time
from collections import Counter

from serve_app.config import WebhooksConfig
from serve_app.errors import RecordsUnavailable
from serve_app.records.outbox import Due, HookState, Outbox
from serve_app.webhooks.sending import Clock, Sender, Verdict

logger = logging.getLogger(__name__)

LEASE_SPARE_S = 10.0
"""A lease outlives the longest attempt by this, for the mark. After a courier's death nothing waits longer."""
MARK_PAUSE_S = 0.5


class Deliverer:
    """One per courier, with an `owner` that no other process has.

    A webhook is sent at least once: who dies between sending and marking leaves its lease to run out, and the
    next courier sends again, with the same webhook-id.
    """

    def __init__(
        self, outbox: Outbox, sender: Sender, config: WebhooksConfig, owner: str, clock: Clock = time.time
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._config = config
        self._owner = owner
        self._clock = clock
        self._claiming = asyncio.Lock()
        # Each running delivery's host. Written by _start and _ended.
        self._under_way: dict[asyncio.Task[None], str] = {}
        # A slot is free since the last claim; there is one refill at a time. Written by _ended and _refill_slots.
        self._freed = False
        self._refill: asyncio.Task[None] | None = None
        self._closing = False

    async def round(self, now: float) -> int:
        """Claim what is due and there is room for, and begin to deliver it; how many that were.

        Returns before they are delivered. Raises RecordsUnavailable.
        """
        async with self._claiming:
            if self._closing:
                return 0
            dues = await self._claim(now)
            for due in dues:
                self._start(due)
            return len(dues)

    async def _claim(self, now: float) -> list[Due]:
        return await self._outbox.claim(
            self._owner,
            until=now + self._config.timeout_s + LEASE_SPARE_S,
            now=now,
            limit=self._config.at_once - len(self._under_way),
            per_host=self._config.per_host,
            busy=Counter(self._under_way.values()),
            first_pause_s=self._config.schedule_s[0],
        )

    def _start(self, due: Due) -> None:
        task = asyncio.create_task(self._deliver(due), name=f"webhook {due.entry.id}")
        self._under_way[task] = due.entry.host
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Give the slot on at once: a fast host must not wait for the next round with every four of its webhooks."""
        del self._under_way[task]
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s was not sent or not marked", task.get_name(), exc_info=task.exception())
        self._freed = True
        if not self._closing and (self._refill is None or self._refill.done()):
            self._refill = asyncio.create_task(self._refill_slots())

    async def _refill_slots(self) -> None:
        while self._freed and not self._closing:
            self._freed = False
            try:
                await self.round(self._clock())
            except RecordsUnavailable as error:
                logger.warning("no webhooks can be claimed: %s", error)

    async def _deliver(self, due: Due) -> None:
        verdict = await self._sender.send(due)
        ended = self._clock()
        while not await self._marked(due, verdict, ended):
            await asyncio.sleep(MARK_PAUSE_S)
        if verdict.gone:
            await self._outbox.disable(due.entry.key_name, due.entry.url, ended)

    async def _marked(self, due: Due, verdict: Verdict, ended: float) -> bool:
        """Whether nothing is left to do; False where the records are away and the lease holds."""
        try:
            if not await self._mark(due.entry.id, verdict, ended):
                logger.warning("webhook %s was sent but its lease was lost; it may be sent again", due.entry.id)
            return True
        except RecordsUnavailable:
            if self._clock() >= due.lease_until:
                raise
            return False

    async def _mark(self, id: str, verdict: Verdict, ended: float) -> bool:
        if verdict.state == HookState.DELIVERED:
            assert verdict.status is not None
            return await self._outbox.delivered(id, self._owner, verdict.status, ended)
        if verdict.state == HookState.DEAD:
            return await self._outbox.dead(id, self._owner, verdict.status, verdict.error, ended)
        return await self._outbox.again(id, self._owner, verdict.status, verdict.error, ended + verdict.pause_s)

    async def close(self, grace_s: float = 2.0) -> None:
        """Begin nothing more, wait so long for what is under way, break the rest off and give it back."""
        self._closing = True
        async with self._claiming:
            under_way = set(self._under_way)
        if under_way:
            _, late = await asyncio.wait(under_way, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._refill is not None:
            await self._refill
        await self._give_back()

    async def _give_back(self) -> None:
        try:
            await self._outbox.release(self._owner)
        except RecordsUnavailable as error:
            logger.warning("the leases of webhooks run out by themselves: %s", error)
