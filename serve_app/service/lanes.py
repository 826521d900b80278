"""How many of a driver's jobs may be on a model's replicas at once: first come, first served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serve_app.config import ModelEntry
from serve_app.service.quarantine import Quarantine
from serve_app.service.replicas import Suspicion


class Lane:
    """One model's. Belongs to one event loop."""

    def __init__(self, entry: ModelEntry) -> None:
        self._places = asyncio.Semaphore(entry.max_jobs * entry.num_replicas)
        self.quarantine = Quarantine(entry.num_replicas)

    @asynccontextmanager
    async def place(self, id: int) -> AsyncIterator[Suspicion | None]:
        """Hold a place for a job; for a suspect once it is its group's turn."""
        if not self.quarantine.has(id):
            async with self._places:
                yield None
            return
        async with self.quarantine.turn(id) as suspicion, self._places:
            yield suspicion
