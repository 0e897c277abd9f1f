"""The shop's tables, from its models."""

from alembic import op

from tests.ground.application import tables

revision = "shop_0001"
down_revision = None
branch_labels = ("shop",)
depends_on = "nightshift_0001"


def upgrade() -> None:
    """Make them all."""
    tables.Base.metadata.create_all(op.get_bind())
