"""What the records let go: expired pictures, init images and idempotency keys of long ago, and old jobs themselves.

Any number of couriers may do it at the same time: what one has taken, the others pass over.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Table, and_, delete, exists, not_, select, update

from serve_app.records.database import Database
from serve_app.records.outbox import HookState
from serve_app.records.rows import RECORD_COLUMNS, JobRecord, read_record
from serve_app.records.tables import idempotency, inputs, jobs, outbox

AT_ONCE = 500
"""Rows of one transaction, so that nobody has to wait long for it."""


@dataclass(frozen=True, slots=True)
class Expired:
    """A job whose pictures the caller deletes, and nobody else until then."""

    record: JobRecord
    until: float


class Clearing:
    """All methods raise RecordsUnavailable; each may then be called again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take_expired(self, now: float, until: float, limit: int) -> list[Expired]:
        """Jobs whose pictures are to be deleted, those first that are due longest; they are the caller's until then.

        A job that is taken is not queued again meanwhile: the new run's pictures would have the same names.
        """
        due = select(jobs.c.id).where(jobs.c.delete_at <= now, jobs.c.deleting_until <= now)
        first = due.order_by(jobs.c.delete_at).limit(limit).with_for_update(skip_locked=True)
        async with self._database.write() as connection:
            taken = jobs.c.id.in_((await connection.execute(first)).scalars().all())
            await connection.execute(update(jobs).where(taken).values(deleting_until=until))
            found = await connection.execute(select(*RECORD_COLUMNS).where(taken).order_by(jobs.c.delete_at))
            return [Expired(read_record(row), until) for row in found.mappings()]

    async def forget_pictures(self, id: int, until: float) -> None:
        """They are deleted. Does nothing where they are no longer taken until then: others may have them."""
        ours = and_(jobs.c.id == id, jobs.c.deleting_until == until)
        async with self._database.write() as connection:
            await connection.execute(update(jobs).where(ours).values(delete_at=None, deleting_until=0.0))

    async def purge_inputs(self, before: float) -> int:
        """Delete the init images of jobs that ended before then; how many there were. They cannot be retried."""
        # As a sum, so that SQLite looks up the few jobs that have one, and not all that ended before.
        return await self._purge(and_(jobs.c.ended_at + 0.0 < before, jobs.c.id.in_(select(inputs.c.job_id))), inputs)

    async def purge_jobs(self, before: float) -> int:
        """Delete jobs that ended before then, have no webhook under way and no picture to be deleted; how many."""
        unsent = exists().where(outbox.c.job_id == jobs.c.id, outbox.c.state == HookState.PENDING)
        return await self._purge(and_(jobs.c.ended_at < before, jobs.c.delete_at.is_(None), not_(unsent)), jobs)

    async def purge_idempotency(self, before: float) -> int:
        """Forget the idempotency keys that were first used before then; how many there were."""
        async with self._database.write() as connection:
            return (await connection.execute(delete(idempotency).where(idempotency.c.created_at < before))).rowcount

    async def _purge(self, old: ColumnElement[bool], table: Table) -> int:
        """Delete rows of old jobs. Their jobs' rows are locked first, so that nobody queues one of them again."""
        some = select(jobs.c.id).where(old).limit(AT_ONCE).with_for_update(of=jobs, skip_locked=True)
        column = jobs.c.id if table is jobs else table.c.job_id
        purged = 0
        while True:
            async with self._database.write() as connection:
                ids = (await connection.execute(some)).scalars().all()
                purged += (await connection.execute(delete(table).where(column.in_(ids)))).rowcount if ids else 0
            if len(ids) < AT_ONCE:
                return purged
