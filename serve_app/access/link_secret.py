"""The secret that signs links to temporary pictures: made once, the same for every process."""

import secrets

from sqlalchemy import select

from serve_app.records.database import Database
from serve_app.records.insert_once import insert_once
from serve_app.records.tables import settings

NAME = "link_secret"
SECRET_BYTES = 32


async def link_secret(database: Database) -> bytes:
    """The secret; the first call makes it. Raises RecordsUnavailable."""
    async with database.write() as connection:
        await insert_once(connection, settings, {"name": NAME, "value": secrets.token_hex(SECRET_BYTES)})
        found = select(settings.c.value).where(settings.c.name == NAME)
        return bytes.fromhex((await connection.execute(found)).scalar_one())
