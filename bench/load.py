"""Puts load on a peer and takes the times: a closed loop of clients, or an open loop of arrivals."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass

from bench.peers import Peer
from serve_app.messages import Img2ImgJob, Pixels


@dataclass(frozen=True, slots=True)
class Trace:
    """One peer under one load."""

    seconds: float
    """From the start to the last end."""
    came: tuple[float, ...]
    """Seconds after the start at which each job came."""
    ended: tuple[float | None, ...]
    """Likewise; None where it had not ended when the measurement did."""
    pictures: tuple[Pixels | None, ...]

    def latencies(self) -> list[float]:
        """Seconds from coming to ending; for a job without an end the time that it has waited: a lower bound."""
        return [
            (self.seconds if ended is None else ended) - came
            for came, ended in zip(self.came, self.ended, strict=True)
        ]  # fmt: skip

    def served_share(self, until: float) -> float:
        """The jobs that had ended `until` seconds after the start, as a share of all."""
        return sum(ended is not None and ended <= until for ended in self.ended) / len(self.ended)


class _Clock:
    """Notes when jobs come and end, and who has ended."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._ends: dict[int, float] = {}

    def now(self) -> float:
        return time.perf_counter() - self._start

    def watch(self, future: "Future[Pixels]", place: int, then: Callable[[], object] = lambda: None) -> None:
        def note(done: "Future[Pixels]") -> None:
            if not done.cancelled():
                self._ends[place] = self.now()
            then()

        future.add_done_callback(note)

    def trace(self, came: Sequence[float], futures: Sequence["Future[Pixels]"]) -> Trace:
        seconds = self.now()
        pictures = tuple(None if future.cancelled() else future.result() for future in futures)
        ended = tuple(self._ends.get(place) for place in range(len(futures)))
        return Trace(max((end for end in ended if end), default=seconds), tuple(came), ended, pictures)


def closed_loop(peer: Peer, jobs: Sequence[Img2ImgJob], clients: int) -> Trace:
    """`clients` clients, each of which sends its next job when its last one has ended. Raises what a job raises."""
    clock, free = _Clock(), threading.Semaphore(clients)
    came, futures = [], []
    for place, job in enumerate(jobs):
        free.acquire()
        came.append(clock.now())
        futures.append(peer.submit(job))
        clock.watch(futures[-1], place, free.release)
    wait(futures)
    return clock.trace(came, futures)


def open_loop(peer: Peer, jobs: Sequence[Img2ImgJob], arrivals: Sequence[float], until: float) -> Trace:
    """Jobs that come when they come. What has not ended `until` seconds after the start is cancelled."""
    clock = _Clock()
    futures = []
    for place, (job, at) in enumerate(zip(jobs, arrivals, strict=True)):
        time.sleep(max(0.0, at - clock.now()))
        futures.append(peer.submit(job))
        clock.watch(futures[-1], place)
    _, late = wait(futures, max(0.0, until - clock.now()))
    for future in late:
        future.cancel()
    stopped = clock.now()
    wait([future for future in futures if not future.cancelled()])  # those that run cannot be cancelled
    trace = clock.trace(arrivals, futures)
    if not late:
        return trace
    ended = tuple(end if end is not None and end <= stopped else None for end in trace.ended)
    return Trace(stopped, trace.came, ended, trace.pictures)
