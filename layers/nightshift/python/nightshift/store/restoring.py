"""Restores a logical backup into a new database, and repeats what the restore must not undo.

The whole backup is read and compared with its manifest before the first row is written. Everything is written in one
transaction: a restore is complete, or it has not happened. In the same transaction, what happened after the backup and
must not be lost is repeated, such as erasures of people, if the project says how (`Project.owed`).
"""

import datetime as dt
import hashlib
import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

from sqlalchemy import Connection, func, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.database import describe
from nightshift.database.driver import copy
from nightshift.database.migrations import revisions, upgrade
from nightshift.database.quoting import quoted
from nightshift.declaration import Reapplied, this_project
from nightshift.ledger import Attempt, RunRecord
from nightshift.store.backups import FORMAT, MANIFEST, BackupError, Parts, check, schema_version
from nightshift.store.compressed import rows_of
from nightshift.store.schema import TURNED, make, run_script
from nightshift.store.tables import Backup

MOST_TOLD = 3
REMEDY = "Take another backup"

SEEDED = {"nightshift.jobs", "nightshift.data_keys"}
"""Tables that a deployment fills by itself. The backup's rows replace theirs."""


@dataclass(frozen=True)
class Restored:
    """What a restore has restored."""

    tables: int
    rows: int
    reapplied: Reapplied


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: type(value) in kinds


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value) is not None


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and dt.datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _is_file(value: Any) -> bool:
    """A name in the backup's own folder."""
    return _is_text(value) and value not in (".", "..") and not {"/", "\\"} & set(value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


Shape = Mapping[str, Callable[[Any], bool]]

_NEEDED: Shape = {
    "backup_id": _is_id,
    "consistent": _is(bool),
    "run_id": _is_id,
    "scheduled_for": _is_time,
    "schema_version": _are_texts,
    "tables": _is(list),
}
_MORE: Shape = {"sequences": _is(dict), "schema": _is(dict, NoneType), "unreadable": _is(dict)}
"""What older manifests may lack."""
_OF_A_TABLE: Shape = {
    "name": _is_text,
    "quoted": lambda value: value is None or _is_text(value),
    "file": _is_file,
    "columns": _are_texts,
    "rows": _is(int),
    "bytes": _is(int),
    "sha256": _is_text,
}
_OF_THE_SCHEMA: Shape = {"file": _is_file, "sha256": _is_text}


def _damaged(manifest: Mapping[str, Any]) -> Iterator[str]:
    """The names of what a manifest holds in another form than a backup writes it, of what tells its parts."""
    if not isinstance(manifest["tables"], list):
        yield "tables"
    yield from (name for name, fits in _MORE.items() if name in manifest and not fits(manifest[name]))
    tables, sequences, schema = (manifest.get(name) for name in ("tables", "sequences", "schema"))
    for number, table in enumerate(tables if isinstance(tables, list) else (), 1):
        yield from (f"{name} of table {number}" for name in _misfits(table, _OF_A_TABLE))
    if isinstance(schema, dict):
        yield from (f"{name} of the schema" for name in _misfits(schema, _OF_THE_SCHEMA))
    if isinstance(sequences, dict) and not all(type(value) is int for value in sequences.values()):
        yield "sequences"


def _misfits(value: Any, shape: Shape) -> list[str]:
    if not isinstance(value, dict):
        return ["all"]
    return [name for name, fits in shape.items() if not fits(value.get(name))]


def _refuse(odd: Sequence[str]) -> None:
    if odd:
        raise BackupError(f"the manifest has another form in {', '.join(odd[:MOST_TOLD])}: it is damaged. {REMEDY}")


def read_manifest(parts: Parts) -> dict[str, Any]:
    """A backup's manifest.

    Raises:
        BackupError: this is not a manifest, or it has another format.
    """
    try:
        manifest = json.loads(b"".join(parts.chunks(MANIFEST)))
    except (ValueError, RecursionError):
        raise BackupError("the manifest is not JSON: it is damaged, or something else") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BackupError(f"this is not the manifest of a backup in format {FORMAT}")
    if missing := [name for name in _NEEDED if name not in manifest]:
        raise BackupError(f"the manifest lacks {', '.join(missing)}: it is damaged, or something else")
    _refuse(list(_damaged(manifest)))
    return manifest


def verify(manifest: Mapping[str, Any], parts: Parts) -> None:
    """Read every part and compare it with the manifest.

    Raises:
        BackupError: a part is damaged.
    """
    for table in manifest["tables"]:
        check(table, parts)


def owed_in(manifest: Mapping[str, Any], parts: Parts) -> list[dict[str, str]]:
    """The rows in a backup that say what must be repeated after a restore; see `Project.owed`.

    Raises:
        BackupError: their file is damaged.
    """
    owed = this_project().owed()
    table = next((each for each in manifest["tables"] if owed is not None and each["name"] == owed.table), None)
    if table is None:
        return []
    check(table, parts)
    lines = b"".join(rows_of(parts.chunks(table["file"]))).decode().splitlines()
    return [dict(zip(table["columns"], line.split("\t"), strict=True)) for line in lines]


def owed_by(session: Session) -> list[dict[str, str]]:
    """The same rows in a database."""
    owed = this_project().owed()
    if owed is None:
        return []
    rows = session.execute(text(f"select * from {owed.table}"))  # noqa: S608 - a name from the project's own code
    return [
        {name: value.isoformat() if isinstance(value, dt.datetime) else str(value) for name, value in row.items()}
        for row in rows.mappings()
    ]


def restore(
    session: Session,
    manifest: Mapping[str, Any],
    parts: Parts,
    owed: Iterable[Mapping[str, str]],
    *,
    accept_inconsistent: bool = False,
    schema: str | None = None,
) -> Restored:
    """Restore into a database that is empty, or migrated and still without rows.

    The session must not be in a transaction. Tables that are not there, and that no migration of the library or the
    project makes, are made as the backup has them.

    schema: SQL that makes the application's tables, in place of what the backup knows of them.

    owed: what must be repeated, from the newest backup or database; see `owed_in` and `owed_by`.

    Raises:
        BackupError: a part is damaged, the database has rows or another schema, or the tables are from several
            snapshots.
    """
    _refuse([name for name, fits in _NEEDED.items() if not fits(manifest[name])])
    if not manifest["consistent"] and not accept_inconsistent:
        raise BackupError(
            "this backup was interrupted and comes from several snapshots: references between tables may not fit. "
            "Use another backup, or accept this one with --accept-inconsistent"
        )
    verify(manifest, parts)
    with session.begin():
        connection = session.connection()
        versions = manifest["schema_version"]
        _migrate(connection, versions)
        if (found := schema_version(session)) != versions:
            raise BackupError(
                f"the backup has the schema {', '.join(versions)}, and this Nightshift {', '.join(found)}: "
                "restore with the version of Nightshift that made the backup, then migrate"
            )
        if schema is not None:
            run_script(connection, schema)
        elif any(_absent(connection, table) for table in manifest["tables"]):
            make(connection, _statements(manifest, parts))
        for table in manifest["tables"]:
            _make_empty(connection, table)
        again_later = _drop_constraints(connection) + _disable_triggers(connection)
        rows = sum(_load(connection, table, parts) for table in manifest["tables"])
        for name, value in manifest.get("sequences", {}).items():
            if connection.scalar(text("select to_regclass(:name)"), {"name": name}) is not None:
                connection.execute(text("select setval(:name, :value)"), {"name": name, "value": value})
        for table in manifest["tables"]:
            _continue_sequences(connection, table, manifest.get("sequences", {}))
        for statement in again_later:
            connection.exec_driver_sql(statement)
        again = this_project().owed()
        reapplied = again.again(session, owed) if again is not None else Reapplied(0, 0)
        _note(session, manifest)
    return Restored(len(manifest["tables"]), rows, reapplied)


def _migrate(connection: Connection, versions: Sequence[str]) -> None:
    """Make the tables that the backup has: the application's own only if migrations made them there, too."""
    project = this_project()
    few, all_of_them = project.branches(tables=False), project.branches(tables=True)
    upgrade(connection, few if set(versions) <= revisions(few) else all_of_them)


def _statements(manifest: Mapping[str, Any], parts: Parts) -> list[str]:
    """The schema that is stored with a backup.

    Raises:
        BackupError: there is none, or it is damaged.
    """
    known = manifest.get("schema")
    if known is None:
        raise BackupError(
            "the database lacks tables of the backup, and the backup does not know how to make them: make them by your "
            "application's migrations, or give them with --schema"
        )
    content = b"".join(parts.chunks(known["file"]))
    if hashlib.sha256(content).hexdigest() != known["sha256"]:
        raise BackupError(f"{known['file']} is damaged. Take another backup, or give the tables with --schema")
    return list(json.loads(content))


def _qualified(table: Mapping[str, Any]) -> str:
    """A table's name as SQL takes it. Older manifests do not say it."""
    schema, _, name = table["name"].rpartition(".")
    return str(table.get("quoted") or f'"{schema or "public"}"."{name}"')


def _absent(connection: Connection, table: Mapping[str, Any]) -> bool:
    return connection.scalar(text("select to_regclass(:name)"), {"name": _qualified(table)}) is None


def _make_empty(connection: Connection, table: Mapping[str, Any]) -> None:
    name, qualified = table["name"], _qualified(table)
    if _absent(connection, table):
        raise BackupError(f"the database has no table {name}: create your application's own tables first")
    if name in SEEDED or name in this_project().seeded():
        connection.exec_driver_sql(f"delete from {qualified}")  # noqa: S608 - from the manifest, quoted
    elif connection.exec_driver_sql(f"select exists (select from only {qualified})").scalar():  # noqa: S608
        raise BackupError(f"the database already has rows in {name}: restore into an empty one")


def _drop_constraints(connection: Connection) -> list[str]:
    """Drop all foreign keys, so that tables can be filled in any order, and the checks that rows from before them need
    not pass. Returns the statements that make them again."""
    found = connection.execute(
        text("""
            select case when contypid = 0 then 'table ' || conrelid::regclass else 'domain ' || contypid::regtype end
                as owner, quote_ident(conname) as name, pg_get_constraintdef(oid) as definition
            from pg_constraint
            where (contype = 'f' and conparentid = 0 or contype = 'c' and not convalidated and coninhcount = 0)
                and connamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        """)
    ).all()
    for each in found:
        connection.exec_driver_sql(f"alter {each.owner} drop constraint {each.name}")
    return [f"alter {each.owner} add constraint {each.name} {each.definition}" for each in found]


def _disable_triggers(connection: Connection) -> list[str]:
    """Disable the triggers: they must not change rows that are being restored. Returns the statements that turn them on
    again, each as it was. What is said of a partitioned table holds for its partitions, so these come after it."""
    found = connection.execute(
        text(f"""
            select tgrelid::regclass::text as owner, quote_ident(tgname) as name, {TURNED} as how
            from pg_trigger t join pg_class on pg_class.oid = tgrelid
            where not tgisinternal and relnamespace <> 'pg_catalog'::regnamespace
            order by relkind <> 'p', tgparentid <> 0
        """)  # noqa: S608 - a constant
    ).all()
    for each in reversed(found):
        connection.exec_driver_sql(f"alter table {each.owner} disable trigger {each.name}")
    return [f"alter table {each.owner} {each.how} trigger {each.name}" for each in found]


def _load(connection: Connection, table: Mapping[str, Any], parts: Parts) -> int:
    columns = ", ".join(map(quoted, table["columns"]))
    pieces: Iterator[bytes] = rows_of(parts.chunks(table["file"]))
    try:
        rows = copy(connection, f"copy {_qualified(table)} ({columns}) from stdin", pieces)
    except DBAPIError as error:
        raise BackupError(f"{table['name']} does not take its rows: {describe(error)}") from error
    if rows != table["rows"]:
        raise BackupError(f"{table['name']} took {rows} rows of {table['rows']}")
    return rows


def _continue_sequences(connection: Connection, table: Mapping[str, Any], known: Mapping[str, int]) -> None:
    """Go on behind the highest number in the table, or behind the last one that was given out, if the backup knows."""
    name = _qualified(table)
    for column in table["columns"]:
        sequence = connection.scalar(
            text("select pg_get_serial_sequence(:table, :column)"), {"table": name, "column": column}
        )
        if sequence is not None:
            last = connection.exec_driver_sql(f"select max({quoted(column)}) from {name}").scalar()  # noqa: S608 - quoted
            if last is not None:
                behind = max(last, known.get(sequence, last))
                connection.execute(text("select setval(:name, :value)"), {"name": sequence, "value": behind})


def _note(session: Session, manifest: Mapping[str, Any]) -> None:
    """Settle the backup's own row and the run that made it: inside the backup, both are unfinished.

    If that run continued, it would overwrite the backup with the rows of this database.
    """
    own = update(Backup).where(Backup.id == uuid.UUID(manifest["backup_id"]), Backup.status == "running")
    session.execute(own.values(status="succeeded", manifest=dict(manifest)))
    run_id, ended = uuid.UUID(manifest["run_id"]), func.clock_timestamp()
    run = update(RunRecord).where(RunRecord.id == run_id)
    reason = "the database was restored from the backup that this run made"
    session.execute(
        run.values(state="cancelled", reason=reason, finished_at=ended, lease_until=None, step=None, position=None)
    )
    attempt = update(Attempt).where(Attempt.run_id == run_id, Attempt.ended_at.is_(None))
    session.execute(attempt.values(ended_at=ended, ending="lost"))
