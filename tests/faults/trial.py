"""A run of many jobs with a fault in its midst: submits them, waits for all of them, and counts what came of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.faults.client import LEVELS, Job, PatientClient, difference, seconds_of
from tests.faults.row import Row
from tests.faults.service import FaultService
from tests.integration.asking import Pixels
from tests.servers.hook_receiver import HookReceiver

JOBS = 32
SEEDS = range(100, 100 + JOBS)
LEAST_IN_FLIGHT = 20
END_SECONDS = 540
HOOK_SECONDS = 120
LOOK_S = 0.1
TOGETHER = 8
"""Requests at a time."""

Reference = Mapping[int, Pixels]
"""The undisturbed run's pictures by their seeds."""


@dataclass(slots=True)
class Trial:
    """One run against one service. The test that has it strikes."""

    service: FaultService
    client: PatientClient
    receiver: HookReceiver
    reference: Reference
    name: str
    """Of the run: no other has it."""
    random: Random
    jobs: list[Job] = field(default_factory=list)
    doomed: set[int] = field(default_factory=set)
    """Ids of jobs that are to fail."""
    hook_failures: Counter[str] = field(default_factory=Counter)
    """How often the receiver was told to refuse a path before it takes it."""
    hook_statuses: dict[str, str] = field(default_factory=dict)
    """What webhook_status shall say in the end, by path, where that is not `delivered`."""
    hook_hosts: dict[str, str] = field(default_factory=dict)
    """Where a path is not the receiver's: the URL of who takes it."""
    first_struck_at: float = 0.0
    struck_at: float = 0.0
    """The last time."""

    def path(self, seed: int) -> str:
        """Where this seed's job reports, below a receiver's URL."""
        return f"/{self.name}/{seed}"

    async def submit(self, seeds: Iterable[int] = SEEDS, **fields: object) -> None:
        """Have a job for every seed accepted, a few at a time; `fields` change their requests."""
        some = asyncio.Semaphore(TOGETHER)

        async def one(seed: int) -> Job:
            async with some:
                path = self.path(seed)
                hook = self.hook_hosts.get(path, self.receiver.url) + path
                return await self.client.submit(seed, hook, f"{self.name}-{seed}", **fields)

        self.jobs += await asyncio.gather(*(one(seed) for seed in seeds))

    async def until_steps(self, done: int) -> None:
        """Wait until a job that has not ended has made so many UNet evaluations."""
        until = time.monotonic() + END_SECONDS
        unended = list(self.jobs)
        while unended:
            job = self.random.choice(unended)
            told = await self.client.look(job)
            if told["ended_at"] is not None:
                unended.remove(job)
            elif told["progress"]["done"] >= done:
                return
            assert time.monotonic() < until, "no job makes steps"
            await asyncio.sleep(LOOK_S)
        raise AssertionError("all jobs have ended before the fault")

    async def until_ended(self) -> None:
        """Wait until all jobs have ended."""
        await self._ends()

    async def pictures(self) -> Reference:
        """Of all jobs, which have ended well, by their seeds."""
        return {job.seed: await self.client.picture(job) for job in self.jobs}

    async def seen(self) -> list[dict[str, Any]]:
        """The resources of all jobs now."""
        return [await self.client.look(job) for job in self.jobs]

    async def in_flight(self) -> int:
        """How many jobs have not ended."""
        return sum(job["ended_at"] is None for job in await self.seen())

    def strikes(self) -> None:
        """The fault happens now; of several, the last one counts."""
        self.struck_at = time.time()
        self.first_struck_at = self.first_struck_at or self.struck_at

    async def finish(self, fault: str) -> Row:
        """Wait for every end and every webhook, count, and write the row down."""
        ends = await self._ends()
        differences = await self._differences()
        hooks = await self._hooks_delivered()
        await self._require_hook_statuses()
        over = self._over(ends)
        row = Row(
            fault=fault,
            in_flight=sum(at >= self.first_struck_at for at in over),
            accepted=len(self.jobs),
            ended=sum(told["status"] == self._due_status(job) for job, told in zip(self.jobs, ends, strict=True)),
            wrong=sum(difference > LEVELS for difference in differences),
            hooks=hooks,
            hooks_due=len(self.jobs) - len(self.hook_statuses),
            duplicates=self._duplicates(),
            seconds=max(over) - self.struck_at,
            difference=max(differences),
        )
        row.append()
        return row

    async def _ends(self) -> list[dict[str, Any]]:
        until = time.monotonic() + END_SECONDS
        ends = [await self.client.ended(job, until) for job in self.jobs]
        lost = [told for told in ends if told["ended_at"] is None]
        assert not lost, f"jobs that did not end: {lost}"
        return ends

    def _over(self, ends: list[dict[str, Any]]) -> list[float]:
        """When each job had ended and its webhook had come, in seconds since 1970."""
        came = {request.path: request.at for request in self.receiver.received}
        return [
            max(seconds_of(told["ended_at"]), came.get(self.path(job.seed), 0.0))
            for job, told in zip(self.jobs, ends, strict=True)
        ]

    def _due_status(self, job: Job) -> str:
        return "failed" if job.id in self.doomed else "success"

    async def _differences(self) -> list[int]:
        made = [job for job in self.jobs if job.id not in self.doomed]
        return [difference(await self.client.picture(job), self.reference[job.seed]) for job in made]

    async def _hooks_delivered(self) -> int:
        """Wait for webhooks to come and to be said to have come; how many do."""
        until = time.monotonic() + HOOK_SECONDS
        waiting = [job for job in self.jobs if self.path(job.seed) not in self.hook_statuses]
        due = len(waiting)
        while waiting and time.monotonic() < until:
            waiting = [job for job in waiting if not await self._is_delivered(job)]
            await asyncio.sleep(0.5)
        return due - len(waiting)

    async def _is_delivered(self, job: Job) -> bool:
        came = self.path(job.seed) in self.receiver.paths()
        return came and (await self.client.look(job))["webhook_status"] == "delivered"

    async def _require_hook_statuses(self) -> None:
        """Of those that are not to be delivered."""
        for job in self.jobs:
            if (due := self.hook_statuses.get(self.path(job.seed))) is not None:
                told = await self.client.look(job)
                assert told["webhook_status"] == due, told

    def _duplicates(self) -> int:
        """More than one webhook-id for one job is a mistake and no duplicate."""
        ids = {(request.path, request.headers["webhook-id"]) for request in self.receiver.received}
        assert len(ids) == len({path for path, _ in ids}), f"jobs with several webhook-ids: {sorted(ids)}"
        counts = Counter(self.receiver.paths())
        planned = self.hook_failures
        assert all(counts[path] > planned[path] for path in planned), "webhooks that were not tried again"
        return sum(count - 1 - planned[path] for path, count in counts.items())


def check(row: Row) -> None:
    """Enough was at stake; nothing is lost, nothing is wrong, everybody was told."""
    assert row.in_flight >= LEAST_IN_FLIGHT, row
    assert row.ended == row.accepted, row
    assert row.wrong == 0, row
    assert row.hooks == row.hooks_due, row
