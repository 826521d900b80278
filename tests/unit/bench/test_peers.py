"""What the peers choose to run, and that a desk serves everybody."""

import gc
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from ray.serve.batching import _BatchQueue

from bench.load import closed_loop, open_loop
from bench.peers.caller import Caller
from bench.peers.desk import Desk, settle
from bench.peers.key import agreeing, groups
from bench.peers.serve_batch import ServeBatch
from bench.peers.threads import next_to_wear
from bench.workloads import same
from serve_app.messages import Img2ImgJob, Lora, Pixels, SamplerChoice

JOB = same(1, 64, 0)[0]
OTHER = replace(JOB, steps=50)
INK = (Lora("ink", 1.0),)


def test_a_batch_has_the_oldest_and_all_that_agree_with_it() -> None:
    assert agreeing([OTHER, JOB, OTHER, JOB, OTHER], most=8) == [0, 2, 4]


def test_a_batch_has_a_largest_size() -> None:
    assert agreeing([JOB] * 5, most=2) == [0, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 21},
        {"strength": 0.9},
        {"guidance_scale": 3.0},
        {"sampler": SamplerChoice("LCMScheduler")},
        {"loras": INK},
    ],
    ids=str,
)
def test_jobs_that_differ_in_a_parameter_do_not_agree(change: dict[str, object]) -> None:
    assert agreeing([JOB, replace(JOB, **change)], most=8) == [0]  # type: ignore[arg-type]


def test_jobs_that_differ_in_prompt_seed_and_picture_agree() -> None:
    assert agreeing(same(3, 64, 1), most=8) == [0, 1, 2]


def test_serve_batchs_handler_runs_what_agrees_together() -> None:
    assert groups([JOB, OTHER, JOB, OTHER]) == [[0, 2], [1, 3]]


class SlowCaller(Caller):
    """Takes a fifth of a second for any call."""

    def __init__(self) -> None:
        self.calls = 0
        self.busy = False

    def run(self, jobs: Sequence[Img2ImgJob]) -> list[Pixels]:
        self.busy = True
        time.sleep(0.2)
        self.calls, self.busy = self.calls + 1, False
        return [job.init_image for job in jobs]


def test_serve_batch_gives_every_job_its_picture() -> None:
    jobs = [*same(2, 64, 0), replace(JOB, steps=50)]
    peer = ServeBatch(SlowCaller(), 0.05, 4)
    trace = closed_loop(peer, jobs, clients=3)
    peer.close()
    for picture, job in zip(trace.pictures, jobs, strict=True):
        assert picture is not None
        assert np.array_equal(picture, job.init_image)


def test_serve_batch_does_nothing_more_when_a_loop_was_broken_off() -> None:
    caller = SlowCaller()
    peer = ServeBatch(caller, 0.01, 4)
    jobs = [replace(JOB, steps=steps) for steps in (10, 20, 30, 40)]
    trace = open_loop(peer, jobs, [0.0] * len(jobs), until=0.1)
    assert (caller.busy, caller.calls) == (False, 1)
    time.sleep(0.3)
    assert (caller.busy, caller.calls) == (False, 1)
    assert trace.ended == (None,) * len(jobs)
    peer.close()


def test_a_closed_serve_batch_leaves_no_queue_whose_end_makes_an_event_loop() -> None:
    peer = ServeBatch(SlowCaller(), 0.01, 4)
    closed_loop(peer, [JOB], clients=1)
    assert _BatchQueue in map(type, gc.get_objects())
    peer.close()
    assert _BatchQueue not in map(type, gc.get_objects())


def test_threads_share_what_is_worn_and_switch_only_when_all_are_idle() -> None:
    dressed = replace(JOB, loras=INK)
    assert next_to_wear([dressed, JOB], worn=(), busy=1) == [1]
    assert next_to_wear([dressed], worn=(), busy=1) == []
    assert next_to_wear([dressed], worn=(), busy=0) == [0]


class Copier:
    """A peer whose pictures are the init images."""

    name = "copier"

    def __init__(self) -> None:
        self.desk = Desk()
        self.seen = 0
        threading.Thread(target=self._work, daemon=True).start()

    def submit(self, job: Img2ImgJob) -> "Future[Pixels]":
        return self.desk.put(job)

    def close(self) -> None:
        self.desk.close()

    def _work(self) -> None:
        while orders := self.desk.take(lambda waiting: agreeing(waiting, 4)):
            settle(orders, self._run)

    def _run(self, jobs: Sequence[Img2ImgJob]) -> list[Pixels]:
        if any(job.steps == 13 for job in jobs):
            raise ValueError("unlucky")
        self.seen += len(jobs)
        return [job.init_image for job in jobs]


def test_a_closed_loop_serves_every_job_once() -> None:
    peer, jobs = Copier(), same(9, 64, 0)
    trace = closed_loop(peer, jobs, clients=3)
    peer.close()
    assert peer.seen == 9
    assert all(end is not None and end >= came for came, end in zip(trace.came, trace.ended, strict=True))
    assert all(picture is job.init_image for picture, job in zip(trace.pictures, jobs, strict=True))


def test_a_failing_job_fails_the_measurement() -> None:
    peer = Copier()
    with pytest.raises(ValueError, match="unlucky"):
        closed_loop(peer, [replace(JOB, steps=13)], clients=1)
    peer.close()


def test_an_open_loop_is_broken_off_at_its_end() -> None:
    desk = Desk()  # nobody works here

    class Idle:
        name = "idle"

        def submit(self, job: Img2ImgJob) -> "Future[Pixels]":
            return desk.put(job)

        def close(self) -> None:
            desk.close()

    trace = open_loop(Idle(), [JOB, JOB], [0.0, 0.01], until=0.05)
    assert trace.ended == (None, None)
    assert trace.served_share(1.0) == 0
    assert all(0 < latency < 1 for latency in trace.latencies())
