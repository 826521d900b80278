"""POSTs to URLs that strangers gave, by the same guard as init images: judged addresses only, no redirects.

What is sent and what an answer means is the caller's business.
"""

import asyncio
import math
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial

import httpx2

from serve_app.config import WebhooksConfig
from serve_app.inputs.fetch import GuardedTransport, Resolver, TargetRefused

ANSWER_BYTES = 64 * 2**10
"""So much of an answer's body is read, and thrown away, before the connection is closed."""
ANSWER_S = 1.0
"""... and for so long."""
HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """What came of a POST."""

    status: int | None
    """The HTTP status; None where there was no answer."""
    retry_after_s: float | None
    """What the answer's Retry-After says, in seconds from now; infinite where it will never be another."""
    error: str
    """Why there was no answer: refused by the guard, no connection, timeout; for operators, not for clients."""


class NameThreads:
    """The system's resolver on threads of its own.

    A name whose servers are silent holds a thread for half a minute, and the event loop has few to share.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "resolve")

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses in the system's preferred order. Raises OSError, or UnicodeError for what is no name."""
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return [str(where[0]) for *_, where in found]

    def close(self) -> None:
        """Let go of the threads without waiting for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedPoster:
    """Use one per process and close it; any number of posts may run at once."""

    def __init__(
        self,
        config: WebhooksConfig,
        resolve: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._timeout_s = config.timeout_s
        self._clock = clock
        self._names = NameThreads(2 * config.at_once)
        tls = tls or httpx2.create_ssl_context(trust_env=False)
        self._transport = GuardedTransport(config.allowed_networks, resolve or self._names.resolve, tls)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> PostAnswer:
        """The answer's head, within `timeout_s` seconds in all. Raises nothing for what strangers do."""
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._transport.handle_async_request(self._request(url, body, headers))
        except TimeoutError:
            return PostAnswer(None, None, f"no answer within {self._timeout_s:g} s")
        except TargetRefused as refused:
            never = math.inf if refused.is_final else None
            return PostAnswer(None, never, f"TargetRefused: {refused}")
        # ValueError: the resolver refuses a label (UnicodeError) or answers with what is no address.
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            return PostAnswer(None, None, f"{type(error).__name__}: {error}")
        await _drain(response)
        return PostAnswer(response.status_code, self._retry_after(response), "")

    def _request(self, url: str, body: bytes, headers: Mapping[str, str]) -> httpx2.Request:
        timeout = httpx2.Timeout(self._timeout_s, connect=self._timeout_s / 2)
        extensions = {"timeout": timeout.as_dict()}
        return httpx2.Request("POST", url, headers={**HEADERS, **headers}, content=body, extensions=extensions)

    def _retry_after(self, response: httpx2.Response) -> float | None:
        text = response.headers.get("retry-after")
        return None if text is None else retry_after_s(text, self._clock())

    async def close(self) -> None:
        """Close what is still open."""
        await self._transport.aclose()
        self._names.close()


def retry_after_s(text: str, now: float) -> float | None:
    """Seconds from now that a Retry-After header asks for (RFC 9110, 10.2.3); None where it is neither form."""
    text = text.strip()
    if SECONDS.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # the header's old forms name no zone, and mean UTC
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now)


async def _drain(response: httpx2.Response) -> None:
    """Read what a well-behaved receiver still has to say, so that it does not see its answer broken off."""
    read = 0
    try:
        with suppress(TimeoutError, httpx2.HTTPError, OSError):
            async with asyncio.timeout(ANSWER_S), aclosing(response.aiter_raw()) as chunks:
                async for chunk in chunks:
                    read += len(chunk)
                    if read > ANSWER_BYTES:
                        break
    finally:
        await response.aclose()
