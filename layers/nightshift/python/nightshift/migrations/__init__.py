"""The schema, as Alembic migrations that travel inside the layer and need no file outside it.

There are two branches. `nightshift` makes the schema `nightshift` and touches nothing else: it is what a team runs that
has an application database already. `application` makes the example application's tables in the search path's first
schema, and ties the two together.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.schema import CreateSchema

from nightshift.models import NIGHTSHIFT_SCHEMA

VERSION_TABLE = "alembic_version"

# Any number, the same for everybody who upgrades: "night" in ASCII.
_LOCK = 0x6E69676874


def upgrade(database: Engine | Connection, *, application: bool) -> list[str]:
    """Bring the database up to date, in one transaction, and return the revisions that were applied.

    A database that is up to date is left alone. Two upgrades at the same time run one after the other. A connection
    that is already in a transaction keeps it: its owner commits.

    Args:
        database: where to go; a connection must have no transaction of the autocommit kind.
        application: also make the example application's tables. Without it no object outside the schema `nightshift`
            is made or changed.
    """
    if isinstance(database, Engine):
        with database.begin() as connection:
            return upgrade(connection, application=application)
    if not database.in_transaction():
        with database.begin():
            return upgrade(database, application=application)
    # Held until the transaction ends, by itself: nothing to release when the migration fails.
    database.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    if not database.dialect.has_schema(database, NIGHTSHIFT_SCHEMA):
        # Alembic's own table lives there, and is made before the first migration.
        database.execute(CreateSchema(NIGHTSHIFT_SCHEMA))
    applied: list[str] = []

    def note(*, step: MigrationInfo, **_: Any) -> None:
        applied.extend(step.up_revision_ids)

    config = _config()
    config.attributes.update(connection=database, on_version_apply=note)
    command.upgrade(config, "heads" if application else "nightshift@head")
    return applied


@dataclass(frozen=True)
class State:
    """Where a database stands: the revisions it has, and those an upgrade would apply."""

    current: list[str]
    pending: list[str]


def state(connection: Connection, *, application: bool) -> State:
    """Say what `upgrade` would do, and change nothing."""
    script = ScriptDirectory.from_config(_config())
    context = MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "version_table_schema": NIGHTSHIFT_SCHEMA}
    )
    heads = context.get_current_heads()
    current = (
        {step.revision for step in script.iterate_revisions(heads, "base", implicit_base=True)} if heads else set()
    )
    wanted = script.iterate_revisions("heads" if application else "nightshift@head", "base", implicit_base=True)
    return State(sorted(current), sorted({step.revision for step in wanted} - current))


def _config() -> Config:
    config = Config()
    # A percent sign in the path would be read as an interpolation.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
