"""Who drives a job and how it ends: leases that run out, with a fencing number that refuses late writes.

Every write of a driver counts only while the job has not ended and its fence is the driver's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import RowMapping, and_, bindparam, delete, func, or_, select, true, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.records.database import Database
from serve_app.records.outbox import Outbox, OutboxEntry
from serve_app.records.rows import OPEN, RECORD_COLUMNS, JobRecord, Lease, State, is_held, is_open, read_record
from serve_app.records.tables import inputs, jobs

PROGRESS = ("state", "done", "total", "started_at")
"""The columns that a driver's heartbeats write."""

__all__ = ["Claimed", "Heartbeat", "Lease", "Leases", "Outcome", "Renewal"]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that the caller drives now, with its init image at the job's size; None where that is no longer kept."""

    record: JobRecord
    png: bytes | None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a driver knows of one of its jobs now."""

    id: int
    fence: int
    attempts: int
    """Broken off before the one that it tells of; where the records count more it tells nothing."""
    done: int
    total: int
    started_at: float | None
    """None until it runs; the first one that is written stays."""
    preview: bytes | None
    """A small PNG; None: nothing new, what is there stays."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a driver learns of its jobs, by their ids."""

    cancelled: frozenset[int]
    """Somebody asked to cancel them."""
    lost: frozenset[int]
    """They are no longer the driver's: they have ended or somebody claimed them."""
    watched: frozenset[int]
    """Somebody watches them: previews are welcome."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended. Raises ValueError for a state that is no end."""

    state: State
    message: str | None
    """Why it failed, for its client."""
    sampler: str | None
    seconds: float | None
    """Of generation."""
    flagged: bool | None
    delete_at: float | None
    """When its pictures go; None: never."""
    hook: OutboxEntry | None
    failure: str | None = None
    """What it failed of, for programs, as JSON."""
    result: str | None = None
    """`results.Result` as JSON."""

    def __post_init__(self) -> None:
        if self.state in OPEN:
            raise ValueError(f"{self.state} is no end")


class Leases:
    """What drivers and couriers do. All methods raise RecordsUnavailable; each may then be called again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, lease: Lease, now: float, limit: int, *, only_over: bool = False) -> list[Claimed]:
        """Take jobs whose lease has run out: cancelled ones first, then the oldest.

        Also those that are to be cancelled or are past their deadline, `only_over` those alone: the claimer ends them.
        """
        over = or_(jobs.c.cancel_asked, jobs.c.deadline_at <= now) if only_over else true()
        orphans = select(jobs.c.id).where(is_open(), jobs.c.lease_until < now, over)
        first = orphans.order_by(jobs.c.cancel_asked.desc(), jobs.c.created_at, jobs.c.id).limit(limit)
        async with self._database.write() as connection:
            # PostgreSQL: two claimers must not wait for each other's rows. SQLite has one writer anyway.
            ids = (await connection.execute(first.with_for_update(skip_locked=True))).scalars().all()
            return await _take(connection, ids, lease) if ids else []

    async def renew(self, lease: Lease, heartbeats: Sequence[Heartbeat], now: float) -> Renewal:
        """Renew the leases of all of a driver's jobs, write what has changed, and learn what was asked."""
        if not heartbeats:
            return Renewal(frozenset(), frozenset(), frozenset())
        async with self._database.write() as connection:
            rows = {row["id"]: row for row in await _renew(connection, lease, heartbeats)}
            held = [beat for beat in heartbeats if beat.id in rows]
            await _write_progress(connection, held, rows)
            await _write_previews(connection, held)
        return Renewal(
            cancelled=frozenset(id for id, row in rows.items() if row["cancel_asked"]),
            lost=frozenset(beat.id for beat in heartbeats) - rows.keys(),
            watched=frozenset(id for id, row in rows.items() if row["watched_until"] > now),
        )

    async def add_attempt(self, id: int, fence: int) -> int | None:
        """Count a run that killed or hung its replica: the new count, or None where the lease is lost.

        What it had done counts no more. After RecordsUnavailable it may have been counted.
        """
        new = {"attempts": jobs.c.attempts + 1, "done": 0, "version": jobs.c.version + 1}
        counted = update(jobs).where(is_held(id, fence)).values(new)
        async with self._database.write() as connection:
            row = (await connection.execute(counted.returning(jobs.c.attempts))).first()
        return None if row is None else int(row[0])

    async def release(self, id: int, fence: int) -> None:
        """Give a job back at once, for anybody to claim; the caller's fence is worth nothing from then on."""
        free = {"lease_owner": None, "lease_until": 0.0, "fence": jobs.c.fence + 1}
        async with self._database.write() as connection:
            await connection.execute(update(jobs).where(is_held(id, fence)).values(free))

    async def end(self, id: int, fence: int, outcome: Outcome, now: float, started_at: float | None = None) -> bool:
        """End a job, with its webhook. False: somebody else ended it or has it, and nothing was written.

        `started_at` counts where no round has written it. Of a success the init image is deleted at once; `retry`
        may want that of the others, so `Clearing` deletes it later. Calling it again after RecordsUnavailable
        gives True also where it had ended then.
        """
        async with self._database.write() as connection:
            ended = update(jobs).where(is_held(id, fence)).values(_end(outcome, now, started_at))
            if (await connection.execute(ended)).rowcount == 0:
                return await _has_ended_so(connection, id, fence, outcome.state)
            if outcome.state == State.SUCCESS:
                await connection.execute(delete(inputs).where(inputs.c.job_id == id))
            if outcome.hook is not None:
                await Outbox.insert(connection, outcome.hook)
            return True


async def _take(connection: AsyncConnection, ids: Sequence[int], lease: Lease) -> list[Claimed]:
    chosen = jobs.c.id.in_(ids)
    taken = {"lease_owner": lease.owner, "lease_until": lease.until, "fence": jobs.c.fence + 1}
    await connection.execute(update(jobs).where(chosen).values(taken))
    query = select(*RECORD_COLUMNS, inputs.c.png).outerjoin(inputs).where(chosen).order_by(jobs.c.created_at, jobs.c.id)
    rows = (await connection.execute(query)).mappings().all()
    return [Claimed(read_record(row), row["png"]) for row in rows]


async def _renew(connection: AsyncConnection, lease: Lease, heartbeats: Sequence[Heartbeat]) -> Sequence[RowMapping]:
    """The rows that are still the driver's; nobody else changes them until this transaction ends."""
    ours = and_(tuple_(jobs.c.id, jobs.c.fence).in_([(beat.id, beat.fence) for beat in heartbeats]), is_open())
    renewed = update(jobs).where(ours).values(lease_owner=lease.owner, lease_until=lease.until)
    seen = [jobs.c[name] for name in ("id", "attempts", *PROGRESS, "cancel_asked", "watched_until")]
    return (await connection.execute(renewed.returning(*seen))).mappings().all()


async def _write_progress(
    connection: AsyncConnection, heartbeats: Iterable[Heartbeat], rows: Mapping[int, RowMapping]
) -> None:
    changed = [{"job_id": beat.id, **new} for beat in heartbeats if (new := _progress(beat, rows[beat.id]))]
    if changed:
        new = {name: bindparam(f"new_{name}", type_=jobs.c[name].type) for name in PROGRESS}
        moved = update(jobs).where(jobs.c.id == bindparam("job_id")).values(**new, version=jobs.c.version + 1)
        await connection.execute(moved, changed)


def _progress(heartbeat: Heartbeat, row: RowMapping) -> dict[str, object] | None:
    """What the row shall read; None where it does, or where the attempt that this tells of has broken off."""
    if row["attempts"] != heartbeat.attempts:
        return None
    started_at = heartbeat.started_at if row["started_at"] is None else row["started_at"]
    state = State.QUEUED if heartbeat.started_at is None and row["state"] == State.QUEUED else State.RUNNING
    new = {"state": state, "done": heartbeat.done, "total": heartbeat.total, "started_at": started_at}
    if all(row[name] == value for name, value in new.items()):
        return None
    return {f"new_{name}": value for name, value in new.items()}


async def _write_previews(connection: AsyncConnection, heartbeats: Iterable[Heartbeat]) -> None:
    drawn = [{"job_id": beat.id, "new_preview": beat.preview} for beat in heartbeats if beat.preview is not None]
    if drawn:
        png = bindparam("new_preview", type_=jobs.c.preview.type)
        other = update(jobs).where(jobs.c.id == bindparam("job_id"), jobs.c.preview.is_distinct_from(png))
        await connection.execute(other.values(preview=png, version=jobs.c.version + 1), drawn)


def _end(outcome: Outcome, now: float, started_at: float | None) -> dict[str, object]:
    return {
        "started_at": jobs.c.started_at if started_at is None else func.coalesce(jobs.c.started_at, started_at),
        "state": outcome.state,
        "message": None if outcome.message is None else _storable(outcome.message),
        "failure": None if outcome.failure is None else _storable(outcome.failure),
        "sampler": outcome.sampler,
        "seconds": outcome.seconds,
        "flagged": outcome.flagged,
        "result": outcome.result,
        "delete_at": outcome.delete_at,
        "ended_at": now,
        "done": jobs.c.total if outcome.state == State.SUCCESS else jobs.c.done,
        "preview": None,
        "version": jobs.c.version + 1,
        "lease_owner": None,
        "lease_until": 0.0,
    }


def _storable(text: str) -> str:
    """Without what PostgreSQL does not keep as text: NUL and lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


async def _has_ended_so(connection: AsyncConnection, id: int, fence: int, state: State) -> bool:
    """Under one fence only its driver ends a job: then it was this very call, and its answer got lost."""
    query = select(jobs.c.id).where(jobs.c.id == id, jobs.c.fence == fence, jobs.c.state == state)
    return (await connection.execute(query)).first() is not None
