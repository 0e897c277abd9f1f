"""What is unusual about a run, and since when operators know that a job has no success."""

from alembic import op

revision = "nightshift_0010"
down_revision = "nightshift_0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table nightshift.runs add column if not exists anomalies jsonb")
    op.execute("alter table nightshift.runs add column if not exists judged_at timestamptz")
    op.execute("alter table nightshift.jobs add column if not exists silent_since timestamptz")
