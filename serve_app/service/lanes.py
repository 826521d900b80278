"""How many of a driver's jobs may be on a model's replicas at once: first come, first served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serve_app.config import ModelEntry


class Lane:
    """One model's. Belongs to one event loop."""

    def __init__(self, entry: ModelEntry) -> None:
        self._places = asyncio.Semaphore(entry.max_jobs * entry.num_replicas)
        self._suspects = asyncio.Lock()

    @asynccontextmanager
    async def place(self, *, suspect: bool) -> AsyncIterator[None]:
        """Hold a place. Suspects, whose replica died once, go one at a time: one of them may be what kills it."""
        if not suspect:
            async with self._places:
                yield
            return
        async with self._suspects, self._places:
            yield
