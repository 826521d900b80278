"""The outbox: webhooks written down in the transaction that ends their job, and what became of them.

Couriers claim what is due under a lease and mark the outcome; a mark counts only from the lease's owner.
Sending is the business of the room `webhooks`.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, exists, or_, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.records.database import Database
from serve_app.records.fair_share import fair_share
from serve_app.records.insert_once import insert_once
from serve_app.records.tables import disabled_hooks, jobs, outbox

HOST_CHARS = 255
DEFAULT_PORTS = {"http": 80, "https": 443}
PURGED_AT_ONCE = 500
"""Rows of one transaction, so that nobody has to wait long for it."""
DISABLED = "the receiver said before that it is gone (410)"


class HookState(StrEnum):
    """Where a webhook stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    """Given up; the CLI can replay it."""


IS_PENDING = outbox.c.state == HookState.PENDING


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One webhook of one ended job."""

    id: str
    """The webhook-id, the same in every attempt."""
    job_id: int
    key_name: str
    """Whose secret signs it."""
    url: str
    host: str
    """host:port, by which couriers share out their slots."""
    payload: str
    """The very text that is signed and sent: JSON in ASCII."""
    created_at: float


@dataclass(frozen=True, slots=True)
class Due:
    """An entry that a courier has claimed."""

    entry: OutboxEntry
    attempts: int
    """Made before."""
    lease_until: float


@dataclass(frozen=True, slots=True)
class HookRecord:
    """What an operator sees of an entry."""

    id: str
    job_id: int
    key_name: str
    url: str
    state: HookState
    attempts: int
    next_at: float
    """When the next attempt is due, where it is pending."""
    last_status: int | None
    last_error: str | None
    created_at: float
    ended_at: float | None


def make_entry(job_id: int, key_name: str, url: str, payload: Mapping[str, object], now: float) -> OutboxEntry:
    """A new entry for the outbox, with an id of its own. Raises ValueError where the URL's port is none."""
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    return OutboxEntry(f"msg_{secrets.token_hex(16)}", job_id, key_name, url, _host(url), text, now)


def _host(url: str) -> str:
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    return f"{host}:{parts.port or DEFAULT_PORTS.get(parts.scheme, 0)}"[-HOST_CHARS:]


class Outbox:
    """The table's operations. All but `insert` raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @staticmethod
    async def insert(connection: AsyncConnection, entry: OutboxEntry) -> None:
        """Inside the transaction that ends the job. What an earlier end of the same job left is replaced."""
        await connection.execute(delete(outbox).where(outbox.c.job_id == entry.job_id))
        disabled = (await connection.execute(_disabled(entry.key_name, entry.url))).first() is not None
        values = {
            **{name: getattr(entry, name) for name in OutboxEntry.__slots__},
            "state": HookState.DEAD if disabled else HookState.PENDING,
            "attempts": 0,
            "next_at": entry.created_at,
            "lease_until": 0.0,
            "last_error": DISABLED if disabled else None,
            "ended_at": entry.created_at if disabled else None,
        }
        await connection.execute(outbox.insert().values(values))

    async def claim(
        self,
        owner: str,
        until: float,
        now: float,
        limit: int,
        per_host: int,
        busy: Mapping[str, int],
        first_pause_s: float = 0.0,
    ) -> list[Due]:
        """Up to `limit` due entries, leased to `owner` until `until`, shared out fairly between hosts.

        No more of a host than `per_host` less what is `busy` there. A first attempt is due `first_pause_s`
        after the job's end.
        """
        if limit <= 0:
            return []
        due = _is_due(now, first_pause_s)
        async with self._database.read() as connection:
            ids = await fair_share(connection, IS_PENDING, due, limit, per_host, busy)
        return await self._lease(ids, owner, until, now) if ids else []

    async def _lease(self, ids: Sequence[str], owner: str, until: float, now: float) -> list[Due]:
        """Those of these that no other courier has taken meanwhile."""
        free = select(outbox).where(outbox.c.id.in_(ids), _is_free(now)).order_by(outbox.c.id)
        async with self._database.write() as connection:
            # PostgreSQL: two couriers must not wait for each other's rows. SQLite has one writer anyway.
            rows = (await connection.execute(free.with_for_update(skip_locked=True))).mappings().all()
            taken = outbox.c.id.in_([row["id"] for row in rows])
            await connection.execute(update(outbox).where(taken).values(lease_owner=owner, lease_until=until))
        return [Due(_entry(row), row["attempts"], until) for row in rows]

    async def delivered(self, id: str, owner: str, status: int, now: float) -> bool:
        """It arrived. False, here and below: the lease is somebody else's, and nothing was marked."""
        outcome = {"state": HookState.DELIVERED, "last_status": status, "last_error": None, "ended_at": now}
        return await self._mark(id, owner, outcome)

    async def again(self, id: str, owner: str, status: int | None, error: str, next_at: float) -> bool:
        """It failed and is due again at `next_at`."""
        return await self._mark(id, owner, {"last_status": status, "last_error": error, "next_at": next_at})

    async def dead(self, id: str, owner: str, status: int | None, error: str, now: float) -> bool:
        """It failed for good."""
        outcome = {"state": HookState.DEAD, "last_status": status, "last_error": error, "ended_at": now}
        return await self._mark(id, owner, outcome)

    async def _mark(self, id: str, owner: str, outcome: Mapping[str, object]) -> bool:
        ours = and_(outbox.c.id == id, IS_PENDING, outbox.c.lease_owner == owner)
        values = {"attempts": outbox.c.attempts + 1, "lease_owner": None, "lease_until": 0.0, **outcome}
        async with self._database.write() as connection:
            return (await connection.execute(update(outbox).where(ours).values(values))).rowcount == 1

    async def release(self, owner: str) -> None:
        """Give back what this owner has claimed and not marked, without counting an attempt."""
        ours = and_(IS_PENDING, outbox.c.lease_owner == owner)
        async with self._database.write() as connection:
            await connection.execute(update(outbox).where(ours).values(lease_owner=None, lease_until=0.0))

    async def disable(self, key_name: str, url: str, now: float) -> None:
        """This URL is gone for this key: what waits for it is dead, and so is every later entry."""
        waiting = and_(outbox.c.key_name == key_name, outbox.c.url == url, _is_free(now))
        dead = {"state": HookState.DEAD, "last_error": DISABLED, "ended_at": now}
        row = {"key_name": key_name, "url_sha256": _digest(url), "url": url, "disabled_at": now}
        async with self._database.write() as connection:
            await insert_once(connection, disabled_hooks, row)
            await connection.execute(update(outbox).where(waiting).values(dead))

    async def listing(self, state: HookState | None, limit: int) -> list[HookRecord]:
        """The newest entries in this state, or in any."""
        columns = [outbox.c[name] for name in HookRecord.__slots__]
        newest = select(*columns).order_by(outbox.c.created_at.desc(), outbox.c.id.desc()).limit(limit)
        if state is not None:
            newest = newest.where(outbox.c.state == state)
        async with self._database.read() as connection:
            rows = (await connection.execute(newest)).mappings().all()
        return [HookRecord(**{**row, "state": HookState(row["state"])}) for row in rows]

    async def replay(self, id: str | None, now: float) -> int:
        """Make a dead entry due now, with all its attempts before it; how many were. None: every dead one.

        Naming an entry also takes back that its URL is disabled; entries of disabled URLs must be named.
        """
        async with self._database.write() as connection:
            if id is not None:
                await _enable(connection, id)
            url_is_disabled = exists().where(
                disabled_hooks.c.key_name == outbox.c.key_name, disabled_hooks.c.url == outbox.c.url
            )
            chosen = ~url_is_disabled if id is None else outbox.c.id == id
            fresh = {"state": HookState.PENDING, "attempts": 0, "next_at": now, "ended_at": None}
            replayed = update(outbox).where(outbox.c.state == HookState.DEAD, chosen).values(fresh)
            return (await connection.execute(replayed)).rowcount

    async def status_of(self, job_id: int) -> str:
        """For a job's client: "" (no webhook yet), "delivered", "pending" or "failed", and why in the last two.

        The last answer's HTTP status follows where there was a bad one: "pending 503", "failed 410".
        """
        query = select(outbox.c.state, outbox.c.last_status).where(outbox.c.job_id == job_id)
        purged = select(jobs.c.hook_status).where(jobs.c.id == job_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
            return _told(*row) if row is not None else (await connection.execute(purged)).scalar() or ""

    async def purge(self, delivered_before: float, dead_before: float) -> int:
        """Delete what was delivered, and what was given up, before then; how many there were.

        What became of a webhook is still told by its job; only dead entries that are there can be replayed.
        """
        delivered = and_(outbox.c.state == HookState.DELIVERED, outbox.c.ended_at < delivered_before)
        dead = and_(outbox.c.state == HookState.DEAD, outbox.c.ended_at < dead_before)
        purged = 0
        while count := await self._purge_some(or_(delivered, dead)):
            purged += count
        return purged

    async def _purge_some(self, old: ColumnElement[bool]) -> int:
        chosen = select(outbox.c.job_id, outbox.c.state, outbox.c.last_status).where(old).limit(PURGED_AT_ONCE)
        last_word = update(jobs).where(jobs.c.id == bindparam("of")).values(hook_status=bindparam("told"))
        async with self._database.write() as connection:
            # PostgreSQL: couriers that purge at the same time must not wait for each other's rows.
            rows = (await connection.execute(chosen.with_for_update(skip_locked=True))).all()
            if rows:
                told = [{"of": job_id, "told": _told(state, status)} for job_id, state, status in rows]
                await connection.execute(last_word, told)
                await connection.execute(delete(outbox).where(outbox.c.job_id.in_([row.job_id for row in rows])))
        return len(rows)


def _told(state: str, status: int | None) -> str:
    if state == HookState.DELIVERED:
        return "delivered"
    word = "pending" if state == HookState.PENDING else "failed"
    return word if status is None else f"{word} {status}"


def _is_free(now: float) -> ColumnElement[bool]:
    return and_(IS_PENDING, outbox.c.lease_until <= now)


def _is_due(now: float, first_pause_s: float) -> ColumnElement[bool]:
    begun = or_(outbox.c.attempts > 0, outbox.c.next_at <= now - first_pause_s)
    return and_(_is_free(now), outbox.c.next_at <= now, begun)


def _entry(row: RowMapping) -> OutboxEntry:
    return OutboxEntry(**{name: row[name] for name in OutboxEntry.__slots__})


def _digest(url: str) -> str:
    return sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def _disabled(key_name: str, url: str) -> Select[str]:
    this = and_(disabled_hooks.c.key_name == key_name, disabled_hooks.c.url_sha256 == _digest(url))
    return select(disabled_hooks.c.url_sha256).where(this)


async def _enable(connection: AsyncConnection, id: str) -> None:
    """Only where this entry is dead, so that its URL is given another chance."""
    named = select(outbox.c.key_name, outbox.c.url).where(outbox.c.id == id, outbox.c.state == HookState.DEAD)
    row = (await connection.execute(named)).first()
    if row is not None:
        key_name, url = row
        this = and_(disabled_hooks.c.key_name == key_name, disabled_hooks.c.url_sha256 == _digest(url))
        await connection.execute(delete(disabled_hooks).where(this))
