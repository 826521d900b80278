"""One pipeline's modules called from several threads, as diffusers' `examples/server-async` does.

Each request has a scheduler object of its own; each thread has a shallow copy of the pipeline with a
tokenizer of its own, where that example locks one. LoRAs are worn by the shared modules, so requests
that wear different sets cannot run at once. That example does not handle them at all; here it gets the
best correct order: the oldest that wears what is worn now, and a switch only when no thread is at work.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from copy import copy, deepcopy
from typing import Any

from bench.peers.caller import Caller, call
from bench.peers.desk import Desk, settle
from serve_app.messages import Img2ImgJob, Lora, Pixels


def next_to_wear(waiting: Sequence[Img2ImgJob], worn: tuple[Lora, ...], busy: int) -> list[int]:
    """The oldest that wears what is worn now; without one, the oldest at all if no thread is at work."""
    alike = [place for place, job in enumerate(waiting) if job.loras == worn]
    return alike[:1] or ([] if busy else [0])


class Threads:
    """A pool of `workers` threads."""

    def __init__(self, caller: Caller, workers: int) -> None:
        self.name = "threads"
        self._caller = caller
        self._desk = Desk()
        self._busy = 0  # written under the desk's lock, as is the next
        self._worn: tuple[Lora, ...] = ()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Img2ImgJob) -> "Future[Pixels]":
        """As `Peer.submit`."""
        return self._desk.put(job)

    def close(self) -> None:
        """As `Peer.close`."""
        self._desk.close()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        scoped = copy(self._caller.pipeline)
        scoped.tokenizer = deepcopy(scoped.tokenizer)
        while orders := self._desk.take(self._pick):
            settle(orders, lambda jobs: self._run(scoped, jobs))
            self._desk.change(self._leave)

    def _pick(self, waiting: Sequence[Img2ImgJob]) -> list[int]:
        places = next_to_wear(waiting, self._worn, self._busy)
        if places:
            self._worn = waiting[places[0]].loras
            self._caller.wear(self._worn)
            self._busy += 1
        return places

    def _leave(self) -> None:
        self._busy -= 1

    def _run(self, scoped: Any, jobs: Sequence[Img2ImgJob]) -> list[Pixels]:  # noqa: ANN401
        scoped.scheduler = self._caller.sampler(jobs[0].sampler)
        return call(scoped, jobs)
