"""What a courier clears away: expired pictures, and what the records need not keep of ended jobs."""

import asyncio
import logging

from serve_app.config import RecordsConfig, WebhooksConfig
from serve_app.errors import RecordsUnavailable, StorageFailed
from serve_app.messages import picture_names
from serve_app.postprocess.storage import ObjectStore
from serve_app.records.clearing import Clearing, Expired
from serve_app.records.outbox import Outbox

logger = logging.getLogger(__name__)

DAY_S = 86400.0
IDEMPOTENCY_S = DAY_S
INPUTS_S = DAY_S
"""A job that failed or was cancelled can be retried for so long."""
TAKEN_AT_ONCE, DELETED_AT_ONCE = 100, 8
"""Jobs whose pictures one courier has taken to delete, and those that it deletes at a time."""
TAKEN_S, DELETING_S = 120.0, 100.0
"""For how long they are taken, and how long their deletion may take: what is not done by then is due again after."""


class Upkeep:
    """Any number of processes may do it at the same time. Methods raise RecordsUnavailable."""

    def __init__(
        self, clearing: Clearing, outbox: Outbox, store: ObjectStore, records: RecordsConfig, webhooks: WebhooksConfig
    ) -> None:
        self._clearing = clearing
        self._outbox = outbox
        self._store = store
        self._records = records
        self._webhooks = webhooks

    async def delete_pictures(self, now: float) -> int:
        """Delete the pictures of all jobs whose time has come; of how many. What the store cannot do waits."""
        deleted, room = 0, asyncio.Semaphore(DELETED_AT_ONCE)
        try:
            async with asyncio.timeout(DELETING_S):  # over all: the last are taken until the same moment as the first
                while taken := await self._clearing.take_expired(now, now + TAKEN_S, TAKEN_AT_ONCE):
                    deleted += sum(await asyncio.gather(*(self._delete(expired, room) for expired in taken)))
        except TimeoutError:
            logger.warning("the store takes long: %d jobs' pictures are deleted, others not yet", deleted)
        return deleted

    async def forget(self, now: float) -> None:
        """Forget idempotency keys, init images that nobody will retry, webhooks of long ago, and old jobs."""
        await self._clearing.purge_idempotency(now - IDEMPOTENCY_S)
        await self._clearing.purge_inputs(now - INPUTS_S)
        await self._outbox.purge(now - self._webhooks.keep_delivered_s, now - self._webhooks.keep_dead_s)
        if self._records.keep_s is not None:
            await self._clearing.purge_jobs(now - self._records.keep_s)

    async def _delete(self, expired: Expired, room: asyncio.Semaphore) -> bool:
        """Whether its pictures are deleted. One that cannot be deleted stops no other."""
        record = expired.record
        async with room:
            try:
                for name in picture_names(record.file_prefix, len(record.links), record.temporary):
                    await self._store.delete(name)
                await self._clearing.forget_pictures(record.id, expired.until)
            except (StorageFailed, RecordsUnavailable) as error:
                logger.warning("the pictures of job %d are not deleted yet: %s", record.id, error)
                return False
        return True
