"""The tables that the example's jobs write for themselves, and the functions they call, in the schema nightshift."""

from pathlib import Path

from alembic import op

revision = "records_0001"
down_revision = None
branch_labels = ("records",)
depends_on = "nightshift_0001"


def upgrade() -> None:
    """Run the SQL beside this file."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text())
