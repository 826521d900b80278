"""The eta keeps its word: measured beside the real planner on a clock that only counts."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.config import POCKET
from serve_app.engine.state import GroupKey
from serve_app.messages import SAMPLER_NAMES, SamplerChoice
from serve_app.records.waiting import Ran, Waiting, group_of
from serve_app.samplers.counts import evaluations
from serve_app.samplers.plan import SamplerTables
from serve_app.service.eta import FIRST_GUESS, Load, cost, eta_s, etas, queue_position, whole_load
from serve_app.service.pace import pace_of
from serve_app.service.rehearsal import Engine, Pace
from tests.unit.service.busy_engine import ONE_SIZE, SIZES, Asked, Day, Device, mixed_jobs, quiet_morning

SMALL, LARGE = GroupKey(8, 8), GroupKey(16, 16)
ENGINE = Engine.of(POCKET)
PACE = Pace(0.0, 1 / 1280, 0.0)
CPU, GPU, SMALL_CPU = Device(0.0075, 1.5e-4), Device(0.05, 7.5e-5), Device(0.0075, 5e-5, 0.08)
QUEUED = 200
FIRST_AT = 15.0
EVERY_S = 0.02
ALL_HERE_AT = FIRST_AT + QUEUED * EVERY_S + 1
BETA = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def waiting(id: int, cost: int = 1280, done: int = 0, **other: object) -> Waiting:
    told = Waiting(id, cost, done, 10, float(id), "running" if done else "queued", 0.0 if done else None, 1, SMALL)
    return replace(told, **other)  # type: ignore[arg-type]


def ends(jobs: Sequence[Waiting], speed: float = 1280.0) -> dict[int, float]:
    return etas(jobs, Pace(0.0, 1 / speed, 0.0), ENGINE)


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
@pytest.mark.parametrize(
    ("steps", "strength"), [(9, 0.7), (6, 1.0), (2, 0.7), (1, 1.0), (1, 0.3), (20, 0.01), (50, 0.58), (9, 0.0)]
)
def test_evaluations_are_counted_as_the_samplers_make_them(sampler: str, steps: int, strength: float) -> None:
    plan = SamplerTables().plan(SamplerChoice(sampler), sampler, BETA, steps, strength)
    assert evaluations(steps, strength, sampler) == plan.evaluations


def test_a_job_costs_evaluations_times_unet_rows_times_latent_pixels_of_all_samples() -> None:
    assert cost(20, 0.7, 7.5, 1, 64, 64, "DDIMScheduler") == 14 * 2 * 64
    assert cost(20, 0.7, 7.5, 3, 128, 64, None) == 3 * 14 * 2 * 128
    assert cost(20, 0.7, 1.0, 1, 64, 64, "HeunDiscreteScheduler") == 27 * 64


def test_an_inversion_climbs_without_guidance() -> None:
    assert cost(20, 0.5, 7.5, 1, 64, 64, "DDIMInverseScheduler") == (10 * 1 + 10 * 2) * 64


def test_a_strength_that_leaves_no_step_still_costs_one_evaluation() -> None:
    assert cost(20, 0.0, 7.5, 1, 64, 64, None) == 2 * 64


def test_a_job_takes_its_own_seconds_besides_those_of_its_cost() -> None:
    jobs = [waiting(id, created_at=0.0) for id in range(1, 4)]
    assert etas(jobs, Pace(2.0, 1 / 1280, 0.0), ENGINE) == pytest.approx({1: 5, 2: 7, 3: 9})


def test_the_first_job_ever_is_guessed() -> None:
    own = waiting(1, cost=1280)
    assert pace_of((), [own], 1.0) is None
    assert eta_s(own, (), Pace(0.0, 1 / 640, 0.0), ENGINE) == pytest.approx(2)


def test_a_job_alone_needs_what_is_left_of_it() -> None:
    job = waiting(1, cost=1280, done=5, started_at=None)
    pace = pace_of([Ran(1280, -1.0, 0, 10)], [job], 100.0)
    assert pace is not None
    assert eta_s(job, [job], pace, ENGINE) == pytest.approx(5)


def test_an_eta_is_never_nothing() -> None:
    assert ends([waiting(1, done=10)])[1] > 0


def test_the_shorter_of_two_ends_first_and_the_longer_when_all_work_is_done() -> None:
    many = [waiting(id, cost=1280 if id % 2 else 12800) for id in range(1, 41)]
    found = ends(many)
    assert max(end for id, end in found.items() if id % 2) < min(end for id, end in found.items() if not id % 2)
    assert max(found.values()) == pytest.approx(sum(job.cost for job in many) / 1280)


def test_one_job_is_told_what_all_are_told() -> None:
    many = [waiting(id, cost=1280 * (1 + id % 7), group=SMALL if id % 3 else LARGE) for id in range(1, 60)]
    told = ends(many)
    assert all(eta_s(job, many, PACE, ENGINE) == pytest.approx(told[job.id]) for job in many)


def test_a_job_accepted_a_moment_ago_need_not_be_on_the_list() -> None:
    many = [waiting(id) for id in range(1, 30)]
    assert eta_s(many[-1], many[:-1], PACE, ENGINE) == pytest.approx(ends(many)[29])


def test_samples_of_a_job_run_side_by_side() -> None:
    (alone, four) = (ends([waiting(1, samples=samples), *(waiting(id) for id in range(2, 9))])[1] for samples in (1, 4))
    assert four < alone / 2


def test_two_replicas_take_twice_the_rows_at_once() -> None:
    jobs = [waiting(id, created_at=0.0) for id in range(1, 33)]
    one, two = (etas(jobs, PACE, replace(ENGINE, replicas=replicas)) for replicas in (1, 2))
    assert sorted(set(one.values())) == pytest.approx([8, 16, 24, 32])
    assert sorted(set(two.values())) == pytest.approx([16, 32])


def test_the_position_counts_those_that_came_before_and_have_not_started() -> None:
    line = [waiting(1, done=3), waiting(2), waiting(3), waiting(4)]
    assert [queue_position(job, line) for job in line] == [0, 0, 1, 2]


def test_the_load_of_models_that_work_side_by_side_is_the_longest() -> None:
    assert whole_load([Load(3, 3), Load(2, 40)]) == Load(5, 40)
    assert whole_load([]) == Load(0, 0)


def test_few_tokens_are_not_merged_so_they_run_with_the_others() -> None:
    assert group_of(128, 128, True) == group_of(128, 128, False)
    assert group_of(512, 512, True) != group_of(512, 512, False)


def in_hindsight(day: Day, device: Device) -> Pace:
    """Of the queued jobs, as nobody could know it before they have ended."""
    jobs = [job for job in day.jobs if job.id >= 0]
    busy_s = max(job.ended_at for job in jobs) - FIRST_AT - device.job_s * len(jobs)
    return Pace(device.job_s, busy_s / sum(job.cost for job in jobs), 0.0)


def asked_at(day: Day, moment: Callable[[Asked], float], known: Pace | None = None) -> Iterator[bool]:
    """For every third job whether the eta at its moment is within 30 % of the truth; ended jobs are not asked."""
    for job in day.jobs[::3]:
        now = moment(job)
        if job.id < 0 or now >= job.ended_at:
            continue
        jobs, recent = day.records(now)
        own = next(one for one in jobs if one.id == job.id)
        learned = pace_of(recent, jobs, now) or FIRST_GUESS
        told = eta_s(own, jobs, replace(known, lately=learned.lately) if known else learned, ENGINE)
        truth = job.ended_at - now
        yield abs(told - truth) <= 0.3 * truth


def share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("device", [CPU, GPU, SMALL_CPU], ids=["cpu", "gpu", "cpu that stores too"])
@pytest.mark.parametrize(("sizes", "samples"), [(ONE_SIZE, (1,)), (SIZES, (1, 1, 1, 2, 4))], ids=["alike", "mixed"])
def test_of_two_hundred_queued_jobs_more_than_half_hear_the_truth_within_thirty_percent(
    seed: int, device: Device, sizes: dict[GroupKey, float], samples: Sequence[int]
) -> None:
    rng = random.Random(seed)
    jobs = mixed_jobs(rng, QUEUED, lambda number: FIRST_AT + number * EVERY_S, sizes, samples)
    day = Day([*quiet_morning(jobs, 30), *jobs], ENGINE, device)
    moments: dict[str, Callable[[Asked], float]] = {
        "when it was accepted": lambda job: job.at,
        "when all were queued": lambda _: ALL_HERE_AT,
        "at some later time": lambda job: rng.uniform(job.at, job.ended_at),
    }
    shares = {name: share(list(asked_at(day, moment))) for name, moment in moments.items()}
    print({name: f"{part:.0%}" for name, part in shares.items()})
    assert shares["when all were queued"] > 0.8
    assert shares["at some later time"] > 0.5
    # shorter ones that come later go before it: an eta that knew the pace beforehand is right for a third to a half
    possible = share(list(asked_at(day, lambda job: job.at, in_hindsight(day, device))))
    assert shares["when it was accepted"] > 0.5 * possible


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_every_job_ends_and_the_last_one_when_all_work_is_done(seed: int, count: int) -> None:
    rng = random.Random(seed)
    jobs = [job.told(0.0) for job in mixed_jobs(rng, count, float, SIZES, (1, 2, 4))]
    begun = [replace(job, state="running", done=rng.randint(0, job.total)) for job in jobs[::3]]
    jobs = [*begun, *jobs[1::3]]
    found = etas(jobs, Pace(0.0, 1 / 640, 0.0), ENGINE)
    assert found.keys() == {job.id for job in jobs}
    assert max(found.values()) == pytest.approx(max(0.1, sum(job.remaining for job in jobs) / 640))
