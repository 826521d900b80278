"""Jobs to put into the records, and how they fare there."""

import uuid
from dataclasses import replace

import numpy as np
from sqlalchemy import func, select

from serve_app.messages import Img2ImgJob
from serve_app.records.database import Database
from serve_app.records.document import dump_job
from serve_app.records.jobs import Accepted, Idempotency, JobRecord, JobRecords, NewJob, State
from serve_app.records.leases import Heartbeat, Leases, Outcome
from serve_app.records.outbox import OutboxEntry, make_entry
from serve_app.records.rows import Lease
from serve_app.records.tables import inputs

NOW = 1_700_000_000.0
LEASE_S = 15.0
OURS = Lease("ours", NOW + LEASE_S)
THEIRS = Lease("theirs", NOW + 10 * LEASE_S)
LATER = OURS.until + 1
"""When OURS has run out."""
PNG = b"\x89PNG\r\n\x1a\n\x00\xff not quite"
URL = "https://good.test/hook"


def new_job(**other: object) -> NewJob:
    """A job with a prefix of its own."""
    job = Img2ImgJob(7, "pocket", "a red star", "", np.zeros((64, 128, 3), np.uint8), 2, 10, 7.5, 0.7, 42)
    new = NewJob(
        key_name="first",
        model_id="pocket",
        file_prefix=str(uuid.uuid4()),
        request='{"prompt": "a \\u2605"}',
        job=dump_job(job),
        links=("https://host.test/a-0.png", "https://host.test/a-1.png"),
        fetch_url="https://host.test/fetch/7",
        webhook=URL,
        cost=3_000_000_000,
        total=14,
        temporary=False,
        png=PNG,
        created_at=NOW,
        deadline_at=NOW + 600,
    )
    return replace(new, **other)  # type: ignore[arg-type]


async def accept(
    records: JobRecords, id: int = 7, lease: Lease = OURS, idempotent: Idempotency | None = None, **other: object
) -> Accepted:
    """A new job that takes this id first."""
    new = new_job(**{"fetch_url": f"https://host.test/fetch/{id}", **other})
    return await records.accept(new, lease, idempotent, id)


async def read(records: JobRecords, id: int = 7) -> JobRecord:
    """The job, which is there."""
    record = await records.get(id)
    assert record is not None
    return record


def heartbeat(
    id: int = 7, fence: int = 1, done: int = 0, started_at: float | None = None, **other: object
) -> Heartbeat:
    """What a driver of one job knows."""
    return replace(Heartbeat(id, fence, 0, done, 14, started_at, None), **other)  # type: ignore[arg-type]


def outcome(state: State = State.SUCCESS, hook: OutboxEntry | None = None, **other: object) -> Outcome:
    """An end."""
    message = None if state == State.SUCCESS else "The model broke."
    made = Outcome(state, message, "DDIMScheduler", 1.5, False, None, hook)
    return replace(made, **other)  # type: ignore[arg-type]


def hook(id: int = 7) -> OutboxEntry:
    """A webhook of this job's end."""
    return make_entry(id, "first", URL, {"id": id}, NOW)


async def has_input(database: Database, id: int = 7) -> bool:
    """Whether its init image is kept."""
    query = select(func.count()).where(inputs.c.job_id == id)
    async with database.read() as connection:
        return bool((await connection.execute(query)).scalar())


async def claim_ids(leases: Leases, lease: Lease = THEIRS, now: float = LATER, limit: int = 100) -> list[int]:
    """Claim, and tell which jobs it were."""
    return [claimed.record.id for claimed in await leases.claim(lease, now, limit)]
