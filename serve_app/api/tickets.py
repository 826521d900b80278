"""Tickets for a job's events: a browser's EventSource sets no headers, so what it may show stands in the URL.

A ticket opens one job's event stream until it expires, and nothing else. It is signed and kept nowhere.
"""

import hashlib
import hmac
import re

from serve_app.errors import InvalidKey

PARAMETER = "ticket"
LIFETIME_S = 300.0
"""Long enough for an EventSource that comes back after a broken connection, which it does with the same URL."""
_TICKET = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})", re.ASCII)


class Tickets:
    """Makes and checks tickets. `secret` is the same in every process that answers."""

    def __init__(self, secret: bytes) -> None:
        # A key of its own: no signature of a link is one of a ticket.
        self._secret = hmac.new(secret, b"tickets for events", hashlib.sha256).digest()

    def make(self, job_id: int, now: float) -> tuple[str, int]:
        """A ticket, and the second since 1970 at which it expires."""
        expires = int(now + LIFETIME_S)
        return f"{expires}.{self._signature(job_id, expires)}", expires

    def check(self, ticket: str, job_id: int, now: float) -> None:
        """Let a watcher of this job pass. Raises InvalidKey, which does not repeat the ticket."""
        parts = _TICKET.fullmatch(ticket)
        if parts is None:
            raise InvalidKey("no ticket of ours")
        expires = int(parts[1])
        if not hmac.compare_digest(parts[2], self._signature(job_id, expires)) or now >= expires:
            raise InvalidKey(f"a ticket until {expires}, not good for job {job_id} now")

    def _signature(self, job_id: int, expires: int) -> str:
        return hmac.new(self._secret, f"{job_id}\n{expires}".encode(), hashlib.sha256).hexdigest()
