"""Our own output links as init images: read from the store, with the checks that their readers meet, and not by HTTP.

A link is ours where it is one that a job's record holds, or leads to where permanent pictures are served.
"""

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from serve_app.api.routes import FILES_PATH
from serve_app.config import AppConfig
from serve_app.errors import ImageFetchFailed, RouteNotFound
from serve_app.messages import TEMPORARY_FOLDER, is_temporary
from serve_app.postprocess.storage import NAME, ObjectStore
from serve_app.records.jobs import JobRecord, JobRecords
from serve_app.records.rows import OPEN

NOT_YET = "the picture is not finished yet"
EXPIRED = "the link has expired"
GONE = "the picture is no longer kept"


class OwnPictures:
    """Finished pictures by their links."""

    def __init__(
        self, config: AppConfig, records: JobRecords, store: ObjectStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._temporary_s = config.storage.temporary_s
        files = None if config.api.public_url is None else config.api.public_url.rstrip("/") + FILES_PATH
        self._starts = tuple(f"{url.rstrip('/')}/" for url in (files, config.storage.public_url) if url is not None)
        self._records = records
        self._store = store
        self._clock = clock

    async def read(self, url: str) -> bytes | None:
        """The file behind this link; None where it is not ours, whatever it looks like.

        Raises ImageFetchFailed where it is ours and gives nothing, RecordsUnavailable, StoreUnavailable.
        """
        link, name = url.partition("#")[0], _name_in(url)
        if name is None:
            return None
        record = await self._records.with_prefix(name.removeprefix(TEMPORARY_FOLDER)[:36])
        if record is None or not self._is_ours(link, name, record):
            return None
        if record.state in OPEN:
            raise ImageFetchFailed(f"job {record.id} has not ended", NOT_YET)
        if is_temporary(name) and self._clock() >= record.created_at + self._temporary_s:
            raise ImageFetchFailed(f"{name} has expired", EXPIRED)
        try:
            return (await self._store.get(name)).data
        except RouteNotFound as missing:
            raise ImageFetchFailed(f"{name} is not in the store", GONE) from missing

    def _is_ours(self, link: str, name: str, record: JobRecord) -> bool:
        """A temporary link is known by its whole text: nobody else can have made its signature."""
        return link in record.links or (not is_temporary(name) and link in [start + name for start in self._starts])


def _name_in(url: str) -> str | None:
    """What the URL's path ends with, where that is a picture's name."""
    parts = urlsplit(url).path.split("/")
    names = ("/".join(parts[-2:]), parts[-1])
    return next((name for name in names if NAME.fullmatch(name)), None)
