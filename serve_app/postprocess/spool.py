"""Where finished pictures wait while the store does not take them: this process's memory, bounded in bytes.

Memory and not a disk: if this process dies its jobs are run again and give the very same bytes.

Nothing is removed here, also where a job fails or is cancelled half stored. An attempt cannot know
whether a later one has stored the same names since and told its client so; whoever ends the job in the
records knows, and has its pictures deleted, see `LANDED_AFTER_S`.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from serve_app.errors import StorageFailed
from serve_app.postprocess.storage import PNG_TYPE, ObjectStore
from serve_app.postprocess.storage.seam import require_name

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
"""A store that is back gets the pictures within this time."""
SHORTEST_SHARE = 0.5
"""Pauses are shortened by chance, down to this share, so that jobs do not come back all at once."""
LANDED_AFTER_S = 30.0
"""A put that was under way when its job was cancelled is done or dead after this: only then delete its file."""
logger = logging.getLogger(__name__)

Clock = Callable[[], float]
"""Seconds since 1970."""
Sleep = Callable[[float], Awaitable[None]]


@dataclass(eq=False, slots=True)
class _Place:
    """One job's room, or its place in the line for it."""

    size: int
    free: asyncio.Event = field(default_factory=asyncio.Event)  # set once, by Spool._admit


class Spool:
    """Puts jobs' pictures into a store that may be away. Belongs to one event loop."""

    def __init__(self, store: ObjectStore, max_bytes: int, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._clock = clock
        self._sleep = sleep
        self._line: deque[_Place] = deque()  # first come, first served
        self._inside: set[_Place] = set()

    @property
    def waiting_bytes(self) -> int:
        """What the jobs inside hold or may come to hold."""
        return sum(place.size for place in self._inside)

    @property
    def waiting_jobs(self) -> int:
        """Jobs whose pictures are not stored yet, those without room too."""
        return len(self._inside) + len(self._line)

    @asynccontextmanager
    async def room(self, size: int, deadline_at: float) -> AsyncIterator[None]:
        """Hold room for `size` bytes of pictures, best taken before they are made.

        Waits for it, in line; a job larger than the whole spool gets it alone. Raises StorageFailed
        where there is none until `deadline_at`, in seconds since 1970.
        """
        place = _Place(size)
        self._line.append(place)
        self._admit()
        try:
            await self._until_free(place, deadline_at)
            yield
        finally:
            self._leave(place)

    async def put_all(self, pictures: Mapping[str, bytes], deadline_at: float) -> None:
        """Store PNGs by their names, all of them, trying again with growing pauses those that fail.

        Tries at least once, and for the last time at `deadline_at`, in seconds since 1970; then raises
        StorageFailed, and some may be stored. A bad name is a StorageFailed at once, and none is stored.
        """
        for name in pictures:
            require_name(name)
        missing = dict(pictures)
        for pause in _pauses():
            failures = await self._tried(missing)
            if not failures:
                return
            left = deadline_at - self._clock()
            first = next(iter(failures.values()))
            if left <= 0:
                raise first
            logger.warning("%d pictures wait, tried again in %.1f s: %s", len(failures), min(pause, left), first.detail)
            missing = {name: missing[name] for name in failures}
            await self._sleep(min(pause, left))

    async def _tried(self, pictures: Mapping[str, bytes]) -> dict[str, StorageFailed]:
        """Put all at once; the failures of those that failed."""
        answers = await asyncio.gather(*(self._put(name, png) for name, png in pictures.items()))
        return {name: answer for name, answer in zip(pictures, answers, strict=True) if answer is not None}

    async def _put(self, name: str, png: bytes) -> StorageFailed | None:
        try:
            await self._store.put(name, png, PNG_TYPE)
        except StorageFailed as failure:
            return failure
        return None

    async def _until_free(self, place: _Place, deadline_at: float) -> None:
        try:
            async with asyncio.timeout(deadline_at - self._clock()):
                await place.free.wait()
        except TimeoutError as late:
            raise StorageFailed(f"no room for {place.size} bytes beside {self.waiting_bytes} others") from late

    def _admit(self) -> None:
        while self._line and self._fits(self._line[0]):
            place = self._line.popleft()
            self._inside.add(place)
            place.free.set()

    def _fits(self, place: _Place) -> bool:
        return not self._inside or self.waiting_bytes + place.size <= self._max_bytes

    def _leave(self, place: _Place) -> None:
        if place in self._inside:
            self._inside.remove(place)
        else:
            self._line.remove(place)
        self._admit()


def _pauses() -> Iterator[float]:
    """Seconds between tries, without end."""
    pause = FIRST_PAUSE_S
    while True:
        yield pause * random.uniform(SHORTEST_SHARE, 1)
        pause = min(2 * pause, LONGEST_PAUSE_S)
