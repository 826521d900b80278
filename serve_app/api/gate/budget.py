"""The memory that unread and unfinished bodies hold in one process, counted in the bytes that have come.

A body stays counted until whoever got it has let go of it. Where strangers' bodies fill their share, the one that has
been on its way for the longest gives way: else a few that never end would keep everybody else out.
"""

import weakref
from collections.abc import Callable


class Full(Exception):
    """There is no room for more."""


class HeldBody(bytearray):
    """A whole body. Travels between processes as plain bytes."""

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (bytes(self),)


def _no_more() -> None:
    pass


class Hold:
    """What one body holds."""

    def __init__(self, budget: "Budget", give_way: Callable[[], None]) -> None:
        self.bytes = 0
        """Written by the budget."""
        self.known = False
        """Whether a good key was shown. Written by the budget."""
        self.give_way = give_way
        """Ends the reading of this body."""
        self._budget = budget

    def grow(self, count: int, strangers_bytes: int, all_bytes: int) -> None:
        """Take so many more. Raises Full."""
        self._budget.take(self, count, strangers_bytes, all_bytes)

    def become_known(self) -> None:
        """From now on this body counts against the whole, and gives way to nobody."""
        self._budget.know(self)

    def hand_over(self, body: HeldBody) -> None:
        """It has come: it counts as long as somebody has it."""
        self._budget.settle(self)
        weakref.finalize(body, self._budget.free, self)

    def release(self) -> None:
        """It is not wanted any more."""
        self._budget.settle(self)
        self._budget.free(self)


class Budget:
    """Of one process. Belongs to one event loop."""

    def __init__(self) -> None:
        self.held = 0
        """Bytes of all bodies."""
        self.strangers = 0
        """Bytes of those without a known key."""
        self._unfinished: dict[Hold, None] = {}  # strangers' alone, the oldest first

    def open(self, give_way: Callable[[], None]) -> Hold:
        """A new body."""
        hold = Hold(self, give_way)
        self._unfinished[hold] = None
        return hold

    def take(self, hold: Hold, count: int, strangers_bytes: int, all_bytes: int) -> None:
        """As `Hold.grow` says."""
        while not self._fits(hold, count, strangers_bytes, all_bytes):
            oldest = next(iter(self._unfinished), None)
            if oldest is None or oldest is hold:
                raise Full
            give_way = oldest.give_way
            oldest.release()
            give_way()
        self._count(hold, count)

    def _fits(self, hold: Hold, count: int, strangers_bytes: int, all_bytes: int) -> bool:
        return self.held + count <= all_bytes and (hold.known or self.strangers + count <= strangers_bytes)

    def know(self, hold: Hold) -> None:
        """As `Hold.become_known` says."""
        if not hold.known:
            self.strangers -= hold.bytes
            hold.known = True
        self.settle(hold)

    def settle(self, hold: Hold) -> None:
        """It gives way no more."""
        self._unfinished.pop(hold, None)
        hold.give_way = _no_more  # or it and what it would end kept each other, and the body, in memory

    def free(self, hold: Hold) -> None:
        """All that it holds. Once is enough, twice does nothing."""
        self._count(hold, -hold.bytes)

    def _count(self, hold: Hold, count: int) -> None:
        hold.bytes += count
        self.held += count
        if not hold.known:
            self.strangers += count
