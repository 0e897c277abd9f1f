"""The schema nightshift: the ledger, the outbox, backups and keys, and the tables of the kinds of step."""

from pathlib import Path

from alembic import op

revision = "nightshift_0001"
down_revision = None
branch_labels = ("nightshift",)
depends_on = None


def upgrade() -> None:
    """Run the SQL file beside this one. The schema itself exists already: Alembic's version table is in it."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text())
