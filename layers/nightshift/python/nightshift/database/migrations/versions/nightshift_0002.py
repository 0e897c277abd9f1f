"""Whether somebody has been told that a run failed."""

import sqlalchemy as sa
from alembic import op

revision = "nightshift_0002"
down_revision = "nightshift_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("reported_at", sa.TIMESTAMP(timezone=True)), schema="nightshift")
    # What has failed before this column came was reported in the ways of that time.
    op.execute("update nightshift.runs set reported_at = finished_at where state = 'failed'")
    op.create_index(
        "runs_unreported",
        "runs",
        ["finished_at"],
        schema="nightshift",
        postgresql_where=sa.text("state = 'failed' and reported_at is null"),
    )
