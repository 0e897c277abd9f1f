"""Up to where the occurrences of each job are accounted for; what was written lately into the outbox is found."""

from pathlib import Path

from alembic import op

revision = "nightshift_0002"
down_revision = "nightshift_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL beside this file."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text())
