"""One attempt to deliver one webhook: signed after the Standard Webhooks specification, sent, judged.

Holds no state and writes nothing: what is due and what became of it is the business of `outbox`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from random import Random
from typing import Protocol

from standardwebhooks import Webhook

from serve_app.config import WebhooksConfig
from serve_app.records.outbox import Due, HookState
from serve_app.urls import without_secrets
from serve_app.webhooks.secrets import HookSecrets

USER_AGENT = "Darkroom"
RETRY_AFTER_CAP_S = 86400.0
ERROR_CHARS = 300

Clock = Callable[[], float]
"""The time in seconds since 1970."""


class Answered(Protocol):
    """What came of a POST."""

    @property
    def status(self) -> int | None:
        """The HTTP status; None where there was no answer."""

    @property
    def retry_after_s(self) -> float | None:
        """When the receiver wants to be asked again, in seconds from now; infinite: no attempt can ever succeed."""

    @property
    def error(self) -> str:
        """Why there was no answer; for operators."""


class Poster(Protocol):
    """Sends bytes to a stranger's URL; `inputs.post.GuardedPoster` is the real one."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        """Answers within the configured time and raises nothing for what the network or the receiver does."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means for its entry."""

    state: HookState
    """PENDING: it is sent again."""
    status: int | None
    error: str
    """Empty where it was delivered."""
    pause_s: float = 0.0
    """Until the next attempt."""
    gone: bool = False
    """The URL wants no more webhooks."""


class Sender:
    """Sends claimed entries, each once per call. Any number of calls may run at the same time."""

    def __init__(
        self, secrets: HookSecrets, poster: Poster, config: WebhooksConfig, clock: Clock, random: Random
    ) -> None:
        self._secrets = secrets
        self._poster = poster
        self._config = config
        self._clock = clock
        self._random = random

    async def send(self, due: Due) -> Verdict:
        """Sign, send and judge. Raises RecordsUnavailable where the secret cannot be read; then nothing was sent."""
        now, entry = self._clock(), due.entry
        body = entry.payload.encode()
        headers = signed_headers(entry.id, entry.payload, await self._secrets.signing(entry.key_name, now), now)
        answer = await self._poster.post(entry.url, body, headers)
        return judge(answer, due.attempts + 1, self._config, self._random)


def signed_headers(entry_id: str, payload: str, secrets: Sequence[str], now: float) -> dict[str, str]:
    """The headers of one attempt, with one signature for each of these secrets (whsec_...)."""
    moment = datetime.fromtimestamp(int(now), UTC)
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": entry_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(Webhook(secret).sign(entry_id, moment, payload) for secret in secrets),
    }


def judge(answer: Answered, attempts: int, config: WebhooksConfig, random: Random) -> Verdict:
    """What this answer to attempt number `attempts` (the first is 1) means: only 2xx is a success."""
    status = answer.status
    if status is not None and 200 <= status < 300:
        return Verdict(HookState.DELIVERED, status, "")
    error = _one_line(answer.error) if status is None else f"the receiver answered {status}"
    if status == HTTPStatus.GONE:
        return Verdict(HookState.DEAD, status, error, gone=True)
    if status is None and answer.retry_after_s == math.inf:
        return Verdict(HookState.DEAD, status, error)
    pause_s = pause_after(attempts, answer.retry_after_s, config, random)
    if pause_s is None:
        return Verdict(HookState.DEAD, status, error)
    return Verdict(HookState.PENDING, status, error, pause_s)


def pause_after(attempts: int, retry_after_s: float | None, config: WebhooksConfig, random: Random) -> float | None:
    """Seconds from failed attempt number `attempts` to the next; None: that was the last.

    Never less than the receiver asked for, up to a day.
    """
    if attempts >= len(config.schedule_s):
        return None
    stretched = config.schedule_s[attempts] * (1 + config.jitter * random.random())
    return max(stretched, min(retry_after_s or 0.0, RETRY_AFTER_CAP_S))


def _one_line(text: str) -> str:
    """Fit for a database and a terminal, whatever the receiver made it say."""
    return "".join(char if char.isprintable() else "?" for char in without_secrets(text))[:ERROR_CHARS]
