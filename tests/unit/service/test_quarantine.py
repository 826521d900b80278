"""Suspects in groups: who is to blame is found by halving, and who is not loses little time."""

import asyncio
from collections.abc import Iterator
from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.service import quarantine as module
from serve_app.service.quarantine import DiedAlone, Quarantine
from serve_app.service.replicas import BrokenOff, Suspicion

GATHER_S = 0.02
RUN_S = 0.02


@pytest.fixture(autouse=True)
def quickly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GATHER_S", GATHER_S)
        yield


class Ward:
    """Suspects that run, and replicas on which some of them kill all that runs there with them."""

    def __init__(self, replicas: int, poison: set[int]) -> None:
        self.quarantine = Quarantine(replicas)
        self.poison = poison
        self.deaths: set[str] = set()
        """Names of the groups that died."""
        self.together: dict[str, list[int]] = {}
        self.guilty: set[int] = set()
        self.most_at_once = 0
        self._at_once: set[str] = set()

    async def suspect(self, id: int) -> None:
        """Until it has survived, or is found guilty."""
        self.quarantine.enter(id)
        while True:
            try:
                async with self.quarantine.turn(id) as suspicion:
                    await self._run(id, suspicion)
                return
            except DiedAlone:
                self.guilty.add(id)
                self.quarantine.release(id)
                return
            except BrokenOff:
                pass

    async def _run(self, id: int, suspicion: Suspicion) -> None:
        self.together.setdefault(suspicion.group, []).append(id)
        self._at_once.add(suspicion.group)
        self.most_at_once = max(self.most_at_once, len(self._at_once))
        await asyncio.sleep(RUN_S)
        self._at_once.discard(suspicion.group)
        assert suspicion.alone is (len(self.together[suspicion.group]) == 1)
        if self.poison & set(self.together[suspicion.group]):
            self.deaths.add(suspicion.group)
            raise BrokenOff("killed")


async def everyone(ward: Ward, count: int) -> None:
    await asyncio.wait_for(asyncio.gather(*(ward.suspect(id) for id in range(count))), 60)
    assert not ward.quarantine._turns
    assert not ward.quarantine._groups


@pytest.mark.parametrize("replicas", [1, 2])
async def test_healthy_suspects_run_in_two_groups_and_are_done(replicas: int) -> None:
    ward = Ward(replicas, set())
    await everyone(ward, 64)
    assert sorted(map(len, ward.together.values())) == [32, 32]
    assert ward.most_at_once == replicas
    assert not ward.deaths


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("poison", [0, 17, 63])
async def test_one_that_kills_is_found_among_64_in_six_deaths(replicas: int, poison: int) -> None:
    ward = Ward(replicas, {poison})
    await everyone(ward, 64)
    assert ward.guilty == {poison}
    assert len(ward.deaths) == log2(64)


@settings(max_examples=25)
@given(st.integers(1, 12), st.data())
def test_exactly_those_that_kill_are_found(count: int, data: st.DataObject) -> None:
    poison = data.draw(st.sets(st.integers(0, count - 1)))
    ward = Ward(data.draw(st.integers(1, 3)), poison)
    asyncio.run(everyone(ward, count))
    assert ward.guilty == poison


async def test_a_suspect_that_is_cancelled_holds_nobody_up() -> None:
    ward = Ward(1, set())
    tasks = [asyncio.create_task(ward.suspect(id)) for id in range(4)]
    await asyncio.sleep(GATHER_S + RUN_S / 2)
    for place in (0, 3):  # one runs, one waits for its turn
        tasks[place].cancel()
        ward.quarantine.release(place)
    await asyncio.wait(tasks, timeout=60)
    assert [task.cancelled() for task in tasks] == [True, False, False, True]
    await everyone(ward, 2)


async def test_who_dies_beside_a_group_is_its_victim() -> None:
    now = 100.0
    quarantine = Quarantine(1, lambda: now)
    assert not quarantine.is_victim(now)
    quarantine.enter(7)
    with pytest.raises(DiedAlone):
        async with quarantine.turn(7):
            raise BrokenOff("killed")
    assert quarantine.is_victim(now - 0.5)
    assert not quarantine.is_victim(now - 2)
