"""What the answers are made of: a job as its client may see it, in plain values.

The deployments fill these from the records; nothing here knows a database.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from serve_app.api.wire import Img2ImgRequest

SUCCESS = "success"
CANCELLED = "cancelled"
UNENDED = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Used:
    """What really makes a picture, which is not always what was asked for in so many words."""

    model_id: str
    prompt: str
    """After enhancement; so is the negative one."""
    negative_prompt: str
    sampler: str
    """The class name that ran; before it is known, the one that was asked for or is the model's own."""
    seed: int
    width: int
    height: int
    evaluations: int
    """UNet evaluations of each sample: `num_inference_steps` and strength as this sampler counts them."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One sample of a job, as every channel tells of it."""

    seed: int
    """Its own."""
    replaced: bool | None
    """Whether the safety filter changed it; None where that is not known (yet)."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job at one moment. Times are seconds since 1970."""

    id: int
    state: str
    """queued, running, success, failed or cancelled."""
    version: int
    """One more with every visible change."""
    request: Img2ImgRequest
    used: Used
    file_prefix: str
    pictures: tuple[Picture, ...]
    """One for each sample."""
    links: tuple[str, ...]
    """One for each sample, made when the job was accepted."""
    fetch_url: str
    created_at: float
    started_at: float | None
    """When it first ran."""
    ended_at: float | None
    done: int
    """UNet evaluations of one row, of `total`."""
    total: int
    eta_s: float
    """Seconds until its end, estimated; 0 where it has ended."""
    queue_position: int
    """Jobs accepted before it that have not started; 0 where it runs, is the next, or has ended."""
    attempts: int
    """Runs that broke off because a replica died or hung."""
    seconds: float | None
    """Of generation; there when the state is success. So is `flagged`."""
    stages: Mapping[str, float]
    """Seconds of each stage from its driver taking it to its pictures being stored; empty before that is known."""
    flagged: bool | None
    """Whether the safety checker changed a picture."""
    message: str | None
    """Why it failed, for its client."""
    webhook_status: str
    """How far the delivery of its webhook is; empty where it has none."""
    failure: str | None = None
    """What it failed of, as `api.failures` writes it; None also of jobs of earlier versions."""

    @property
    def ended(self) -> bool:
        """Whether nothing about the job will change any more."""
        return self.state not in UNENDED
