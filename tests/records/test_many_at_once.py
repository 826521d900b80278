"""Many processes and tasks at once, some of which die: every job ends once, and nobody drives what another one has."""

import asyncio
import json
import multiprocessing
import os
import random
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import pytest
from sqlalchemy import select

from serve_app.records.database import Database
from serve_app.records.jobs import JobRecords, State
from serve_app.records.leases import Leases
from serve_app.records.outbox import make_entry
from serve_app.records.rows import Lease
from serve_app.records.tables import outbox
from tests.records.making import LATER, NOW, PNG, THEIRS, URL, accept, heartbeat, outcome

JOBS = 24
DRIVERS = 6
DATABASES = 3
LEASE_S = 5.0
FORK = multiprocessing.get_context("fork")


class World:
    """A clock that all share, and what happened."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = NOW
        self.drives: list[tuple[int, int]] = []
        self.ends: list[tuple[int, str]] = []

    def lease(self, owner: str) -> Lease:
        self.now += self.chance.uniform(0, 1)
        return Lease(owner, self.now + LEASE_S)


class Driver:
    """Accepts, claims, renews, forgets to renew, gives back and ends, in any order."""

    def __init__(self, name: str, database: Database, world: World) -> None:
        self.name, self.world = name, world
        self.records, self.leases = JobRecords(database), Leases(database)
        self.held: dict[int, int] = {}

    async def accept(self, id: int) -> None:
        accepted = await accept(self.records, id, self.world.lease(self.name))
        self._hold(accepted.record.id, accepted.record.fence)

    async def work(self) -> None:
        """Until all jobs have ended."""
        while len(self.world.ends) < JOBS:
            await self.world.chance.choice(
                (self._claim, self._round, self._end, self._end, self._release, self._stall)
            )()

    async def _claim(self) -> None:
        for claimed in await self.leases.claim(self.world.lease(self.name), self.world.now, 3):
            assert claimed.png == PNG
            self._hold(claimed.record.id, claimed.record.fence)

    async def _round(self) -> None:
        heartbeats = [
            heartbeat(id, fence, done=self.world.chance.randrange(9), started_at=self.world.now)
            for id, fence in self.held.items()
        ]
        told = await self.leases.renew(self.world.lease(self.name), heartbeats, self.world.now)
        for id in told.lost:
            del self.held[id]

    async def _end(self) -> None:
        if not self.held:
            return
        id, fence = self.held.popitem()
        state = self.world.chance.choice((State.SUCCESS, State.FAILED))
        mark = str(uuid.uuid4())
        hook = make_entry(id, "first", URL, {"by": mark}, self.world.now)
        if await self.leases.end(id, fence, outcome(state, hook, sampler=mark), self.world.now):
            self.world.ends.append((id, mark))

    async def _release(self) -> None:
        if self.held and self.world.chance.random() < 0.3:
            await self.leases.release(*self.held.popitem())

    async def _stall(self) -> None:
        self.world.now += LEASE_S * self.world.chance.random()
        await asyncio.sleep(0)

    def _hold(self, id: int, fence: int) -> None:
        self.held[id] = fence
        self.world.drives.append((id, fence))


@pytest.mark.parametrize("seed", range(3))
async def test_every_job_ends_once_and_no_fence_has_two_drivers(database_url: str, seed: int) -> None:
    world = World(seed)
    databases = [Database(database_url) for _ in range(DATABASES)]
    drivers = [Driver(f"driver-{n}", databases[n % DATABASES], world) for n in range(DRIVERS)]
    await asyncio.gather(*(drivers[id % DRIVERS].accept(id) for id in range(1, JOBS + 1)))
    await asyncio.gather(*(driver.work() for driver in drivers))

    assert max(Counter(world.drives).values()) == 1, "two drivers of one fence"
    assert len(world.drives) > JOBS + 5, "hardly any job was claimed"
    assert sorted(id for id, _ in world.ends) == list(range(1, JOBS + 1))
    ended = {record.id: record for record in await JobRecords(databases[0]).list(limit=99)}
    assert {id: record.sampler for id, record in ended.items()} == dict(world.ends)
    assert all(record.state in (State.SUCCESS, State.FAILED) for record in ended.values())
    assert await sent(databases[0]) == dict(world.ends)
    for database in databases:
        await database.close()


async def sent(database: Database) -> dict[int, str]:
    """Who wrote the one webhook of each job."""
    async with database.read() as connection:
        rows = (await connection.execute(select(outbox.c.job_id, outbox.c.payload))).all()
    assert len(rows) == len({id for id, _ in rows})
    return {id: json.loads(payload)["by"] for id, payload in rows}


async def accept_for_ever(url: str, pipe: Connection) -> None:
    records = JobRecords(Database(url))
    for id in range(1, 1_000_000):
        pipe.send((await accept(records, id)).record.id)


@contextmanager
def accepting_child(url: str) -> Iterator[tuple[int, Connection]]:
    """A process that accepts jobs and tells each one's id, until it is killed."""
    ours, theirs = FORK.Pipe(duplex=False)
    child = FORK.Process(target=lambda: asyncio.run(accept_for_ever(url, theirs)))
    child.start()
    theirs.close()
    assert child.pid is not None
    try:
        yield child.pid, ours
    finally:
        child.kill()
        child.join()
        ours.close()


def test_what_a_process_has_accepted_survives_its_death(database_url: str) -> None:
    told: list[int] = []
    with accepting_child(database_url) as (pid, pipe):
        while len(told) < 10:
            told.append(pipe.recv())
        os.kill(pid, signal.SIGKILL)
        while pipe.poll(10):
            try:
                told.append(pipe.recv())
            except EOFError:
                break

    async def claimed() -> dict[int, bytes | None]:
        database = Database(database_url)
        pngs = {each.record.id: each.png for each in await Leases(database).claim(THEIRS, LATER, 10_000)}
        await database.close()
        return pngs

    found = asyncio.run(claimed())
    assert set(told) <= set(found)
    assert set(found.values()) == {PNG}
    assert len(found) <= len(told) + 1, "at most the one whose answer it could not tell"
