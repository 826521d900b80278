"""What a job costs, how fast its model works, and when it will end. Pure: numbers in, numbers out.

Cost is counted in UNet evaluations × UNet rows × latent pixels. `Waiting` and `Ran` are what the records tell.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from serve_app.jobs.rehearsal import Engine, Rehearsal, Waiting, group_of

__all__ = [
    "FIRST_GUESS_RATE",
    "RECENT",
    "Engine",
    "Load",
    "Ran",
    "Waiting",
    "cost",
    "eta_s",
    "etas",
    "evaluations",
    "group_of",
    "queue_position",
    "rate",
    "whole_load",
]

SECOND_ORDER = (
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KarrasVeScheduler",
    "ScoreSdeVeScheduler",
)
"""Two evaluations a step, and one for the last."""
INVERSION = "DDIMInverseScheduler"
"""All steps up without guidance, then down again with it."""
WARMED_UP = "PNDMScheduler"
"""One evaluation more than steps."""

RECENT = 256
"""How many ended jobs to give to the functions below: those accepted last, since those that ended last are among them
(a queue lets short jobs pass, so the two are not the same)."""
STRETCHES = (8, 16, 32, 64)
"""The rate is that of the best stretch among those since so many ends ago."""
STRETCH_S = 1.0
"""A shorter stretch tells more of chance than of speed."""
PROGRESS_AGE_S = 0.5
"""How old the progress of a running job is when it is read: a tick of the engine, half a tick of its driver."""
LEAST_ETA_S = 0.1
FIRST_GUESS_RATE = 5000.0
"""The pocket model's on one core of a CPU, about; a GPU with a large model is hundreds of times as fast."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A job that ended well."""

    cost: int
    started_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to do."""

    queue_num: int
    """Jobs that have not ended."""
    queue_time: int
    """Whole seconds until they all have."""


def evaluations(steps: int, strength: float, sampler: str | None) -> int:
    """UNet evaluations of one sample, at least 1. `sampler` is a name of SAMPLER_NAMES; None counts as an ordinary one,
    so give the model's own where it is known."""
    kept = _kept(steps, strength)
    if sampler in SECOND_ORDER:
        return 2 * kept - 1
    if sampler == INVERSION:
        return 2 * kept
    return kept + (sampler == WARMED_UP and steps > 1)


def cost(
    steps: int, strength: float, guidance_scale: float, samples: int, width: int, height: int, sampler: str | None
) -> int:
    """Of a whole job, in evaluations × UNet rows × latent pixels; width and height in pixels."""
    made = evaluations(steps, strength, sampler)
    alone = _kept(steps, strength) if sampler == INVERSION else 0
    guided = 2 if guidance_scale > 1 else 1
    return samples * (alone + guided * (made - alone)) * group_of(width, height, False).pixels


def _kept(steps: int, strength: float) -> int:
    """The steps that strength leaves, as diffusers counts them; an evaluation costs less than a job without any."""
    return max(1, min(int(steps * strength), steps))


def rate(recent: Sequence[Ran], waiting: Sequence[Waiting], now: float) -> float | None:
    """Cost per second that somebody worked, of all that ran at once: what the model achieves under its load.

    Taken over the latest stretches of work, from jobs that ended (in any order) and the progress of those running.
    The best counts, since a stretch of lone jobs says little of a full engine. None where nothing has run yet.
    """
    work = [Ran(job.cost, job.started_at, job.ended_at) for job in recent] + _progress(waiting, now)
    since = sorted((ran.ended_at for ran in recent), reverse=True)
    starts = [since[count - 1] for count in STRETCHES if count <= len(since)]
    if len(recent) < STRETCHES[-1] and work:
        starts.append(min(ran.started_at for ran in work))
    stretches = [_stretch(work, start) for start in starts]
    long = [made / busy for made, busy in stretches if busy >= STRETCH_S]
    short = [made / busy for made, busy in stretches[-1:] if busy > 0]
    return max(long or short, default=0.0) or None


def etas(
    waiting: Sequence[Waiting], recent: Sequence[Ran], now: float, first_guess_rate: float, engine: Engine
) -> dict[int, float]:
    """Seconds from now to the end of every job by id. Takes milliseconds for 100 jobs: keep it for a tick.

    `waiting` are all jobs of one model that have not ended; `first_guess_rate` is for the first jobs ever. Nobody
    knows who else will come: shorter jobs that do go before longer ones.
    """
    speed = rate(recent, waiting, now) or first_guess_rate
    return {id: max(LEAST_ETA_S, end) for id, end in Rehearsal(waiting, engine, speed).ends().items()}


def eta_s(
    own: Waiting,
    all_waiting: Sequence[Waiting],
    recent: Sequence[Ran],
    now: float,
    first_guess_rate: float,
    engine: Engine,
) -> float:
    """Seconds from now to the end of one job, which need not be among `all_waiting`."""
    waiting = [own, *(job for job in all_waiting if job.id != own.id)]
    speed = rate(recent, waiting, now) or first_guess_rate
    return max(LEAST_ETA_S, Rehearsal(waiting, engine, speed).ends(until=own.id)[own.id])


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


def _progress(waiting: Sequence[Waiting], now: float) -> list[Ran]:
    """What the running jobs have done, as if it were jobs that have ended."""
    seen = now - PROGRESS_AGE_S
    return [
        Ran(round(job.finished), job.started_at, max(seen, job.started_at))
        for job in waiting
        if job.is_running and job.started_at is not None and job.done
    ]


def _stretch(work: Iterable[Ran], start: float) -> tuple[float, float]:
    """The cost done since `start`, each job's spread evenly over its time, and the seconds in which any ran."""
    made = busy = 0.0
    reached = start
    for ran in sorted(work, key=lambda ran: ran.started_at):
        begin = max(ran.started_at, start)
        if ran.ended_at <= begin:
            continue
        made += ran.cost * (ran.ended_at - begin) / (ran.ended_at - ran.started_at)
        busy += max(0.0, ran.ended_at - max(begin, reached))
        reached = max(reached, ran.ended_at)
    return made, busy
