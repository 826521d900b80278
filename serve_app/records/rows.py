"""What crosses between the records and those who use them: frozen views of a job's row, and how to read them."""

import json
from dataclasses import dataclass, fields
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, false, or_
from sqlalchemy.engine import RowMapping

from serve_app.records.document import read_job
from serve_app.records.tables import jobs
from serve_app.records.waiting import Waiting, group_of

LARGEST_ID = 2**31 - 1
"""Clients decode ids as 32-bit integers."""
FIRST_FENCE = 1
"""Of the driver that accepted the job."""


class State(StrEnum):
    """Where a job stands; the last three are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (State.QUEUED, State.RUNNING)
"""The states that are no end."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who drives, and until when that holds unless it is renewed."""

    owner: str
    """A name that no other driver has, whichever its process, at most 64 characters."""
    until: float


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's Idempotency-Key, and what it was sent with."""

    key: str
    """At most 255 characters; each API key has its own."""
    body_sha256: str


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that is to be accepted; what is not explained here is explained in `JobRecord`."""

    key_name: str
    model_id: str
    file_prefix: str
    request: str
    job: str
    links: tuple[str, ...]
    fetch_url: str
    """Ends with the id that is tried first; where that is taken, the record's ends with the other one."""
    webhook: str | None
    cost: int
    total: int
    temporary: bool
    png: bytes
    """The init image at the job's size."""
    created_at: float
    deadline_at: float


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One row of jobs as it was when it was read. Times are seconds since 1970."""

    id: int
    """1 .. 2^31 - 1. It counts; the one within `job` is the id that was tried first."""
    key_name: str
    """Whose job it is."""
    model_id: str
    file_prefix: str
    """A UUID, which no other job has; its pictures are named after it."""
    request: str
    """What the client asked, as JSON, without the init image's bytes."""
    job: str
    """What decides the pixels, as JSON, without the init image."""
    links: tuple[str, ...]
    """The URLs of its pictures, also before they are there."""
    fetch_url: str
    webhook: str | None
    state: State
    version: int
    """Grows with every change that a watcher would want to see."""
    cost: int
    """UNet evaluations x rows x pixels, estimated."""
    done: int
    """UNet evaluations, of `total`."""
    total: int
    watched_until: float
    attempts: int
    """Runs on replicas that died or hung."""
    cancel_asked: bool
    lease_owner: str | None
    lease_until: float
    fence: int
    """One more with every claim; what is written with an older one is refused."""
    created_at: float
    started_at: float | None
    """When it first ran."""
    ended_at: float | None
    deadline_at: float
    seconds: float | None
    """Of generation."""
    sampler: str | None
    """That really ran."""
    flagged: bool | None
    result: str | None
    """`results.Result` as JSON, where it ended well; None in records of older versions."""
    message: str | None
    """Why it failed, for its client."""
    temporary: bool
    delete_at: float | None
    """When its pictures go; None: never, or they are gone."""
    failure: str | None = None
    """What it failed of, for programs, as JSON; None also of jobs that failed before this was kept."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that is written down."""

    record: JobRecord
    fresh: bool
    """Whether the caller drives it now; else it is the first job of its idempotency key, and others drive it."""


RECORD_COLUMNS = tuple(jobs.c[field.name] for field in fields(JobRecord))
WAITING_NAMES = ("id", "cost", "done", "total", "created_at", "state", "started_at")
WAITING_COLUMNS = (*(jobs.c[name] for name in WAITING_NAMES), jobs.c.job)


def read_record(row: RowMapping) -> JobRecord:
    """A row that has RECORD_COLUMNS, and perhaps more."""
    plain = {column.name: row[column] for column in RECORD_COLUMNS}
    return JobRecord(**{**plain, "state": State(row["state"]), "links": tuple(json.loads(row["links"]))})


def read_waiting(row: RowMapping) -> Waiting:
    """A row of WAITING_COLUMNS."""
    job = read_job(row["job"])
    group = group_of(job.width, job.height, job.token_merging)
    return Waiting(samples=job.samples, group=group, **{name: row[name] for name in WAITING_NAMES})


def has_id(id: int) -> ColumnElement[bool]:
    """The job of this id, which clients may make as large as they like."""
    return jobs.c.id == id if 1 <= id <= LARGEST_ID else false()


def is_open() -> ColumnElement[bool]:
    """The jobs that have not ended."""
    return or_(jobs.c.state == State.QUEUED, jobs.c.state == State.RUNNING)


def is_held(id: int, fence: int) -> ColumnElement[bool]:
    """The job, as long as it has not ended and nobody has claimed it after this fence."""
    return and_(has_id(id), jobs.c.fence == fence, is_open())
