"""Of which queries a run's candidates were counted: a deployment may bring others while the run is open."""

from alembic import op

revision = "nightshift_0011"
down_revision = "nightshift_0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table nightshift.runs add column if not exists counted text")
