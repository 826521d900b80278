"""What came of a job beside its columns: which pictures were replaced, and how long each stage took."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Nothing that is there is read or written."""
    op.add_column("jobs", sa.Column("result", sa.Text))
