"""Finds the job that kills replicas: suspects, whose replica died, run in groups, and a group that died is halved.

So n suspects of which none is to blame take as long as any n jobs, and one that is to blame is found in log2(n) deaths.
A group of one has its replica to itself, and only there a job's guilt is proved.
"""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from serve_app.service.replicas import BrokenOff, Suspicion

GATHER_S = 0.5
"""A replica's death is heard by all its jobs within this time; they make one group."""
BESIDE_S = 1.0
"""A job that was no suspect and broke off this close to a group's death is taken for its victim."""


class DiedAlone(BrokenOff):
    """Its replica died or fell silent, and no other job was on it."""


@dataclass(eq=False, slots=True)
class _Group:
    """Suspects whose turn it is."""

    size: int
    running: set[int]
    died: list[int] = field(default_factory=list)
    name: str = field(default_factory=lambda: str(uuid.uuid4()))


class Quarantine:
    """One model's suspects of one driver. Belongs to one event loop."""

    def __init__(self, replicas: int, clock: Callable[[], float] = time.monotonic) -> None:
        """As many groups have their turn at a time as there are `replicas`."""
        self._room = replicas
        self._clock = clock
        self._turns: dict[int, asyncio.Future[_Group]] = {}  # of all suspects
        self._groups: dict[int, _Group] = {}  # of those whose turn it is
        self._waiting: deque[Sequence[int]] = deque()
        self._gathering: list[int] = []
        self._died_at = -BESIDE_S

    def enter(self, id: int) -> None:
        """The job is a suspect until `release`."""
        loop = asyncio.get_running_loop()
        self._turns[id] = loop.create_future()
        if not self._gathering:
            loop.call_later(GATHER_S, self._gathered)
        self._gathering.append(id)

    def has(self, id: int) -> bool:
        """Whether the job is a suspect."""
        return id in self._turns

    def is_victim(self, broke_off_at: float) -> bool:
        """Whether a job that was no suspect and broke off then was taken along by a group; ask a moment later."""
        return abs(self._died_at - broke_off_at) < BESIDE_S

    @asynccontextmanager
    async def turn(self, id: int) -> AsyncIterator[Suspicion]:
        """Wait for the turn of a suspect's group. Raises DiedAlone in the place of BrokenOff, for a group of one."""
        group = await self._turns[id]
        try:
            yield Suspicion(group.name, alone=group.size == 1)
        except BrokenOff as broken:
            self._died_at = self._clock()
            self._leave(id, died=True)
            if group.size == 1:
                raise DiedAlone(str(broken)) from broken
            raise
        else:
            self.release(id)

    def release(self, id: int) -> None:
        """The job is no suspect any more, whatever came of it; does nothing where it was none."""
        self._turns.pop(id, None)
        self._leave(id, died=False)

    def _leave(self, id: int, *, died: bool) -> None:
        group = self._groups.pop(id, None)
        if group is None:
            return
        group.running.discard(id)
        if died:
            group.died.append(id)
            self._turns[id] = asyncio.get_running_loop().create_future()
        if not group.running:
            self._room += 1
            self._waiting.extendleft(reversed(_halves(group.died)))
            self._begin()

    def _gathered(self) -> None:
        found, self._gathering = self._gathering, []
        self._waiting.extend(_halves(found))
        self._begin()

    def _begin(self) -> None:
        """Give groups their turn while there is room."""
        while self._waiting and self._room:
            ids = [id for id in self._waiting.popleft() if id in self._turns]  # others were cancelled meanwhile
            if not ids:
                continue
            self._room -= 1
            group = _Group(len(ids), set(ids))
            for id in ids:
                self._groups[id] = group
                self._turns[id].set_result(group)


def _halves(ids: Sequence[int]) -> list[Sequence[int]]:
    middle = (len(ids) + 1) // 2
    return [half for half in (ids[:middle], ids[middle:]) if half]
