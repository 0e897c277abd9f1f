"""${message}"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Apply it. There is no way back: a mistake is repaired by the next migration."""
    ${upgrades if upgrades else "op.execute('...')"}
