"""The example application's tables, for a new database, and how they are connected to the schema nightshift."""

from pathlib import Path

from alembic import op

revision = "tables_0001"
down_revision = None
branch_labels = ("tables",)
depends_on = "records_0001"


def upgrade() -> None:
    """Run the SQL beside this file."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text())
