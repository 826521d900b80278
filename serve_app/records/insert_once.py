"""An insert that several processes may do at once: the first one's row stays."""

from collections.abc import Mapping

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


async def insert_once(connection: AsyncConnection, table: Table, row: Mapping[str, object]) -> bool:
    """Whether this row was inserted; False: one with its primary key or a unique value of it was there."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(row).on_conflict_do_nothing()
    # Of an insert SQLAlchemy tells no count on PostgreSQL.
    return (await connection.execute(statement.returning(*table.primary_key))).first() is not None
