"""A least-recently-used cache with a budget in bytes: prompt embeddings, init latents, LoRA files.

Owns the order and the budget; keys are exact, so a hit is the very thing that would be made again.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteLru(Generic[K, V]):
    """Safe to use from several threads. What was evicted stays valid for whoever still holds it."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, tuple[V, int, object]] = OrderedDict()
        self._used = 0

    def get(self, key: K) -> V | None:
        """The value, which is now the most recently used; None where it is not there."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: K, value: V, nbytes: int, holds: object = None) -> None:
        """Keep a value; the least recently used go until the budget holds. One larger than the budget is not kept.

        `holds` is kept alive with it: where a key is made of ids, the objects that own those ids.
        """
        with self._lock:
            self._drop(key)
            if nbytes > self._budget:
                return
            self._entries[key] = (value, nbytes, holds)
            self._used += nbytes
            while self._used > self._budget:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: K) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._used -= entry[1]

    @property
    def used_bytes(self) -> int:
        """Never more than the budget."""
        return self._used

    def __len__(self) -> int:
        return len(self._entries)
