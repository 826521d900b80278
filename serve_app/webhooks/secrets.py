"""The secrets that sign webhooks: one per API key, made when first needed, changed without a gap.

The text of a secret is kept, not a hash of it: whoever signs needs it.
"""

import base64
import secrets
from hashlib import sha256

from sqlalchemy import Select, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.records.database import Database
from serve_app.records.insert_once import insert_once
from serve_app.records.tables import hook_secrets

PREFIX = "whsec_"
SECRET_BYTES = 32
"""Standard Webhooks asks for 24 to 64."""
ID_CHARS = 32


class HookSecrets:
    """What the receivers of a key's webhooks verify with. All methods raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def current(self, key_name: str, now: float) -> str:
        """The secret to give to a receiver, whsec_...; the first call for a key makes it."""
        return (await self.signing(key_name, now))[0]

    async def signing(self, key_name: str, now: float) -> tuple[str, ...]:
        """The secrets that sign now: the current one, then those that are being retired."""
        found = await self._good(key_name, now)
        if not found:
            await self._make_first(key_name, now)
            found = await self._good(key_name, now)
        return found

    async def rotate(self, key_name: str, overlap_s: float, now: float) -> str:
        """A new current secret; the one before signs along for `overlap_s` seconds.

        Two rotations at the same moment are one.
        """
        async with self._database.write() as connection:
            new_id = await _add(connection, key_name, await _current_id(connection, key_name), now)
            older = (hook_secrets.c.key_name == key_name, hook_secrets.c.id != new_id)
            await connection.execute(delete(hook_secrets).where(*older, hook_secrets.c.retires_at <= now))
            not_retiring = (*older, hook_secrets.c.retires_at.is_(None))
            await connection.execute(update(hook_secrets).where(*not_retiring).values(retires_at=now + overlap_s))
            found = select(hook_secrets.c.secret).where(hook_secrets.c.id == new_id)
            return str((await connection.execute(found)).scalar_one())

    async def _good(self, key_name: str, now: float) -> tuple[str, ...]:
        async with self._database.read() as connection:
            return tuple((await connection.execute(_good_secrets(key_name, now))).scalars())

    async def _make_first(self, key_name: str, now: float) -> None:
        async with self._database.write() as connection:
            if await _current_id(connection, key_name) is None:
                await _add(connection, key_name, None, now)


def _good_secrets(key_name: str, now: float) -> Select[str]:
    good = or_(hook_secrets.c.retires_at.is_(None), hook_secrets.c.retires_at > now)
    current_first = (hook_secrets.c.retires_at.desc().nulls_first(), hook_secrets.c.id)
    return select(hook_secrets.c.secret).where(hook_secrets.c.key_name == key_name, good).order_by(*current_first)


async def _current_id(connection: AsyncConnection, key_name: str) -> str | None:
    current = select(hook_secrets.c.id).where(hook_secrets.c.key_name == key_name, hook_secrets.c.retires_at.is_(None))
    return (await connection.execute(current)).scalar_one_or_none()


async def _add(connection: AsyncConnection, key_name: str, before: str | None, now: float) -> str:
    """The id of the secret that follows `before`, made here unless another process was first."""
    # The id follows from the one before, so that two processes at once make one secret and not two.
    new_id = sha256(f"{key_name}\n{before or ''}".encode()).hexdigest()[:ID_CHARS]
    secret = PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    row = {"id": new_id, "key_name": key_name, "secret": secret, "created_at": now}
    await insert_once(connection, hook_secrets, row)
    return new_id
