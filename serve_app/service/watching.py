"""What clients see of jobs that are written down, whichever process drives them."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from serve_app.api import events
from serve_app.api.views import JobView
from serve_app.errors import JobNotFound, RecordsUnavailable, StoreUnavailable
from serve_app.postprocess.storage import ObjectStore
from serve_app.records.jobs import JobRecord, JobRecords
from serve_app.records.outbox import Outbox
from serve_app.records.rows import OPEN
from serve_app.service.driver import Driver
from serve_app.service.eta import Load, whole_load
from serve_app.service.forecast import Estimate, Forecast
from serve_app.service.stopwatch import Laps
from serve_app.service.viewing import Catalogue, outputs_of, view_of

logger = logging.getLogger(__name__)

POLL_S = 0.5
"""How often a job is looked at that somebody watches or waits for."""
WATCH_S = 5.0
"""A look at a stream of events counts as watching for so long."""
KEEP_ALIVE_S = 10.0
NO_LAPS: Laps = {}


@dataclass(frozen=True, slots=True)
class Seen:
    """A job and what `output` holds of it."""

    view: JobView
    outputs: list[str]
    laps: Laps
    """Of its way to its end, where that was driven and awaited here."""


class Watcher:
    """Reads the records for clients. All methods raise RecordsUnavailable."""

    def __init__(
        self,
        records: JobRecords,
        outbox: Outbox,
        store: ObjectStore,
        catalogue: Catalogue,
        driver: Driver,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._outbox = outbox
        self._store = store
        self._catalogue = catalogue
        self._driver = driver
        self._forecasts = {id: Forecast(records, entry, clock) for id, entry in catalogue.items()}
        self._clock = clock

    async def find(self, id: int, key_name: str | None) -> JobRecord:
        """The job of this key; None stands for any. Raises JobNotFound."""
        record = await self._records.get(id)
        if record is None or (key_name is not None and record.key_name != key_name):
            raise JobNotFound(str(id))
        return record

    async def _ended(self, record: JobRecord, within_s: float) -> tuple[JobRecord, Laps]:
        """The job when it has ended, or as it stands after so many seconds."""
        until = self._clock() + within_s
        laps = await self._driver.wait(record.id, within_s)
        while record.state in OPEN and within_s > 0:
            record = await self.find(record.id, None)
            left = until - self._clock()
            if record.state not in OPEN or left <= 0:
                break
            await asyncio.sleep(min(POLL_S, left))
        return record, laps

    async def view(self, record: JobRecord) -> JobView:
        """The job as its client may see it."""
        forecast = self._forecasts.get(record.model_id)
        estimate = Estimate() if forecast is None else await forecast.estimate(record)
        hook = "" if record.webhook is None or record.state in OPEN else await self._outbox.status_of(record.id)
        return view_of(record, self._catalogue, estimate, hook)

    async def seen(self, record: JobRecord, laps: Laps = NO_LAPS) -> Seen:
        """The job with its outputs. Raises StoreUnavailable and RouteNotFound too."""
        view = await self.view(record)
        return Seen(view, await outputs_of(view, self._store), laps)

    async def awaited(self, record: JobRecord, within_s: float) -> Seen:
        """What a job that was accepted just now has come to within so many seconds.

        Where the records or the store go away meanwhile it is told as it was seen last: it is written down, and
        nobody shall send it again. Raises RouteNotFound.
        """
        try:
            return await self.seen(*await self._ended(record, within_s))
        except (RecordsUnavailable, StoreUnavailable) as error:
            logger.warning("the answer for job %d is not fresh: %s", record.id, error)
            return Seen(view_of(record, self._catalogue, Estimate(within_s)), [], NO_LAPS)

    async def load(self) -> Load:
        """Of all models."""
        return whole_load([await forecast.load() for forecast in self._forecasts.values()])

    async def events(self, record: JobRecord, last_seen: int) -> AsyncIterator[str]:
        """The text of the job's event stream, until its end: an event for each look that finds news."""
        yield events.OPENING
        spoke_at = self._clock()
        while True:
            try:
                view, text = await self._look(record.id, last_seen)
            except RecordsUnavailable:
                view, text = None, None  # the client need not know
            if text is None and self._clock() - spoke_at >= KEEP_ALIVE_S:
                text = events.KEEP_ALIVE
            if text is not None:
                spoke_at = self._clock()
                yield text
            if view is not None:
                last_seen = view.version
                if view.ended:
                    return
            await asyncio.sleep(POLL_S)

    async def _look(self, id: int, last_seen: int) -> tuple[JobView, str | None]:
        """The job now, and its event where that is news. Looking counts as watching for a while."""
        record = await self.find(id, None)
        view = await self.view(record)
        if not view.ended and record.watched_until < self._clock() + WATCH_S / 2:
            await self._records.watch(id, self._clock() + WATCH_S)
        if not events.is_news(view, last_seen):
            return view, None
        return view, events.event_text(view, None if view.ended else await self._records.preview(id))
