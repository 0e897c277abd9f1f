"""A logical backup: every table as a compressed file, and a manifest that shows whether the backup is complete.

A backup is a folder of the file store, `backups/2026-03-01T013000Z/`: one object for each table in COPY's text format,
and `manifest.json`. All tables come from one snapshot of the database, unless an attempt ran out of time. A snapshot
ends with its transaction, so the next attempt copies the missing tables from a snapshot of its own. The manifest then
says which snapshot each table came from, and `"consistent": false`. References between such tables may not fit, so a
restore takes this backup only with an explicit option. If one table alone takes longer than an attempt, the run fails
and says what to do.
Rows are streamed from the database through the compressor to the file store; nothing is held in memory.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift.database.driver import copy
from nightshift.database.quoting import quoted
from nightshift.declaration import this_project
from nightshift.errors import PermanentError
from nightshift.store import compressed
from nightshift.store.compressed import Contents, DamagedError, contents_of
from nightshift.store.files import FileStore

FORMAT = 1
MANIFEST = "manifest.json"

UNSAVED: Mapping[str, str | None] = {
    "nightshift.differences": None,  # the working list of a recomputation
    "nightshift.alembic_version": None,  # the database to restore into has its own
}
"""The library's tables that a backup leaves out. `Project.unsaved` names those of the project, and conditions."""

BLOCKS_A_COPY = 8192
"""How many blocks are copied at a time (64 MB), all into the table's one file. The clock is checked in between."""

TABLES = text("""
    select case nspname when 'public' then '' else nspname || '.' end || relname as name,
        format('%I.%I', nspname, relname) as quoted,
        (select array_agg(attname::text order by attnum) from pg_attribute
            where attrelid = pg_class.oid and attnum > 0 and not attisdropped and attgenerated = '') as columns,
        case when has_schema_privilege(relnamespace, 'usage') and has_table_privilege(pg_class.oid, 'select')
            then pg_relation_size(pg_class.oid) / current_setting('block_size')::int else 0 end as blocks,
        case when not has_schema_privilege(relnamespace, 'usage') then format('grant usage on schema %I', nspname)
            when not has_table_privilege(pg_class.oid, 'select') then format('grant select on %I.%I', nspname, relname)
            when row_security_active(pg_class.oid) then 'row security hides rows: give the role BYPASSRLS'
        end as refused
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname !~ '^pg_' and nspname <> 'information_schema' and relkind = 'r'
        and not exists (select from pg_depend where classid = 'pg_class'::regclass and objid = pg_class.oid
            and refclassid = 'pg_extension'::regclass and deptype = 'e')
    order by blocks desc, 1
""")
"""Large tables first: a table that is too large for an attempt is found at once, and small ones fill the rest.

An extension's own tables come with the extension. `refused`: why the role cannot read all of a table, or what to do.
"""


class BackupError(PermanentError):
    """The backup could not be made, or differs from its manifest. The message says what to do."""


class OutOfTimeError(RuntimeError):
    """The attempt is about to run out of time in the middle of a table."""


@dataclass(frozen=True)
class Source:
    """A table to copy."""

    name: str
    quoted: str
    columns: tuple[str, ...]
    blocks: int
    only: str | None = None
    """The SQL condition on the rows to copy; None copies all."""

    def statement(self, first: int, last: int | None) -> str:
        """COPY of the rows in blocks from `first` up to, but not including, `last`."""
        columns = ", ".join(quoted(column) for column in self.columns)
        upper = "" if last is None else f" and ctid < '({last},0)'"
        kept = "" if self.only is None else f" and ({self.only})"
        # COPY takes no parameters. The names come from the database, quoted; the numbers are ours, and the condition is
        # the project's.
        return f"copy (select {columns} from only {self.quoted} where ctid >= '({first},0)'{upper}{kept}) to stdout"  # noqa: S608


class Parts(Protocol):
    """Where the files of one backup are."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """A file's bytes, a piece at a time.

        Raises:
            BackupError, FileStoreError: the file is not there.
        """


@dataclass(frozen=True)
class StoredParts:
    """The files of a backup in the file store."""

    files: FileStore
    folder: str

    def chunks(self, name: str) -> Iterator[bytes]:
        return self.files.chunks(self.folder + name)


def folder_of(scheduled_for: dt.datetime) -> str:
    return f"backups/{scheduled_for.astimezone(dt.UTC):%Y-%m-%dT%H%M%SZ}/"


def unsaved() -> dict[str, str | None]:
    """The tables that are left out, in whole or in part; see `Project.unsaved`."""
    return {**UNSAVED, **this_project().unsaved()}


def sources(session: Session) -> list[Source]:
    """Every table that belongs in a backup and that the role may read, as the transaction sees it."""
    left_out = unsaved()
    return [
        Source(row.name, row.quoted, tuple(row.columns or ()), row.blocks, left_out.get(row.name))
        for row in session.execute(TABLES)
        if row.refused is None and (row.name not in left_out or left_out[row.name] is not None)
    ]


def unreadable(session: Session) -> dict[str, str]:
    """Tables that belong in a backup and that the role cannot read in whole, each with the remedy."""
    left_out = unsaved()
    return {
        row.name: row.refused
        for row in session.execute(TABLES)
        if row.refused is not None and (row.name not in left_out or left_out[row.name] is not None)
    }


def schema_version(session: Session) -> list[str]:
    """The newest migration of each branch that the database has."""
    versions = session.scalars(text("select version_num from nightshift.alembic_version order by 1"))
    return list(versions)


def export(
    session: Session, source: Source, files: FileStore, key: str, *, out_of_time: Callable[[], bool]
) -> Contents:
    """Copy a table's rows, as the transaction sees them, into one compressed object.

    Raises:
        OutOfTimeError: nothing was stored; the transaction can continue.
        FileStoreError, DBAPIError: nothing was stored; the transaction cannot continue.
    """
    connection = session.connection()
    with compressed.writing(files, key) as rows:
        for first in range(0, max(1, source.blocks), BLOCKS_A_COPY):
            if first and out_of_time():
                raise OutOfTimeError(f"out of time within {source.name}")
            last = first + BLOCKS_A_COPY
            copy(connection, source.statement(first, last if last < source.blocks else None), rows)
    return rows.contents


def check(table: dict[str, Any], parts: Parts) -> None:
    """Read a part back and compare it with the manifest.

    Raises:
        BackupError: the part is damaged or incomplete, or holds something else.
        FileStoreError: the part cannot be read.
    """
    try:
        found = contents_of(parts.chunks(table["file"]))
    except DamagedError as error:
        raise BackupError(f"{table['file']} is {error}. Take another backup") from None
    expected = Contents(table["rows"], table["bytes"], table["sha256"])
    if found != expected:
        raise BackupError(
            f"{table['file']} is damaged: it holds {found.rows} rows in {found.bytes} bytes, SHA-256 {found.sha256}; "
            f"the manifest says {expected.rows} in {expected.bytes}, {expected.sha256}. Take another backup"
        )
