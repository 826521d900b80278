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


async def test_a_suspect_begins_only_after_its_driver_was_told(diffusion: Diffusion) -> None:
    suspect = diffusion.generate(job(1), suspect=True)
    assert isinstance(await first(suspect), Progress)
    assert diffusion._steps.jobs == 0
    assert isinstance(await first(suspect), Progress)
    assert diffusion._steps.jobs == 1
    await suspect.aclose()


async def test_one_suspect_runs_at_a_time_whoever_drives_it_and_others_beside_it(diffusion: Diffusion) -> None:
    suspect, other, fresh = (
        diffusion.generate(job(1), suspect=True),
        diffusion.generate(job(2), suspect=True),
        diffusion.generate(job(3), suspect=False),
    )
    assert isinstance(await first(suspect), Progress)
    assert isinstance(await first(other), Overloaded)
    assert isinstance(await first(fresh), Progress)
    await suspect.aclose()
    other = diffusion.generate(job(2), suspect=True)
    assert isinstance(await first(other), Progress)
    await other.aclose()
    await fresh.aclose()
