"""What a job costs, and when it will end. Pure: numbers in, numbers out.

Cost is counted in UNet evaluations × UNet rows × latent pixels. `records.waiting` holds what the records tell.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from serve_app.records.waiting import Waiting, group_of
from serve_app.samplers.counts import INVERSION, evaluations, kept_steps
from serve_app.service.rehearsal import Engine, Pace, Rehearsal

RECENT = 256
"""How many ended jobs to give to `pace.pace_of`: those accepted last, since those that ended last are among them
(a queue lets short jobs pass, so the two are not the same)."""
LEAST_ETA_S = 0.1
FIRST_GUESS = Pace(job_s=0.0, cost_s=1 / 50_000, lately=0.0)
"""Of a model that has not worked yet."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to do."""

    queue_num: int
    """Jobs that have not ended."""
    queue_time: int
    """Whole seconds until they all have."""


def cost(
    steps: int, strength: float, guidance_scale: float, samples: int, width: int, height: int, sampler: str | None
) -> int:
    """Of a whole job, in evaluations × UNet rows × latent pixels; width and height in pixels.

    A job without any evaluation counts as one of one: what it takes besides costs more.
    """
    made = max(1, evaluations(steps, strength, sampler))
    alone = kept_steps(steps, strength) if sampler == INVERSION else 0
    guided = 2 if guidance_scale > 1 else 1
    return samples * (alone + guided * (made - alone)) * group_of(width, height, False).pixels


def etas(waiting: Sequence[Waiting], pace: Pace, engine: Engine) -> dict[int, float]:
    """Seconds from now to the end of every job by id. Takes milliseconds for 100 jobs: keep it for a tick.

    `waiting` are all jobs of one model that have not ended. Nobody knows who else will come: shorter jobs that do go
    before longer ones.
    """
    return {id: max(LEAST_ETA_S, end) for id, end in Rehearsal(waiting, engine, pace).ends().items()}


def eta_s(own: Waiting, all_waiting: Sequence[Waiting], pace: Pace, engine: Engine) -> float:
    """Seconds from now to the end of one job, which need not be among `all_waiting`."""
    waiting = [own, *(job for job in all_waiting if job.id != own.id)]
    return max(LEAST_ETA_S, Rehearsal(waiting, engine, pace).ends(until=own.id)[own.id])


def queue_position(own: Waiting, all_waiting: Iterable[Waiting]) -> int:
    """How many jobs were accepted before it and have not started; 0 for one that runs."""
    if own.is_running:
        return 0
    mine = (own.created_at, own.id)
    return sum(not job.is_running and (job.created_at, job.id) < mine for job in all_waiting)


def whole_load(loads: Iterable[Load]) -> Load:
    """Of all models together, which work side by side."""
    told = list(loads)
    return Load(sum(one.queue_num for one in told), max((one.queue_time for one in told), default=0))
