"""Work-conserving batches of requests whose parameters agree, as vLLM-Omni's request mode makes them.

Whenever the device is free it takes the oldest request with all that agree with it, up to a largest
batch, and runs one diffusers call. With a largest batch of one it is `serial`: a pipeline called for
one request after the other, as Ray's Stable Diffusion example, A1111 and ComfyUI do.
"""

import threading
import time
from collections.abc import Hashable, Sequence
from concurrent.futures import Future

from bench.peers.caller import Caller
from bench.peers.desk import Desk, settle
from serve_app.messages import Img2ImgJob, Pixels

BREATH_S = 0.005
"""Between batches: clients that were just answered send their next jobs in time for the next batch."""


def agreement(job: Img2ImgJob) -> Hashable:
    """What the jobs of one diffusers call must share; prompts, pictures and seeds may differ."""
    return (
        job.init_image.shape, job.steps, job.strength, job.sampler, job.guidance_scale, job.loras,
        job.clip_skip, job.vae, job.embeddings,
    )  # fmt: skip


def agreeing(waiting: Sequence[Img2ImgJob], most: int) -> list[int]:
    """The places of the oldest job and of those that agree with it, oldest first, at most `most`."""
    wanted = agreement(waiting[0])
    return [place for place, job in enumerate(waiting) if agreement(job) == wanted][:most]


def groups(jobs: Sequence[Img2ImgJob]) -> list[list[int]]:
    """The places of the jobs that agree, together, in the order of their first."""
    made: dict[Hashable, list[int]] = {}
    for place, job in enumerate(jobs):
        made.setdefault(agreement(job), []).append(place)
    return list(made.values())


class Key:
    """One worker that runs batches."""

    def __init__(self, name: str, caller: Caller, most: int) -> None:
        self.name = name
        self._caller = caller
        self._most = most
        self._pause = 0.0 if most == 1 else BREATH_S
        self._desk = Desk()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Img2ImgJob) -> "Future[Pixels]":
        """As `Peer.submit`."""
        return self._desk.put(job)

    def close(self) -> None:
        """As `Peer.close`."""
        self._desk.close()
        self._thread.join()

    def _work(self) -> None:
        while orders := self._desk.take(lambda waiting: agreeing(waiting, self._most)):
            settle(orders, self._caller.run)
            time.sleep(self._pause)


def serial(caller: Caller) -> Key:
    """One call at a time, first come, first served."""
    return Key("serial", caller, 1)
