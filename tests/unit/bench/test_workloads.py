"""The workloads are what the tables say they are, and the same for everybody."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bench.workloads import (
    ALL_SAMPLERS,
    GUIDANCE,
    LONG_STEPS,
    LORA_SETS,
    SHARED_SAMPLERS,
    SHORT_STEPS,
    STEPS,
    STRENGTHS,
    arrivals,
    long_and_short,
    mixed,
    same,
)
from serve_app.messages import Img2ImgJob


def same_job(one: Img2ImgJob, other: Img2ImgJob) -> bool:
    blank = np.zeros((8, 8, 3), dtype=np.uint8)
    return replace(one, init_image=blank) == replace(other, init_image=blank) and np.array_equal(
        one.init_image, other.init_image
    )


def test_mixed_has_every_value_of_every_parameter_equally_often() -> None:
    jobs = mixed(64, 64, 0)
    assert Counter(job.steps for job in jobs) == dict.fromkeys(STEPS, 16)
    assert Counter(job.strength for job in jobs) == dict.fromkeys(STRENGTHS, 16)
    assert Counter(job.guidance_scale for job in jobs) == dict.fromkeys(GUIDANCE, 16)
    assert Counter(job.loras for job in jobs) == dict.fromkeys(LORA_SETS, 16)
    assert set(Counter(job.sampler.name for job in jobs).values()) == {4, 5}
    assert {job.init_image.shape for job in jobs} == {(64, 64, 3)}


def test_the_peers_get_fourteen_samplers_and_ours_alone_eighteen() -> None:
    assert len(SHARED_SAMPLERS) == 14
    assert {job.sampler.name for job in mixed(64, 64, 0)} == set(SHARED_SAMPLERS)
    assert {job.sampler.name for job in mixed(64, 64, 0, ALL_SAMPLERS)} == set(ALL_SAMPLERS)
    assert len(ALL_SAMPLERS) == 18


@pytest.mark.parametrize("make", [mixed, same, long_and_short])
def test_a_rounds_jobs_are_the_same_whenever_they_are_made(make: Callable[[int, int, int], list[Img2ImgJob]]) -> None:
    assert all(map(same_job, make(12, 64, 3), make(12, 64, 3)))


def test_rounds_share_parameters_but_no_prompt_with_its_picture_and_seed() -> None:
    first, second = mixed(64, 64, 0), mixed(64, 64, 1)
    assert [(job.steps, job.strength, job.sampler) for job in first] == [
        (job.steps, job.strength, job.sampler) for job in second
    ]
    assert not {job.seed for job in first} & {job.seed for job in second}


def test_nobody_merges_tokens() -> None:
    assert not any(job.token_merging for job in (*mixed(8, 64, 0), *same(2, 64, 0), *long_and_short(8, 64, 0)))


def test_one_job_in_five_is_long() -> None:
    assert Counter(job.steps for job in long_and_short(60, 64, 0)) == {SHORT_STEPS: 48, LONG_STEPS: 12}


def test_arrivals_follow_their_rate_and_repeat() -> None:
    came = arrivals(2000, 4.0, 1)
    assert came == sorted(came)
    assert came == arrivals(2000, 4.0, 1) != arrivals(2000, 4.0, 2)
    assert 2000 / came[-1] == pytest.approx(4.0, rel=0.1)
