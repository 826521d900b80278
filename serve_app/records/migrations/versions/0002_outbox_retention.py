"""The outbox is purged: an index to find what ended long ago, and a place for its last word beside the job."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Nothing that is there is read or written, so that this takes no longer for many jobs; the index does."""
    op.add_column("jobs", sa.Column("hook_status", sa.String(16)))
    op.create_index("ix_outbox_ended", "outbox", ["ended_at"])
