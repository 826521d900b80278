"""The records of jobs as their clients and operators see them: accept, look, ask for things, queue again.

Who drives a job, and how it ends, is the business of `leases`.
"""

import json
import secrets
from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.errors import IdempotencyConflict
from serve_app.records.database import Database
from serve_app.records.insert_once import insert_once
from serve_app.records.outbox import HookState
from serve_app.records.rows import (
    FIRST_FENCE,
    LARGEST_ID,
    RECORD_COLUMNS,
    WAITING_COLUMNS,
    Accepted,
    Idempotency,
    JobRecord,
    Lease,
    NewJob,
    State,
    has_id,
    is_open,
    read_record,
    read_waiting,
)
from serve_app.records.tables import idempotency, inputs, jobs, outbox
from serve_app.records.waiting import Ran, Waiting

__all__ = [
    "Accepted",
    "Idempotency",
    "JobRecord",
    "JobRecords",
    "NewJob",
    "State",
]


class JobRecords:
    """All methods raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, new: NewJob, lease: Lease, idempotent: Idempotency | None, first_id: int) -> Accepted:
        """Write a job down, driven under `lease`, with `first_id` or where that is taken with another id.

        An idempotency key gives its first job again; raises IdempotencyConflict where that had another body.
        After RecordsUnavailable the very same call may be made again: the job is accepted once.
        """
        async with self._database.write() as connection:
            if idempotent is not None and not await _claim_key(connection, new, idempotent, first_id):
                return _as_seen_by(lease, new, await _first_job(connection, new, idempotent))
            id = await _insert_job(connection, new, lease, first_id)
            if id is None:
                return _as_seen_by(lease, new, await _one(connection, jobs.c.file_prefix == new.file_prefix))
            await connection.execute(inputs.insert().values(job_id=id, png=new.png))
            if idempotent is not None and id != first_id:
                await connection.execute(update(idempotency).where(_key(new, idempotent)).values(job_id=id))
            return Accepted(await _one(connection, jobs.c.id == id), fresh=True)

    async def get(self, id: int) -> JobRecord | None:
        """The job, or None where there is none of this id."""
        async with self._database.read() as connection:
            return await _maybe(connection, id)

    async def with_prefix(self, file_prefix: str) -> JobRecord | None:
        """The job whose pictures' names start with this, or None."""
        query = select(*RECORD_COLUMNS).where(jobs.c.file_prefix == file_prefix)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else read_record(row)

    async def preview(self, id: int) -> bytes | None:
        """What the job's picture is becoming, a small PNG, where somebody watches it."""
        async with self._database.read() as connection:
            png: bytes | None = (await connection.execute(select(jobs.c.preview).where(has_id(id)))).scalar()
            return png

    async def unended(self, model_id: str) -> Sequence[Waiting]:
        """This model's jobs that have not ended, oldest first."""
        query = select(*WAITING_COLUMNS).where(jobs.c.model_id == model_id, is_open())
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(jobs.c.created_at, jobs.c.id))).mappings().all()
        return [read_waiting(row) for row in rows]

    async def recent(self, model_id: str, limit: int) -> Sequence[Ran]:
        """The last accepted of this model's jobs that ended well, newest first; only those that ran once."""
        undisturbed = and_(jobs.c.fence == FIRST_FENCE, jobs.c.attempts == 0, jobs.c.started_at.is_not(None))
        query = (
            select(jobs.c.cost, jobs.c.created_at, jobs.c.started_at, jobs.c.ended_at)
            .where(jobs.c.model_id == model_id, jobs.c.state == State.SUCCESS, undisturbed)
            .order_by(jobs.c.created_at.desc())
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [Ran(*row) for row in (await connection.execute(query)).all()]

    async def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        async with self._database.read() as connection:
            found = {State(state): int(count) for state, count in (await connection.execute(query)).all()}
        return {state: found.get(state, 0) for state in State}

    async def list(
        self, *, state: State | None = None, key_name: str | None = None, limit: int = 50
    ) -> Sequence[JobRecord]:
        """The newest jobs, of one state or one key where these are given."""
        query = select(*RECORD_COLUMNS).where(
            true() if state is None else jobs.c.state == state,
            true() if key_name is None else jobs.c.key_name == key_name,
        )
        async with self._database.read() as connection:
            newest = query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
            return [read_record(row) for row in (await connection.execute(newest)).mappings().all()]

    async def ask_cancel(self, id: int) -> JobRecord | None:
        """Ask the job's driver to end it; the record after that, unchanged where it had ended before.

        Its driver sees it at its next round. A job without a driver is the next to be claimed, and whoever
        claims it ends it: so there is one way to an end, with its webhook.
        """
        asked = {"cancel_asked": True, "version": jobs.c.version + 1}
        async with self._database.write() as connection:
            unasked = and_(has_id(id), is_open(), jobs.c.cancel_asked.is_(False))
            await connection.execute(update(jobs).where(unasked).values(asked))
            return await _maybe(connection, id)

    async def watch(self, id: int, until: float) -> None:
        """Somebody watches the job until then: its driver writes previews."""
        earlier = and_(has_id(id), is_open(), jobs.c.watched_until < until)
        async with self._database.write() as connection:
            await connection.execute(update(jobs).where(earlier).values(watched_until=until))

    async def retry(self, id: int, now: float) -> JobRecord | None:
        """Queue a failed or cancelled job again, with the time it had at first; whoever claims it drives it.

        None where there is no such job, its init image is no longer kept, or what it has stored is being deleted.
        """
        again = and_(
            has_id(id),
            or_(jobs.c.state == State.FAILED, jobs.c.state == State.CANCELLED),
            jobs.c.deleting_until <= now,
            exists().where(inputs.c.job_id == jobs.c.id),
        )
        async with self._database.write() as connection:
            # PostgreSQL: only a statement that begins after a purge has ended sees what that has deleted.
            await connection.execute(select(jobs.c.id).where(has_id(id)).with_for_update())
            if (await connection.execute(update(jobs).where(again).values(_queued_again(now)))).rowcount == 0:
                return None
            # Else the client would hear of the first end while the second is on its way.
            unsent = and_(outbox.c.job_id == id, outbox.c.state == HookState.PENDING)
            await connection.execute(delete(outbox).where(unsent))
            return await _maybe(connection, id)


async def _claim_key(connection: AsyncConnection, new: NewJob, idempotent: Idempotency, id: int) -> bool:
    """Whether this is the key's first job. Of several at once the unique key lets one through; others wait for it."""
    row = {
        "key_name": new.key_name,
        "idempotency_key": idempotent.key,
        "body_sha256": idempotent.body_sha256,
        "job_id": id,
        "created_at": new.created_at,
    }
    return await insert_once(connection, idempotency, row)


async def _first_job(connection: AsyncConnection, new: NewJob, idempotent: Idempotency) -> JobRecord:
    """The key's first job. Raises IdempotencyConflict."""
    query = select(idempotency.c.body_sha256, idempotency.c.job_id).where(_key(new, idempotent))
    body_sha256, id = (await connection.execute(query)).one()
    if body_sha256 != idempotent.body_sha256:
        raise IdempotencyConflict(f"job {id} had another body")
    return await _one(connection, jobs.c.id == id)


async def _insert_job(connection: AsyncConnection, new: NewJob, lease: Lease, first_id: int) -> int | None:
    """The id it got; None: this very job was accepted before."""
    id = first_id
    while not await insert_once(connection, jobs, _row(new, lease, first_id, id)):
        ours = select(jobs.c.id).where(jobs.c.file_prefix == new.file_prefix)
        if (await connection.execute(ours)).first() is not None:
            return None
        id = 1 + secrets.randbelow(LARGEST_ID)
    return id


def _row(new: NewJob, lease: Lease, first_id: int, id: int) -> dict[str, object]:
    return {
        **{name: getattr(new, name) for name in NewJob.__slots__ if name != "png"},
        "id": id,
        "links": json.dumps(new.links),
        "fetch_url": new.fetch_url.removesuffix(str(first_id)) + str(id),
        "state": State.QUEUED,
        "version": 1,
        "done": 0,
        "watched_until": 0.0,
        "attempts": 0,
        "cancel_asked": False,
        "lease_owner": lease.owner,
        "lease_until": lease.until,
        "fence": FIRST_FENCE,
    }


def _as_seen_by(lease: Lease, new: NewJob, record: JobRecord) -> Accepted:
    """A job that was there before: also what this very call has made, where its answer got lost."""
    ours = (record.file_prefix, record.lease_owner, record.fence) == (new.file_prefix, lease.owner, FIRST_FENCE)
    return Accepted(record, fresh=ours)


def _queued_again(now: float) -> dict[str, object]:
    cleared = (
        "started_at",
        "ended_at",
        "seconds",
        "sampler",
        "flagged",
        "result",
        "message",
        "failure",
        "delete_at",
        "preview",
    )
    return {
        **dict.fromkeys(cleared),
        "state": State.QUEUED,
        "version": jobs.c.version + 1,
        "done": 0,
        "attempts": 0,
        "cancel_asked": False,
        "deleting_until": 0.0,
        "lease_owner": None,
        "lease_until": 0.0,
        "fence": jobs.c.fence + 1,
        "deadline_at": now + jobs.c.deadline_at - jobs.c.created_at,
    }


def _key(new: NewJob, idempotent: Idempotency) -> ColumnElement[bool]:
    return and_(idempotency.c.key_name == new.key_name, idempotency.c.idempotency_key == idempotent.key)


async def _one(connection: AsyncConnection, which: ColumnElement[bool]) -> JobRecord:
    return read_record((await connection.execute(select(*RECORD_COLUMNS).where(which))).mappings().one())


async def _maybe(connection: AsyncConnection, id: int) -> JobRecord | None:
    row = (await connection.execute(select(*RECORD_COLUMNS).where(has_id(id)))).mappings().first()
    return None if row is None else read_record(row)
