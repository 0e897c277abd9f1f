"""Which KMS key encrypted a data key, so that one who has another key is told so."""

import sqlalchemy as sa
from alembic import op

revision = "nightshift_0007"
down_revision = "nightshift_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("data_keys", sa.Column("kms_key", sa.Text()), schema="nightshift", if_not_exists=True)
