"""The three workloads: every peer in every round, one after another, in an order that turns with the rounds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from bench.figures import Figures, Rounds, percentile, ratio
from bench.load import Trace, closed_loop, open_loop
from bench.models import Rig
from bench.peers import Peer
from bench.peers.caller import Caller
from bench.peers.key import Key, serial
from bench.peers.own import Own
from bench.peers.serve_batch import DEFAULTS, ServeBatch
from bench.peers.threads import Threads
from bench.workloads import ALL_SAMPLERS, LORA_SETS, SHORT_STEPS, arrivals, long_and_short, mixed, same
from serve_app.engine.budget import LATENT_PIXEL, CallBudget
from serve_app.engine.state import GroupKey
from serve_app.messages import Img2ImgJob
from serve_app.pipelines import rows_per_call
from serve_app.pipelines.latent import LatentPipeline
from serve_app.pipelines.rows import SHRINK

LOAD = 0.7
"""Of our own capacity, in the open loop."""
GRACE_IN_LONG_JOBS = 2.0
"""A job counts as served if it ends before the last arrival and the time of so many long jobs alone."""
PATIENCE = 2.0
"""An open loop is watched for so many times its trace's duration, and then broken off."""
WAITS = (0.01, 0.05, 0.2, 0.5)
WARM_ROUND = 9999
"""Its prompts, pictures and seeds come in no round that is measured."""
WARM_STEPS = 4
ALIKE_STEPS = 10
OUR_OWN = (
    "PNDMScheduler", "LMSDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
)  # fmt: skip
FEW_LEVELS = 3
"""Colour levels of 255 by which pictures of one job may differ between peers, in float32."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    jobs: int
    clients: int
    """Of the closed loops."""
    open_jobs: int
    all_peers: bool
    """False: the open loop has ours and `serve_batch` alone, and no round of all eighteen samplers is run."""
    waits: tuple[float, ...]
    """Of `serve_batch` besides its defaults."""
    workers: int
    """Threads of the peer `threads`."""
    largest_batch: int
    """Requests in one diffusers call, for the peers that batch."""


FULL = Plan(5, 64, 16, 60, True, WAITS, 2, 16)
QUICK = Plan(1, 2, 2, 2, False, (), 2, 16)


class Series:
    """The rounds of one run on one rig."""

    def __init__(self, rig: Rig, plan: Plan, say: Callable[[str], None]) -> None:
        self._rig = rig
        self._plan = plan
        self._say = say
        self.pipeline: LatentPipeline = rig.own_pipeline()
        self._rows_per_call = rows_per_call(rig.entry, self.pipeline)
        self.plain = Caller(rig.diffusers_pipeline(dressed=False))
        """For workloads without LoRAs: layers that wear none would still cost peers time."""
        self.dressed = Caller(rig.diffusers_pipeline(dressed=True))

    @property
    def budget(self) -> int:
        """UNet rows of our calls."""
        latent = self._rig.side // SHRINK
        return CallBudget(self._rows_per_call, self._rig.entry.knee_pixels // LATENT_PIXEL).of(GroupKey(latent, latent))

    def mixed(self) -> Figures:
        """64 jobs that agree in nothing but size, and the same of ours alone with all eighteen samplers."""
        rounds = self._closed("mixed", lambda round_: mixed(self._plan.jobs, self._rig.side, round_), self.dressed)
        return {
            "mixed.vs_serial": _faster(rounds, "serial"),
            "mixed.vs_threads": _faster(rounds, "threads"),
            "mixed.vs_key": _faster(rounds, "key"),
            **(self._all_eighteen() if self._plan.all_peers else {}),
            "mixed.raw": self._raw(rounds, mixed(self._plan.jobs, self._rig.side, 0)),
        }

    def same(self) -> Figures:
        """64 jobs that agree."""
        rounds = self._closed("same", lambda round_: same(self._plan.jobs, self._rig.side, round_), self.plain)
        return {
            "same.vs_serial": _faster(rounds, "serial"),
            "same.vs_threads": _faster(rounds, "threads"),
            "same.vs_key": _faster(rounds, "key"),
            "same.raw": self._raw(rounds, same(self._plan.jobs, self._rig.side, 0)),
        }

    def poisson(self) -> Figures:
        """Short and long jobs that come when they come."""
        with self._peers(self._open_peers) as peers:
            self._warm(peers, long_and_short(4, self._rig.side, WARM_ROUND))
            capacity, alone = self._capacity(peers[0]), self._alone(peers[0])
            rate, grace = LOAD * capacity, GRACE_IN_LONG_JOBS * alone * 50 / SHORT_STEPS
            self._say(f"poisson: {rate:.3g} jobs/s, a short job alone {alone:.3g} s")
            rounds, shares, shorts = self._open_rounds(peers, rate, grace)
        best = min(
            (name for name in rounds if name.startswith(DEFAULTS)), key=lambda one: median(rounds[one].latency(95))
        )
        own = rounds[Own.name].latency(95)
        return {
            "poisson.p95_vs_serve_batch_default": ratio(own, rounds[DEFAULTS].latency(95)),
            "poisson.p95_vs_serve_batch_best": ratio(own, rounds[best].latency(95)),
            "poisson.served_share": median(shares[Own.name]),
            "poisson.short_p95_vs_alone": median(shorts[Own.name]) / alone,
            "poisson.raw": {
                "capacity_images_per_s": capacity, "rate_jobs_per_s": rate, "short_alone_s": alone, "grace_s": grace,
                "serve_batch_best": best, "served_share": shares, "short_p95_s": shorts,
                **self._raw(rounds, long_and_short(self._plan.open_jobs, self._rig.side, 0)),
            },
        }  # fmt: skip

    def agreement(self) -> Figures:
        """That all peers make the same pictures: a job of each LoRA set, shown to each, in whole colour levels.

        Its steps are so many, and its samplers those, that ours are diffusers' own (docs/samplers.md).
        """
        jobs = [job for job in mixed(28, self._rig.side, WARM_ROUND) if job.sampler.name not in OUR_OWN]
        asked = [replace(next(job for job in jobs if job.loras == worn), steps=ALIKE_STEPS) for worn in LORA_SETS]
        with self._peers(lambda: [self._own(), *self._closed_peers(self.dressed)]) as peers:
            shown = {peer.name: closed_loop(peer, asked, self._plan.clients).pictures for peer in peers}
        own = shown.pop(Own.name)
        worst = {name: max(map(_difference, own, pictures)) for name, pictures in shown.items()}
        if self._rig.entry.dtype == "float32" and max(worst.values()) > FEW_LEVELS:
            raise AssertionError(f"the peers do not make the same pictures: {worst}")
        return {"agreement.max_pixel_difference": max(worst.values()), "agreement.raw": worst}

    def _own(self) -> Peer:
        return Own(self._rig.entry, self.pipeline, self._rows_per_call)

    def _closed_peers(self, caller: Caller) -> list[Peer]:
        return [
            serial(caller), Threads(caller, self._plan.workers), Key("key", caller, self._plan.largest_batch),
        ]  # fmt: skip

    def _open_peers(self) -> list[Peer]:
        tuned = [ServeBatch(self.plain, wait, self._plan.largest_batch) for wait in self._plan.waits]
        others = self._closed_peers(self.plain) if self._plan.all_peers else []
        return [self._own(), ServeBatch(self.plain), *tuned, *others]

    @contextmanager
    def _peers(self, make: Callable[[], list[Peer]]) -> Iterator[list[Peer]]:
        peers = make()
        try:
            yield peers
        finally:
            for peer in peers:
                peer.close()

    def _closed(self, name: str, jobs: Callable[[int], list[Img2ImgJob]], caller: Caller) -> dict[str, Rounds]:
        with self._peers(lambda: [self._own(), *self._closed_peers(caller)]) as peers:
            self._warm(peers, jobs(WARM_ROUND))
            rounds = {peer.name: Rounds() for peer in peers}
            for round_ in range(self._plan.rounds):
                for peer in _turned(peers, round_):
                    trace = closed_loop(peer, jobs(round_), self._plan.clients)
                    rounds[peer.name].traces.append(trace)
                    self._say(f"{name} {round_}: {peer.name} {len(trace.came) / trace.seconds:.3f} images/s")
        return rounds

    def _all_eighteen(self) -> Figures:
        """Ours alone: the peers cannot run four of the names."""

        def jobs(round_: int) -> list[Img2ImgJob]:
            return mixed(self._plan.jobs, self._rig.side, round_, ALL_SAMPLERS)

        for job in jobs(0):
            self.pipeline.prepare(job)
        with self._peers(lambda: [self._own()]) as peers:
            rounds = [closed_loop(peers[0], jobs(round_), self._plan.clients) for round_ in range(self._plan.rounds)]
        return {"mixed.own_all_eighteen_images_per_s": median(Rounds(rounds).images_per_s)}

    def _open_rounds(
        self, peers: Sequence[Peer], rate: float, grace: float
    ) -> tuple[dict[str, Rounds], dict[str, list[float]], dict[str, list[float]]]:
        rounds = {peer.name: Rounds() for peer in peers}
        shares: dict[str, list[float]] = {peer.name: [] for peer in peers}
        shorts: dict[str, list[float]] = {peer.name: [] for peer in peers}
        for round_ in range(self._plan.rounds):
            jobs = long_and_short(self._plan.open_jobs, self._rig.side, round_)
            came = arrivals(self._plan.open_jobs, rate, round_)
            for peer in _turned(peers, round_):
                trace = open_loop(peer, jobs, came, PATIENCE * came[-1] + grace)
                rounds[peer.name].traces.append(trace)
                shares[peer.name].append(trace.served_share(came[-1] + grace))
                shorts[peer.name].append(percentile(_of_short_jobs(jobs, trace), 95))
                self._say(f"poisson {round_}: {peer.name} p95 {rounds[peer.name].latency(95)[-1]:.3f} s")
        return rounds, shares, shorts

    def _warm(self, peers: Sequence[Peer], jobs: Sequence[Img2ImgJob]) -> None:
        """Tables, scheduler objects, LoRA files; then a job of each LoRA set for each peer."""
        for job in jobs:
            self.pipeline.prepare(job)
            self.plain.sampler(job.sampler)
            self.dressed.sampler(job.sampler)
        few = [replace(job, steps=WARM_STEPS) for job in {job.loras: job for job in jobs}.values()]
        for peer in peers:
            closed_loop(peer, few, self._plan.clients)

    def _capacity(self, own: Peer) -> float:
        """Images a second of ours in a closed loop of the open loop's jobs."""
        trace = closed_loop(
            own, long_and_short(self._plan.open_jobs, self._rig.side, WARM_ROUND - 1), self._plan.clients
        )
        return len(trace.came) / trace.seconds

    def _alone(self, own: Peer) -> float:
        """Seconds of a short job on our idle engine."""
        some = long_and_short(self._plan.rounds + 2, self._rig.side, WARM_ROUND - 2)
        jobs = [job for job in some if job.steps == SHORT_STEPS]
        return median(closed_loop(own, jobs, 1).latencies())

    def _raw(self, rounds: Mapping[str, Rounds], jobs: Sequence[Img2ImgJob]) -> Figures:
        drafts = [self.pipeline.prepare(job) for job in jobs]
        per_job = sum(draft.evaluations * draft.width for draft in drafts) / len(drafts)
        peers = {name: own.figures(per_job) for name, own in rounds.items()}
        return {"unet_rows_per_job": per_job, "peers": peers}


def _faster(rounds: Mapping[str, Rounds], peer: str) -> float:
    return ratio(rounds[Own.name].images_per_s, rounds[peer].images_per_s)


def _turned(peers: Sequence[Peer], round_: int) -> list[Peer]:
    start = round_ % len(peers)
    return [*peers[start:], *peers[:start]]


def _of_short_jobs(jobs: Sequence[Img2ImgJob], trace: Trace) -> list[float]:
    return [each for job, each in zip(jobs, trace.latencies(), strict=True) if job.steps == SHORT_STEPS]


def _difference(one: object, other: object) -> int:
    assert isinstance(one, np.ndarray)
    assert isinstance(other, np.ndarray)
    return int(np.abs(one.astype(int) - other).max())
