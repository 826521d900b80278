"""How a job ends: the outcome that its driver writes down, its webhook with it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from serve_app.api.answers import webhook_payload
from serve_app.api.failures import dump_failure
from serve_app.api.problems import text_of
from serve_app.config import StorageConfig
from serve_app.errors import Cancelled, DarkroomError, InvalidFields
from serve_app.messages import StoredImage
from serve_app.postprocess.spool import LANDED_AFTER_S
from serve_app.postprocess.storage import ObjectStore
from serve_app.records.jobs import JobRecord, State
from serve_app.records.leases import Outcome
from serve_app.records.outbox import OutboxEntry, make_entry
from serve_app.records.results import Result, dump_result
from serve_app.service.replicas import Generated
from serve_app.service.stopwatch import Laps
from serve_app.service.viewing import Catalogue, outputs_of, view_of


class Endings:
    """Outcomes of one configuration's jobs."""

    def __init__(
        self, storage: StorageConfig, catalogue: Catalogue, store: ObjectStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._storage = storage
        self._catalogue = catalogue
        self._store = store
        self._clock = clock

    async def success(self, record: JobRecord, made: Generated, images: Sequence[StoredImage], laps: Laps) -> Outcome:
        """Its pictures are stored. Raises StoreUnavailable where its webhook wants them."""
        result = Result(replaced=tuple(image.flagged for image in images), stages=dict(laps))
        now = self._clock()
        outcome = Outcome(
            state=State.SUCCESS,
            message=None,
            sampler=made.sampler,
            seconds=made.seconds,
            flagged=any(image.flagged for image in images),
            delete_at=self._deleted_at(record, now),
            hook=None,
            result=dump_result(result),
        )
        return replace(outcome, hook=await self._hook(record, outcome, now))

    async def failure(self, record: JobRecord, error: DarkroomError) -> Outcome:
        """It failed, or somebody cancelled it. What it may have stored is deleted."""
        now = self._clock()
        state = State.CANCELLED if isinstance(error, Cancelled) else State.FAILED
        message, failure = (None, None) if state == State.CANCELLED else (told(error), dump_failure(error))
        outcome = Outcome(state, message, None, None, None, now + LANDED_AFTER_S, None, failure=failure)
        return replace(outcome, hook=await self._hook(record, outcome, now))

    def _deleted_at(self, record: JobRecord, now: float) -> float | None:
        if record.temporary:
            return record.created_at + self._storage.temporary_s
        return None if self._storage.retention_s is None else now + self._storage.retention_s

    async def _hook(self, record: JobRecord, outcome: Outcome, now: float) -> OutboxEntry | None:
        if record.webhook is None:
            return None
        ended = replace(
            record,
            state=outcome.state,
            message=outcome.message,
            failure=outcome.failure,
            sampler=outcome.sampler,
            seconds=outcome.seconds,
            flagged=outcome.flagged,
            result=outcome.result,
            ended_at=now,
        )
        view = view_of(ended, self._catalogue)
        payload = webhook_payload(view, await outputs_of(view, self._store))
        return make_entry(record.id, record.key_name, record.webhook, payload, now)


def told(error: DarkroomError) -> str:
    """What the client of a failed job reads."""
    if isinstance(error, InvalidFields):
        return " ".join(sentence for sentences in error.fields.values() for sentence in sentences)
    return text_of(error)
