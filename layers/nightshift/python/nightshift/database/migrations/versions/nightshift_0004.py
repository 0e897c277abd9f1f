"""What whoever looks at a run should read beside its counters: what was kept and why, and advice."""

from alembic import op

revision = "nightshift_0004"
down_revision = "nightshift_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table nightshift.runs add column if not exists notes jsonb not null default '[]'")
