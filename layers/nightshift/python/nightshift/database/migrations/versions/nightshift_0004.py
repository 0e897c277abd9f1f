"""What whoever looks at a run should read beside its counters: what was kept and why, and advice."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "nightshift_0004"
down_revision = "nightshift_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    notes = sa.Column("notes", JSONB, nullable=False, server_default=sa.text("'[]'"))
    op.add_column("runs", notes, schema="nightshift")
