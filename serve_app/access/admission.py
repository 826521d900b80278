"""What is asked before a job is made: whether it was made before, and whether there is room for it."""

from sqlalchemy import func, select

from serve_app.errors import IdempotencyConflict, Overloaded
from serve_app.records.database import Database
from serve_app.records.rows import RECORD_COLUMNS, Idempotency, JobRecord, is_open, read_record
from serve_app.records.tables import idempotency, jobs


class Admission:
    """Reads only; `JobRecords.accept` decides. All methods raise RecordsUnavailable."""

    def __init__(self, database: Database, max_waiting_jobs: int) -> None:
        self._database = database
        self._max_waiting_jobs = max_waiting_jobs

    async def first_job(self, key_name: str, repeated: Idempotency) -> JobRecord | None:
        """The job that was accepted under this key before. Raises IdempotencyConflict where it had another body."""
        mine = (idempotency.c.key_name == key_name, idempotency.c.idempotency_key == repeated.key)
        query = select(idempotency.c.body_sha256, *RECORD_COLUMNS).where(*mine, jobs.c.id == idempotency.c.job_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            return None
        if row["body_sha256"] != repeated.body_sha256:
            raise IdempotencyConflict(f"job {row['id']} had another body")
        return read_record(row)

    async def require_room(self, model_id: str) -> None:
        """Raises Overloaded where too many of this model's jobs have not ended."""
        query = select(func.count()).select_from(jobs).where(jobs.c.model_id == model_id, is_open())
        async with self._database.read() as connection:
            count = (await connection.execute(query)).scalar_one()
        if count >= self._max_waiting_jobs:
            raise Overloaded(f"{count} jobs of {model_id} have not ended")
