"""The schema, as Alembic migrations. They are inside the layers and need no other file.

The branch `nightshift` makes the schema `nightshift` and touches nothing else. A project can have its own branches
(`Project.branches`). Each is a folder of migrations that depend on one of the library's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import pathsep
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.schema import CreateSchema

from nightshift.database.base import NIGHTSHIFT_SCHEMA
from nightshift.errors import SettingError

VERSION_TABLE = "alembic_version"
OWN = Path(__file__).parent / "versions"

# Any number, the same for everybody who upgrades: "night" in ASCII.
_LOCK = 0x6E69676874


def upgrade(
    database: Engine | Connection, branches: Sequence[Path] = (), *, unwanted: Sequence[Path] = ()
) -> list[str]:
    """Bring the database up to date, in one transaction, and return the revisions that were applied.

    A database that is up to date stays as it is, and so does one that is ahead: a deployment that is rolled back finds
    the schema of the newer code, which has only been added to. Two upgrades at the same time run one after the other. A
    connection that is already in a transaction keeps it: the caller commits.

    Args:
        database: the database; a connection must not be in autocommit mode.
        branches: folders of the project's migrations to run, beside the library's. Without them, nothing outside the
            schema `nightshift` is made or changed.
        unwanted: folders whose migrations are not run. The database may have them from before.

    Raises:
        EncodingError: the database is not in UTF-8.
        UnknownRevisionError: it has a revision that this code does not know, and lacks one that this code has.
    """
    if isinstance(database, Engine):
        with database.begin() as connection:
            return upgrade(connection, branches, unwanted=unwanted)
    if not database.in_transaction():
        with database.begin():
            return upgrade(database, branches, unwanted=unwanted)
    _refuse_other_encodings(database)
    # PostgreSQL releases it at the end of the transaction, even if the migration fails.
    database.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    if not database.dialect.has_schema(database, NIGHTSHIFT_SCHEMA):
        # Alembic makes its own table in this schema, before the first migration.
        database.execute(CreateSchema(NIGHTSHIFT_SCHEMA))
    applied: list[str] = []

    def note(*, step: MigrationInfo, **_: Any) -> None:
        applied.extend(step.up_revision_ids)

    config = _config((*branches, *unwanted))
    config.attributes.update(connection=database, on_version_apply=note)
    script = ScriptDirectory.from_config(config)
    if not _ahead(script, _rows(database), _heads(script, branches)):
        for head in _heads(script, branches):
            command.upgrade(config, head)
    return applied


class EncodingError(SettingError):
    """The database cannot hold every character that Nightshift writes."""


class UnknownRevisionError(SettingError):
    """The database was migrated by code of which nothing is known here."""


def _refuse_other_encodings(connection: Connection) -> None:
    """
    Raises:
        EncodingError: the database is not in UTF-8: a name, a notice or a report would be refused some night.
    """
    name, encoding = connection.execute(_ENCODING).one()
    if encoding != "UTF8":
        raise EncodingError(
            f"the database {name} is in {encoding}, and has no room for every character of a notice or a report: "
            f"Nightshift needs one in UTF8. Make one with create database … encoding 'UTF8' template template0, and "
            f"restore a dump of {name} into it"
        )


_ENCODING = text(
    "select current_database(), pg_encoding_to_char(encoding) from pg_database where datname = current_database()"
)


@dataclass(frozen=True)
class State:
    """The state of a database: the revisions that it has, and those that an upgrade would apply."""

    current: list[str]
    pending: list[str]
    ahead: list[str] = field(default_factory=list)
    """Revisions of newer code, which this code does not know. With one of them nothing is pending."""


def state(connection: Connection, branches: Sequence[Path] = (), *, unwanted: Sequence[Path] = ()) -> State:
    """Say what `upgrade` would do, and change nothing.

    Raises:
        EncodingError: the database is not in UTF-8.
    """
    _refuse_other_encodings(connection)
    script = ScriptDirectory.from_config(_config((*branches, *unwanted)))
    rows, heads = _rows(connection), _heads(script, branches)
    ahead = _ahead(script, rows, heads)
    current = _revisions(script, [row for row in rows if row not in ahead])
    pending = set() if ahead else _revisions(script, heads) - current
    return State(sorted({*current, *ahead}), sorted(pending), sorted(ahead))


def _rows(connection: Connection) -> tuple[str, ...]:
    """What the database says of itself: the newest revision of each branch."""
    options = {"version_table": VERSION_TABLE, "version_table_schema": NIGHTSHIFT_SCHEMA}
    return MigrationContext.configure(connection, opts=options).get_current_heads()


def _ahead(script: ScriptDirectory, rows: Sequence[str], heads: Sequence[str]) -> set[str]:
    """The revisions of newer code that the database has, each in the place of one of these heads; empty if none.

    Raises:
        UnknownRevisionError: the unknown revisions do not account for every head that the database lacks.
    """
    known = {step.revision for step in script.walk_revisions()}
    unknown = set(rows) - known
    if not unknown:
        return set()
    has = _revisions(script, [row for row in rows if row in known])
    # A head that is not there was replaced by a newer one, unless something before it still stands as the newest.
    lacking = [head for head in heads if head not in has]
    begun = [head for head in lacking if _revisions(script, [head]) & set(rows)]
    replaced = all(
        len([head for head in lacking if mine(head)]) <= len([row for row in unknown if mine(row)])
        for mine in (_of_the_library, lambda revision: not _of_the_library(revision))
    )
    if begun or not replaced:
        raise UnknownRevisionError(
            f"the database has the migration {', '.join(sorted(unknown))}, which this code does not know, and lacks "
            f"{', '.join(lacking) or 'nothing'}: deploy the code that made it, or one that is newer"
        )
    return unknown


def _of_the_library(revision: str) -> bool:
    """By its name: a project's own migrations have others."""
    return revision.startswith("nightshift_")


def revisions(branches: Sequence[Path] = ()) -> set[str]:
    """Every revision of the library and of these branches."""
    script = ScriptDirectory.from_config(_config(branches))
    return _revisions(script, _heads(script, branches))


def _revisions(script: ScriptDirectory, heads: Sequence[str]) -> set[str]:
    # One head at a time: Alembic refuses a head together with another that it depends on.
    steps = (script.iterate_revisions(head, "base", implicit_base=True) for head in heads)
    return {step.revision for each in steps for step in each}


def _heads(script: ScriptDirectory, branches: Sequence[Path]) -> list[str]:
    """The newest revision of the library and of each branch, in that order."""
    # Resolved: Alembic says where a link leads, and a folder that is not found again would not be migrated.
    newest = {
        Path(revision.path).resolve().parent: head
        for head in script.get_heads()
        if (revision := script.get_revision(head))
    }
    folders = [folder.resolve() for folder in (OWN, *branches)]
    return [newest[folder] for folder in folders if folder in newest]


def _config(branches: Sequence[Path]) -> Config:
    config = Config()
    # Alembic would read a percent sign in a path as an interpolation.
    config.set_main_option("script_location", str(OWN.parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    places = pathsep.join(dict.fromkeys(str(folder) for folder in (OWN, *branches)))
    config.set_main_option("version_locations", places.replace("%", "%%"))
    return config
