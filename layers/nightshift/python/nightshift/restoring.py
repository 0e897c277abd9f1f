"""Bringing a logical backup back into a fresh database, and doing again what must not be undone by it.

All of the backup is read and compared with its manifest before the first row is written, and everything is written in
one transaction: a restore is whole, or it has not happened. Afterwards the people who were erased since the backup was
made are erased again.
"""

import datetime as dt
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.orm import Session

from nightshift import erasure
from nightshift.backups import FORMAT, MANIFEST, BackupError, Parts, check, schema_version
from nightshift.compressed import rows_of
from nightshift.erasure import Mode, Person
from nightshift.migrations import upgrade
from nightshift.models import Attempt, Backup, DataRequest, ErasureRecord, RunRecord, User

LEDGER = "nightshift.erasure_ledger"

SEEDED = {"nightshift.jobs", "nightshift.data_keys", "nightshift.pseudonym_keys"}
"""What a deployment fills by itself. The backup's rows take the place of these."""


@dataclass(frozen=True)
class Erasure:
    """Somebody was erased: what the ledger of erasures says, which names nobody."""

    subject_ref: str
    mode: Mode
    executed_at: dt.datetime


@dataclass(frozen=True)
class Reapplied:
    """What became of the ledger's erasures."""

    again: int
    """Erased again: the backup still had them."""
    unknown: int
    """Newer than the backup, and the backup has no request that says whom they were about. Somebody must look."""


@dataclass(frozen=True)
class Restored:
    """What a restore has brought back."""

    tables: int
    rows: int
    erasures: Reapplied


def read_manifest(parts: Parts) -> dict[str, Any]:
    """A backup's manifest.

    Raises:
        BackupError: it is none, or one of another format.
    """
    try:
        manifest = json.loads(b"".join(parts.chunks(MANIFEST)))
    except ValueError:
        raise BackupError("the manifest is not JSON: it is damaged, or something else") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BackupError(f"this is not the manifest of a backup in format {FORMAT}")
    return manifest


def verify(manifest: Mapping[str, Any], parts: Parts) -> None:
    """Read every part.

    Raises:
        BackupError: one is damaged.
    """
    for table in manifest["tables"]:
        check(table, parts)


def erasures_in(manifest: Mapping[str, Any], parts: Parts) -> list[Erasure]:
    """The ledger of erasures as a backup has it."""
    table = next((each for each in manifest["tables"] if each["name"] == LEDGER), None)
    if table is None:
        return []
    lines = b"".join(rows_of(parts.chunks(table["file"]))).decode().splitlines()
    rows = (dict(zip(table["columns"], line.split("\t"), strict=True)) for line in lines)
    return [
        Erasure(row["subject_ref"], cast(Mode, row["mode"]), dt.datetime.fromisoformat(row["executed_at"]))
        for row in rows
    ]


def erasures_of(session: Session) -> list[Erasure]:
    """The ledger of erasures of a database."""
    return [
        Erasure(each.subject_ref, cast(Mode, each.mode), each.executed_at)
        for each in session.scalars(select(ErasureRecord))
    ]


def restore(
    session: Session,
    manifest: Mapping[str, Any],
    parts: Parts,
    erasures: Iterable[Erasure],
    *,
    accept_inconsistent: bool = False,
) -> Restored:
    """Restore into a database that is empty, or freshly deployed to and without rows of its own yet.

    The session is in no transaction.

    erasures: those to do again, from the newest ledger there is.

    Raises:
        BackupError: a part is damaged, the database has rows or another schema, or the tables do not fit together.
    """
    if not manifest["consistent"] and not accept_inconsistent:
        raise BackupError(
            "this backup was interrupted and comes from several snapshots: references between tables may not fit. "
            "Take another one, or accept that with --accept-inconsistent"
        )
    verify(manifest, parts)
    with session.begin():
        connection = session.connection()
        versions = manifest["schema_version"]
        upgrade(connection, application=any("application" in version for version in versions))
        if (found := schema_version(session)) != versions:
            raise BackupError(
                f"the backup has the schema {', '.join(versions)}, and this Nightshift {', '.join(found)}: "
                "restore with the version of Nightshift that made the backup, and migrate afterwards"
            )
        for table in manifest["tables"]:
            _make_empty(connection, table["name"])
        keys = _drop_foreign_keys(connection)
        _triggers(connection, manifest, "disable")
        rows = sum(_load(connection, table, parts) for table in manifest["tables"])
        for table in manifest["tables"]:
            _continue_sequences(connection, table)
        for key in keys:
            connection.execute(text(key))
        _triggers(connection, manifest, "enable")
        reapplied = reapply(session, erasures)
        _note(session, manifest)
    return Restored(len(manifest["tables"]), rows, reapplied)


def reapply(session: Session, erasures: Iterable[Erasure]) -> Reapplied:
    """Erase again, in the caller's transaction, whom the ledger says was erased and who is there once more.

    The ledger holds keyed hashes. Whom one means is told by the person's own request, which a backup has that was made
    within the days of grace: with the default tiers that is every backup.
    """
    session.execute(select(func.set_config("nightshift.run_id", str(uuid.uuid4()), True)))
    known = {each.subject_ref for each in erasures_of(session)}
    again = unknown = 0
    for each in erasures:
        requests = select(DataRequest.user_id).where(DataRequest.subject_ref == each.subject_ref)
        person = session.execute(
            select(User.id, User.email).where(User.id.in_(requests), User.anonymized_at.is_(None)).with_for_update()
        ).one_or_none()
        if person is not None:
            erasure.erase(session, Person(person.id, person.email), each.mode, at=each.executed_at)
            again += 1
        elif each.subject_ref not in known and session.scalar(requests.limit(1)) is None:
            unknown += 1
        done = update(DataRequest).where(
            DataRequest.subject_ref == each.subject_ref,
            DataRequest.request_type == "DELETION",
            DataRequest.status.in_(("PENDING", "BLOCKED", "FAILED")),
        )
        session.execute(done.values(status="COMPLETED", completed_at=each.executed_at, last_error=None))
        erasure.record(session, each.subject_ref, each.mode, at=each.executed_at)
    return Reapplied(again, unknown)


def _qualified(name: str) -> str:
    schema, _, table = name.rpartition(".")
    return f'"{schema or "public"}"."{table}"'


def _make_empty(connection: Connection, name: str) -> None:
    table = _qualified(name)
    if connection.scalar(text("select to_regclass(:name)"), {"name": table}) is None:
        raise BackupError(f"the database has no table {name}: create your application's own tables first")
    if name in SEEDED:
        connection.execute(text(f"delete from {table}"))  # noqa: S608 - from the manifest, quoted
    elif connection.scalar(text(f"select exists (select from {table})")):  # noqa: S608
        raise BackupError(f"the database has rows in {name} already: restore into an empty one")


def _drop_foreign_keys(connection: Connection) -> list[str]:
    """Drop them all, so that tables can be filled in any order, and return what makes them again."""
    found = connection.execute(
        text("""
            select conrelid::regclass::text as owner, quote_ident(conname) as name,
                pg_get_constraintdef(oid) as definition
            from pg_constraint
            where contype = 'f' and conparentid = 0
                and connamespace in ('public'::regnamespace, 'nightshift'::regnamespace)
        """)
    ).all()
    for key in found:
        connection.execute(text(f"alter table {key.owner} drop constraint {key.name}"))
    return [f"alter table {key.owner} add constraint {key.name} {key.definition}" for key in found]


def _triggers(connection: Connection, manifest: Mapping[str, Any], what: str) -> None:
    """Rows come back as they were: nothing that reacts to a change may touch them."""
    for table in manifest["tables"]:
        connection.execute(text(f"alter table {_qualified(table['name'])} {what} trigger user"))


def _load(connection: Connection, table: Mapping[str, Any], parts: Parts) -> int:
    columns = ", ".join('"' + column.replace('"', '""') + '"' for column in table["columns"])
    pieces: Iterator[bytes] = rows_of(parts.chunks(table["file"]))
    cursor: Any = connection.connection.cursor()  # pg8000's, which takes a stream
    cursor.execute(f"copy {_qualified(table['name'])} ({columns}) from stdin", stream=pieces)
    if cursor.rowcount != table["rows"]:
        raise BackupError(f"{table['name']} took {cursor.rowcount} rows of {table['rows']}")
    return int(table["rows"])


def _continue_sequences(connection: Connection, table: Mapping[str, Any]) -> None:
    name = _qualified(table["name"])
    for column in table["columns"]:
        sequence = connection.scalar(
            text("select pg_get_serial_sequence(:table, :column)"), {"table": name, "column": column}
        )
        if sequence is not None:
            highest = f'select setval(:sequence, max("{column}")) from {name} having max("{column}") is not null'  # noqa: S608
            connection.execute(text(highest), {"sequence": sequence})


def _note(session: Session, manifest: Mapping[str, Any]) -> None:
    """In the backup itself its own row, and the run that made it, are not at their end.

    Whoever went on with that run would write the backup over with what is in the database now.
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
