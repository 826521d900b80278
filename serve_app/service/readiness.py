"""Whether the service could take a job now: each part is asked, and what does not answer is told by its name.

Asked however often, the parts are asked once in a while: everybody who comes meanwhile shares the answer.
"""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Mapping

from serve_app.errors import DarkroomError
from serve_app.service.replicas import BrokenOff

FRESH_S = 1.0
"""An answer is good for so long."""
PATIENCE_S = 2.0
"""A part that takes longer counts as missing."""
Check = Callable[[], Awaitable[object]]
"""Raises DarkroomError or BrokenOff where its part cannot do its work."""


class Readiness:
    """Belongs to one event loop. Make it outside of requests."""

    def __init__(
        self,
        parts: Mapping[str, Check],
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._patience_s = patience_s
        self._clock = clock
        # What is asked must not see the request that asks: Serve would cancel it as soon as that client hangs up.
        self._context = contextvars.copy_context()
        self._asked_at = -FRESH_S
        self._asking: asyncio.Task[tuple[str, ...]] | None = None  # the last round; written by missing()

    async def missing(self) -> tuple[str, ...]:
        """The names of what does not answer."""
        now = self._clock()
        if self._asking is None or (self._asking.done() and now - self._asked_at >= FRESH_S):
            self._asked_at = now
            self._asking = asyncio.get_running_loop().create_task(self._ask(), context=self._context.copy())
        return await asyncio.shield(self._asking)  # a caller that goes away takes nobody's answer along

    async def _ask(self) -> tuple[str, ...]:
        answers = await asyncio.gather(*(self._answers(check) for check in self._parts.values()))
        return tuple(name for name, good in zip(self._parts, answers, strict=True) if not good)

    async def _answers(self, check: Check) -> bool:
        try:
            async with asyncio.timeout(self._patience_s):
                await check()
        except (DarkroomError, BrokenOff, TimeoutError):
            return False
        return True
