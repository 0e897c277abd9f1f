"""Alembic runs this for each command. Connection and listener come from `nightshift.database.migrations`."""

from alembic import context

from nightshift.database.base import NIGHTSHIFT_SCHEMA
from nightshift.database.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    version_table_schema=NIGHTSHIFT_SCHEMA,
    on_version_apply=context.config.attributes.get("on_version_apply"),
)
with context.begin_transaction():
    context.run_migrations()
