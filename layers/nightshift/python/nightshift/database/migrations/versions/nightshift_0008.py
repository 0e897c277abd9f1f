"""Which deployment the database serves, who changed what, when the supervisor looked, and who was told of failures."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "nightshift_0008"
down_revision = "nightshift_0007"
branch_labels = None
depends_on = None

INSTANT = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "deployments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("since", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="deployments_pkey"),
        schema="nightshift",
    )
    op.create_table(
        "commands",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("job", sa.Text()),
        sa.Column("run_id", sa.Uuid()),
        sa.Column("by", sa.Text()),
        sa.Column("caller", sa.Text()),
        sa.Column("request_id", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("arguments", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="commands_pkey"),
        schema="nightshift",
    )
    op.create_index("commands_history", "commands", [sa.text("at desc")], schema="nightshift")
    op.create_table(
        "signs_of_life",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="signs_of_life_pkey"),
        schema="nightshift",
    )
    for column in ("told_at", "recovered_at"):
        op.add_column("runs", sa.Column(column, INSTANT), schema="nightshift")
    # What failed before these columns came was told in the ways of that time.
    op.execute("update nightshift.runs set told_at = finished_at, recovered_at = finished_at where state = 'failed'")
    for name, column, where in (
        ("runs_untold", "finished_at", "state = 'failed' and mode = 'apply' and told_at is null"),
        ("runs_unrecovered", "job", "told_at is not null and recovered_at is null"),
    ):
        op.create_index(name, "runs", [column], schema="nightshift", postgresql_where=sa.text(where))
