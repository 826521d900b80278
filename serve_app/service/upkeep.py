"""What a courier clears away: expired pictures, and what the records need not keep of ended jobs."""

import logging

from serve_app.config import WebhooksConfig
from serve_app.errors import StorageFailed
from serve_app.jobs.leases import Leases
from serve_app.jobs.outbox import Outbox
from serve_app.jobs.records import JobRecord
from serve_app.messages import picture_names
from serve_app.postprocess.storage import ObjectStore

logger = logging.getLogger(__name__)

DAY_S = 86400.0
IDEMPOTENCY_S = DAY_S
INPUTS_S = DAY_S
"""A job that failed or was cancelled can be retried for so long."""
AT_ONCE = 100


class Upkeep:
    """Any number of processes may do it at the same time. Methods raise RecordsUnavailable."""

    def __init__(self, leases: Leases, outbox: Outbox, store: ObjectStore, webhooks: WebhooksConfig) -> None:
        self._leases = leases
        self._outbox = outbox
        self._store = store
        self._webhooks = webhooks

    async def delete_pictures(self, now: float) -> int:
        """Delete the pictures of jobs whose time has come; of how many. What the store cannot do waits."""
        due = await self._leases.expired(now, AT_ONCE)
        try:
            for record in due:
                await self._delete(record)
        except StorageFailed as error:
            logger.warning("pictures are not deleted yet: %s", error)
        return len(due)

    async def forget(self, now: float) -> None:
        """Forget idempotency keys, init images that nobody will retry, and webhooks of long ago."""
        await self._leases.purge_idempotency(now - IDEMPOTENCY_S)
        await self._leases.purge_inputs(now - INPUTS_S)
        await self._outbox.purge(now - self._webhooks.keep_delivered_s, now - self._webhooks.keep_dead_s)

    async def _delete(self, record: JobRecord) -> None:
        for name in picture_names(record.file_prefix, len(record.links), record.temporary):
            await self._store.delete(name)
        await self._leases.forget_pictures(record.id)
