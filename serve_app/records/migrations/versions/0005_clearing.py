"""Couriers take turns in deleting pictures, old jobs are forgotten, and lists are read from an index."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

INDEXES = (
    ("jobs", "created", ["created_at", "id"]),
    ("jobs", "state_created", ["state", "created_at", "id"]),
    ("jobs", "key_created", ["key_name", "created_at", "id"]),
    ("jobs", "ended", ["ended_at"]),
    ("outbox", "created", ["created_at", "id"]),
    ("outbox", "state_created", ["state", "created_at", "id"]),
)


def upgrade() -> None:
    """No row is written; the indexes take a second or so for each 100,000 jobs."""
    op.add_column("jobs", sa.Column("deleting_until", sa.Float, nullable=False, server_default="0"))
    for table, name, columns in INDEXES:
        op.create_index(f"ix_{table}_{name}", table, columns)
