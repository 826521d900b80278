"""The GPU deployment without Ray: the real engine on the pocket model."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from deployments.diffusion import Diffusion
from deployments.events import StreamEvent
from serve_app.config import POCKET
from serve_app.errors import Overloaded
from serve_app.messages import Img2ImgJob, Progress
from serve_app.service.replicas import Suspicion


def job(id: int) -> Img2ImgJob:
    """A job of 900 evaluations: it does not end by itself here."""
    return Img2ImgJob(id, "pocket", "a red star", "", np.zeros((64, 64, 3), np.uint8), 1, 900, 7.5, 1.0, 42)


@pytest.fixture
async def diffusion() -> AsyncIterator[Diffusion]:
    one = Diffusion(POCKET)
    yield one
    await asyncio.to_thread(one._steps.stop)


async def first(events: AsyncIterator[StreamEvent]) -> StreamEvent:
    return await anext(events)


TOGETHER, OTHERS, ALONE = Suspicion("one", alone=False), Suspicion("two", alone=False), Suspicion("three", alone=True)


async def test_a_suspect_begins_only_after_its_driver_was_told(diffusion: Diffusion) -> None:
    suspect = diffusion.generate(job(1), TOGETHER)
    assert isinstance(await first(suspect), Progress)
    assert diffusion._steps.jobs == 0
    assert isinstance(await first(suspect), Progress)
    assert diffusion._steps.jobs == 1
    await suspect.aclose()


async def test_suspects_of_one_group_run_at_a_time_whoever_drives_them_and_others_beside_them(
    diffusion: Diffusion,
) -> None:
    suspects = [diffusion.generate(job(id), TOGETHER) for id in (1, 2)]
    others, fresh = diffusion.generate(job(3), OTHERS), diffusion.generate(job(4), None)
    assert [type(await first(each)) for each in (*suspects, others, fresh)] == [
        Progress,
        Progress,
        Overloaded,
        Progress,
    ]
    for suspect in suspects:
        await suspect.aclose()
    others = diffusion.generate(job(3), OTHERS)
    assert isinstance(await first(others), Progress)
    await others.aclose()
    await fresh.aclose()


async def test_a_suspect_that_is_to_be_alone_waits_for_those_before_it_and_lets_nobody_in(diffusion: Diffusion) -> None:
    fresh = diffusion.generate(job(1), None)
    await first(fresh)
    alone = diffusion.generate(job(2), ALONE)
    waits = asyncio.ensure_future(first(alone))
    await asyncio.sleep(0.2)
    assert not waits.done()
    for suspicion in (None, TOGETHER):
        assert isinstance(await first(diffusion.generate(job(3), suspicion)), Overloaded)
    await fresh.aclose()
    assert isinstance(await waits, Progress)
    assert isinstance(await first(diffusion.generate(job(3), None)), Overloaded)
    await alone.aclose()
    assert isinstance(await first(diffusion.generate(job(3), None)), Progress)


async def test_a_suspect_that_cannot_be_alone_in_time_asks_again_later(
    diffusion: Diffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.diffusion.EMPTY_S", 0.2)
    fresh = diffusion.generate(job(1), None)
    await first(fresh)
    assert isinstance(await first(diffusion.generate(job(2), ALONE)), Overloaded)
    other = diffusion.generate(job(3), None)
    assert isinstance(await first(other), Progress), "nobody is kept out by one that has gone"
    for each in (fresh, other):
        await each.aclose()
