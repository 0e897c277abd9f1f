"""The export of every table to the file store, as one set of facts and with a manifest."""

import hashlib
import json
import uuid
from typing import Any
from urllib.parse import quote

from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.database import describe
from nightshift.declaration import SAMPLE_SIZE, Batch, Execution, Run, StepPlan, iso
from nightshift.store import Backup, BackupError, FileStoreError
from nightshift.store.backups import (
    FORMAT,
    MANIFEST,
    OutOfTimeError,
    export,
    folder_of,
    schema_version,
    sources,
    unreadable,
    unsaved,
)
from nightshift.store.records import begin, settle
from nightshift.store.schema import SCHEMA, schema_of, sequences


def plan_export(session: Session, run: Run) -> list[StepPlan]:
    good = select(Backup.id).where(
        Backup.kind == "logical", Backup.status == "succeeded", Backup.scheduled_for == run.now
    )
    names = [] if session.scalar(good) else [source.name for source in sources(session)]
    missing = tuple(f"{name} is left out: {remedy}" for name, remedy in unreadable(session).items())
    return [StepPlan("export", "all tables", "export", len(names), sample=tuple(names[:SAMPLE_SIZE]), missing=missing)]


def export_tables(execution: Execution) -> None:
    """All tables in one transaction; what does not fit into the attempt, in the next attempt's."""
    if execution.position is None:
        with execution.batch() as batch:
            backup_id = begin(batch.session, execution.run, "logical", folder_of(execution.run.now))
            batch.position = (
                {"done": True} if backup_id is None else {"backup": str(backup_id), "tables": [], "snapshots": []}
            )
    while (place := execution.position) is not None and "done" not in place:
        try:
            with execution.batch(snapshot=True) as batch:
                _copy(execution, batch, dict(place))
        except (BackupError, DBAPIError, OSError, FileStoreError) as error:
            _note_failure(execution, place, error)
            raise


def _copy(execution: Execution, batch: Batch, place: dict[str, Any]) -> None:
    session, folder, files = batch.session, folder_of(execution.run.now), execution.resources.files
    tables, number = list(place["tables"]), len(place["snapshots"]) + 1
    snapshots = [*place["snapshots"], {"number": number, "taken_at": iso(session.scalar(select(func.now())))}]
    copied = 0

    def out_of_time() -> bool:
        return execution.deadline.near

    for source in sources(session):
        if source.name in {table["name"] for table in tables}:
            continue
        file = f"{quote(source.name, safe=' ')}.copy.gz"
        try:
            contents = export(session, source, files, folder + file, out_of_time=out_of_time)
        except OutOfTimeError:
            if not copied:
                raise BackupError(
                    f"the table {source.name} alone takes longer to export than an attempt may last. Rely on snapshots "
                    "of RDS for this database, or let less of the table be kept"
                ) from None
            batch.position = place | {"tables": tables, "snapshots": snapshots}
            return
        tables.append(
            {"name": source.name, "quoted": source.quoted, "file": file, "columns": source.columns, "snapshot": number}
            | vars(contents)
        )
        batch.count(tables=1, rows=contents.rows, bytes=contents.bytes)
        copied += 1
    refused = unreadable(session)
    batch.count(unreadable=len(refused))
    schema = schema_of(session)
    files.write(folder + SCHEMA, json.dumps(schema, indent=2).encode(), content_type="application/json")
    manifest = {
        "format": FORMAT,
        "backup_id": place["backup"],
        "run_id": str(execution.run.id),
        "scheduled_for": iso(execution.run.now),
        "schema_version": schema_version(session),
        "consistent": len({table["snapshot"] for table in tables}) <= 1,
        "snapshots": snapshots,
        "tables": sorted(tables, key=lambda table: str(table["name"])),
        "excluded": unsaved(),
        "unreadable": refused,
        "sequences": sequences(session),
        "schema": {"file": SCHEMA, "sha256": hashlib.sha256(json.dumps(schema, indent=2).encode()).hexdigest()},
    }
    content = json.dumps(manifest, indent=2).encode()
    files.write(folder + MANIFEST, content, content_type="application/json")
    values = {
        "manifest": json.loads(content),
        "bytes": sum(table["bytes"] for table in tables) + len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    session.execute(update(Backup).where(Backup.id == uuid.UUID(place["backup"])).values(values))
    batch.position = {"done": True}


def _note_failure(execution: Execution, place: Any, error: Exception) -> None:
    """A connection that is lost cannot note anything: the next run finds the row abandoned."""
    try:
        with execution.session.begin():
            settle(execution.session, uuid.UUID(place["backup"]), "failed", describe(error))
    except (DBAPIError, OSError) as lost:
        execution.log("backup.failure_not_noted", reason=describe(lost))
