"""A failed job says what it failed of in words for programs too; those that ended before say it in text alone."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Nothing that is there is read or written, so that this takes no longer for many jobs."""
    op.add_column("jobs", sa.Column("failure", sa.Text))
