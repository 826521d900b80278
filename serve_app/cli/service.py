"""The service as the command line talks to it: over HTTP, from wherever somebody sits.

A connection that breaks is taken up again: a request under its Idempotency-Key, events after the last one seen.
Knows no terminal.
"""

import ipaddress
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self, TypeVar

import httpx2

from serve_app.api import routes
from serve_app.cli.replies import Busy, Interrupted, Refused, Standing, Unreachable, checked, parse, standing
from serve_app.errors import ConfigError

T = TypeVar("T")

IMG2IMG_PATH = "/api/v3/img2img"
"""The one that does not require a model."""
TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
"""Streams of events are never silent for so long."""
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Before each new try, as long as nothing gets through; a service may be starting again."""
POLL_S = (0.5, 5.0)
"""The shortest and the longest pause between two fetches."""
NO_EVENTS = (204, 404, 405, 501)
"""Statuses of a stream of events that is over, or that this server does not have."""
NOBODY_THERE = "start the service (`darkroom serve`), or give its URL by --url or DARKROOM_URL"
"""What to do where nobody listens."""


class Service:
    """One service with one key. Close it, or use it in `with`.

    All methods raise Refused and Unreachable. Raises ConfigError for a URL that is none.
    """

    def __init__(
        self,
        url: str,
        key: str,
        pauses_s: Sequence[float] = PAUSES_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = url.rstrip("/")
        self._key = {"Authorization": f"Bearer {key}"}
        self._pauses = pauses_s
        self._sleep = sleep
        self._http = httpx2.Client(timeout=TIMEOUT, trust_env=not _is_loopback(url), follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, fields: Mapping[str, str], name: str, picture: bytes) -> Standing:
        """Ask for pictures, to start from one with a name. However often this has to be sent, it is one job."""
        url = self._url + IMG2IMG_PATH
        headers = {**self._key, "Idempotency-Key": str(uuid.uuid4())}
        files = {"init_image": (name, picture, "application/octet-stream")}

        def post() -> Standing:
            return standing(self._http.post(url, data=fields, files=files, headers=headers))

        try:
            return post()
        except httpx2.ConnectError as error:  # nothing was sent, and most often the URL is wrong
            raise Unreachable(f"{self._url}: {error}: {NOBODY_THERE}") from error
        except Busy as error:
            raise Refused(str(error)) from error
        except httpx2.TransportError:
            return self._patiently(post, self._pauses)

    def follow(self, job: int) -> Iterator[Standing]:
        """How the job stands, whenever that changes; the last item is its end."""
        seen, pauses = "", iter(self._pauses)
        while True:
            try:
                for event in self._events(job, seen):
                    seen, pauses = event.id, iter(self._pauses)
                    now = parse(Standing, event.data)
                    yield now
                    if now.ended:
                        return
            except (_NoEvents, httpx2.SSEError):
                yield from self._poll(job)
                return
            except httpx2.TransportError as error:
                self._rest(pauses, error)

    def cancel(self, job: int) -> None:
        """Ask for the job's end."""
        url = routes.job_url(self._url, job)
        self._patiently(lambda: checked(self._http.delete(url, headers=self._key)), self._pauses[:2])

    def download(self, link: str) -> bytes:
        """A finished picture. The key is not sent along: links may lead to other hosts."""
        return self._patiently(lambda: checked(self._http.get(link)), self._pauses).content

    def _events(self, job: int, seen: str) -> Iterator[httpx2.ServerSentEvent]:
        headers = {**self._key, **({"Last-Event-ID": seen} if seen else {})}
        with self._http.sse(routes.job_events_url(self._url, job), headers=headers) as source:
            if source.response.status_code in NO_EVENTS:
                raise _NoEvents
            if not source.response.is_success:
                source.response.read()
            checked(source.response)
            yield from (event for event in source if event.data)
            raise Interrupted("the stream of events ended before the job")

    def _poll(self, job: int) -> Iterator[Standing]:
        url = routes.fetch_url(self._url, IMG2IMG_PATH, job)
        shortest, longest = POLL_S
        while True:
            now = self._patiently(lambda: standing(self._http.post(url, headers=self._key)), self._pauses)
            yield now
            if now.ended:
                return
            self._sleep(min(max((now.eta or 0.0) / 4, shortest), longest))

    def _patiently(self, ask: Callable[[], T], pauses_s: Sequence[float]) -> T:
        pauses = iter(pauses_s)
        while True:
            try:
                return ask()
            except httpx2.TransportError as error:
                self._rest(pauses, error)

    def _rest(self, pauses: Iterator[float], error: httpx2.TransportError) -> None:
        """Wait before the next try, or give up."""
        pause = next(pauses, None)
        if pause is None:
            raise Unreachable(f"{self._url}: {error}") from error
        self._sleep(pause)


class _NoEvents(Exception):
    """There is no stream of events for this job."""


def _is_loopback(url: str) -> bool:
    """Whether the service runs on this machine, where no proxy stands between. Raises ConfigError for no URL."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ConfigError(f"{url}: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"{url} is not a URL like http://127.0.0.1:8000")
    try:
        return parsed.host == "localhost" or ipaddress.ip_address(parsed.host).is_loopback
    except ValueError:
        return False
