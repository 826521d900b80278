"""Where a request's time goes: the laps of a stopwatch, named for the stages of its way."""

import time
from collections.abc import Callable, Mapping
from enum import StrEnum


class Stage(StrEnum):
    """In the order in which a request comes to them."""

    READ = "read"
    """Its body, key and fields are read and checked."""
    ACCEPT = "accept"
    """Its picture is fetched and decoded, and the job is written down."""
    REACH = "reach"
    """A replica is asked, until its first word."""
    QUEUE = "queue"
    """The job waits for a replica that has room, then in its engine's queue, where its files are loaded meanwhile."""
    ENGINE = "engine"
    """What the engine says it worked."""
    HANDOVER = "handover"
    """The rest of the wait until the driver knows where the pixels lie."""
    FINISH = "finish"
    """Check, redact, encode and store."""
    END = "end"
    """The outcome is written down."""
    ANSWER = "answer"
    """The answer is put together."""


Laps = Mapping[Stage, float]
"""Seconds of each stage."""


class Stopwatch:
    """Runs from its making. Not for several threads at once."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._since = clock()
        self._laps: dict[Stage, float] = {}

    @property
    def laps(self) -> Laps:
        """What was taken so far, in the order of the stages."""
        return {stage: self._laps[stage] for stage in Stage if stage in self._laps}

    def lap(self, stage: Stage) -> None:
        """All since the last lap was this stage's; a stage that comes again adds up."""
        now = self._clock()
        self._laps[stage] = self._laps.get(stage, 0.0) + now - self._since
        self._since = now

    def first_lap(self, stage: Stage) -> None:
        """The same, but nothing where this stage had its lap."""
        if stage not in self._laps:
            self.lap(stage)

    def carve(self, parts: Laps, *out_of: Stage) -> None:
        """These parts lie inside other stages' laps, which get shorter: the first as far as it goes, then the next."""
        left = sum(parts.values())
        for whole in out_of:
            taken = min(left, self._laps.get(whole, 0.0))
            self._laps[whole] = self._laps.get(whole, 0.0) - taken
            left -= taken
        for stage, seconds in parts.items():
            self._laps[stage] = self._laps.get(stage, 0.0) + seconds
