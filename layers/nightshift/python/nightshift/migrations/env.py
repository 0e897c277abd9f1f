"""What Alembic runs for each command: the connection and the listener come from `nightshift.migrations`."""

from typing import Any

from alembic import context

from nightshift.migrations import VERSION_TABLE
from nightshift.models import NIGHTSHIFT_SCHEMA, Base


def include(thing: Any, name: str | None, kind: str, reflected: bool, counterpart: Any) -> bool:
    """Leave views, which the metadata knows as tables, to the migrations that make them."""
    return not (kind == "table" and thing.info.get("is_view"))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    version_table_schema=NIGHTSHIFT_SCHEMA,
    include_schemas=True,
    include_object=include,
    on_version_apply=context.config.attributes.get("on_version_apply"),
)
with context.begin_transaction():
    context.run_migrations()
