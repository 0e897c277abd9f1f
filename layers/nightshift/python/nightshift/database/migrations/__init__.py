"""The schema, as Alembic migrations that travel inside the layers and need no file outside them.

The branch `nightshift` makes the schema `nightshift` and touches nothing else. A project can have branches of its own
(`Project.branches`): a folder of migrations each, which depend on one of the library's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from os import pathsep
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.schema import CreateSchema

from nightshift.database.base import NIGHTSHIFT_SCHEMA

VERSION_TABLE = "alembic_version"
OWN = Path(__file__).parent / "versions"

# Any number, the same for everybody who upgrades: "night" in ASCII.
_LOCK = 0x6E69676874


def upgrade(
    database: Engine | Connection, branches: Sequence[Path] = (), *, unwanted: Sequence[Path] = ()
) -> list[str]:
    """Bring the database up to date, in one transaction, and return the revisions that were applied.

    A database that is up to date is left alone. Two upgrades at the same time run one after the other. A connection
    that is already in a transaction keeps it: its owner commits.

    Args:
        database: where to go; a connection must have no transaction of the autocommit kind.
        branches: folders of the project's migrations to run beside the library's own. Without one no object outside
            the schema `nightshift` is made or changed.
        unwanted: folders that are not run, but whose migrations the database may have from before.
    """
    if isinstance(database, Engine):
        with database.begin() as connection:
            return upgrade(connection, branches, unwanted=unwanted)
    if not database.in_transaction():
        with database.begin():
            return upgrade(database, branches, unwanted=unwanted)
    # Held until the transaction ends, by itself: nothing to release when the migration fails.
    database.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    if not database.dialect.has_schema(database, NIGHTSHIFT_SCHEMA):
        # Alembic's own table lives there, and is made before the first migration.
        database.execute(CreateSchema(NIGHTSHIFT_SCHEMA))
    applied: list[str] = []

    def note(*, step: MigrationInfo, **_: Any) -> None:
        applied.extend(step.up_revision_ids)

    config = _config((*branches, *unwanted))
    config.attributes.update(connection=database, on_version_apply=note)
    for head in _heads(ScriptDirectory.from_config(config), branches):
        command.upgrade(config, head)
    return applied


@dataclass(frozen=True)
class State:
    """Where a database stands: the revisions it has, and those an upgrade would apply."""

    current: list[str]
    pending: list[str]


def state(connection: Connection, branches: Sequence[Path] = (), *, unwanted: Sequence[Path] = ()) -> State:
    """Say what `upgrade` would do, and change nothing."""
    script = ScriptDirectory.from_config(_config((*branches, *unwanted)))
    context = MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "version_table_schema": NIGHTSHIFT_SCHEMA}
    )
    heads = context.get_current_heads()
    current = _revisions(script, heads)
    return State(sorted(current), sorted(_revisions(script, _heads(script, branches)) - current))


def revisions(branches: Sequence[Path] = ()) -> set[str]:
    """Every revision of the library and of these branches."""
    script = ScriptDirectory.from_config(_config(branches))
    return _revisions(script, _heads(script, branches))


def _revisions(script: ScriptDirectory, heads: Sequence[str]) -> set[str]:
    # One head at a time: Alembic refuses a head together with one that it depends on.
    steps = (script.iterate_revisions(head, "base", implicit_base=True) for head in heads)
    return {step.revision for each in steps for step in each}


def _heads(script: ScriptDirectory, branches: Sequence[Path]) -> list[str]:
    """The newest revision of the library and of each branch, in that order."""
    newest = {
        Path(revision.path).parent: head for head in script.get_heads() if (revision := script.get_revision(head))
    }
    return [newest[folder] for folder in (OWN, *branches) if folder in newest]


def _config(branches: Sequence[Path]) -> Config:
    config = Config()
    # A percent sign in a path would be read as an interpolation.
    config.set_main_option("script_location", str(OWN.parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    places = pathsep.join(dict.fromkeys(str(folder) for folder in (OWN, *branches)))
    config.set_main_option("version_locations", places.replace("%", "%%"))
    return config
