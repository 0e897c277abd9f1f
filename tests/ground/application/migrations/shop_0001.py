"""The shop's tables, from its models."""

from alembic import op

from tests.ground.application.tables import JobFailure

revision = "shop_0001"
down_revision = None
branch_labels = ("shop",)
depends_on = "nightshift_0001"


def upgrade() -> None:
    """Make them all."""
    JobFailure.metadata.create_all(op.get_bind())
