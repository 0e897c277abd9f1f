"""What a night's backup does, step by step: begin a snapshot, export all tables, read them back, let old ones go."""

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from application import alerts
from functions.administration._backup_rows import (
    begin,
    give_up_abandoned,
    past,
    settle,
    unfinished_snapshots,
)
from nightshift import Run, StepPlan
from nightshift.database import describe
from nightshift.declaration import SAMPLE_SIZE, Batch, Execution, iso
from nightshift.store import Backup, BackupError, FileStoreError, SnapshotError, Snapshots, StoredParts
from nightshift.store.backups import (
    FORMAT,
    MANIFEST,
    OutOfTimeError,
    check,
    export,
    folder_of,
    schema_version,
    sources,
    unsaved,
)
from nightshift.store.snapshots import PREFIX

BACKUPS = "nightshift.backups"
ALERT = "backup-snapshot"


def no_plan(_session: Session, _run: Run) -> list[StepPlan]:
    """The step changes nothing of the application's, and what it will find is not known before."""
    return []


def take_snapshot(execution: Execution) -> None:
    """Begin a snapshot where the database is one of RDS, and note how the earlier ones have come along.

    What goes wrong with them is an open alert, until a run finds all in order, and no reason to do without the export.
    """
    if execution.position is not None:
        return
    run, snapshots = execution.run, execution.resources.snapshots
    with execution.batch() as batch:
        batch.position = {"done": True}
        give_up_abandoned(batch.session, run)
        if snapshots is None:
            return
        problems = [*_begin_snapshot(batch, run, snapshots), *_follow_snapshots(batch, run, snapshots)]
        for name, error in problems:
            batch.quarantine(f"{BACKUPS}:{name}", error)
        if problems:
            details = {"subject": "snapshots of RDS", "reason": problems[-1][1]}
            alerts.sight(batch.session, rule=ALERT, subject="rds", severity="critical", details=details, at=run.now)
        else:
            alerts.resolve(batch.session, rule=ALERT, quiet_since=run.now, at=run.now)


def _begin_snapshot(batch: Batch, run: Run, snapshots: Snapshots) -> Iterator[tuple[str, str]]:
    """Yields its name and the reason when there is none of this run."""
    name = f"{PREFIX}{run.now:%Y-%m-%d-%H%M%S}"
    backup_id = begin(batch.session, run, "snapshot", name)
    if backup_id is None:
        return
    try:
        snapshots.create(name, {"nightshift": "backup", "scheduled_for": iso(run.now)})
    except SnapshotError as error:
        settle(batch.session, backup_id, "failed", str(error))
        yield name, str(error)


def _follow_snapshots(batch: Batch, run: Run, snapshots: Snapshots) -> Iterator[tuple[str, str]]:
    """Yields the names of those that failed or could not be asked about, and the reasons."""
    for backup in batch.session.scalars(unfinished_snapshots(run)).all():
        name = str(backup.location)
        try:
            state = snapshots.state(name)
        except SnapshotError as error:
            yield name, str(error)
            continue
        if state == "succeeded":
            settle(batch.session, backup.id, "succeeded")
        elif state == "failed" or (state == "missing" and backup.scheduled_for != run.now):
            reason = "RDS says that it failed" if state == "failed" else "RDS has no such snapshot"
            settle(batch.session, backup.id, "failed", reason)
            yield name, reason


def plan_export(session: Session, run: Run) -> list[StepPlan]:
    good = select(Backup.id).where(
        Backup.kind == "logical", Backup.status == "succeeded", Backup.scheduled_for == run.now
    )
    names = [] if session.scalar(good) else [source.name for source in sources(session)]
    return [StepPlan("export", "all tables", "export", len(names), sample=tuple(names[:SAMPLE_SIZE]))]


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
        file = f"{source.name}.copy.gz"
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
            {"name": source.name, "file": file, "columns": source.columns, "snapshot": number} | vars(contents)
        )
        batch.count(tables=1, rows=contents.rows, bytes=contents.bytes)
        copied += 1
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


def verify(execution: Execution) -> None:
    """Read the run's backup back, part by part. Only then has it succeeded."""
    run = execution.run
    while (place := execution.position or {"checked": 0}) and "done" not in place:
        with execution.batch() as batch:
            this = select(Backup).where(Backup.kind == "logical", Backup.scheduled_for == run.now)
            backup = batch.session.scalars(this.execution_options(populate_existing=True)).one()
            damage = None
            try:
                checked = _check(execution, batch, backup, place["checked"])
            except BackupError as error:
                damage = error
                settle(batch.session, backup.id, "failed", str(error))
            else:
                batch.position = {"checked": checked}
                if checked == len(backup.manifest["tables"]):
                    if backup.status != "succeeded":
                        settle(batch.session, backup.id, "succeeded")
                    verified = update(Backup).where(Backup.id == backup.id).values(verified_at=run.now)
                    batch.session.execute(verified)
                    batch.position = {"done": True}
        if damage is not None:
            raise damage


def _check(execution: Execution, batch: Batch, backup: Backup, checked: int) -> int:
    parts = StoredParts(execution.resources.files, str(backup.location))
    found = hashlib.sha256(b"".join(parts.chunks(MANIFEST))).hexdigest()
    if found != backup.sha256:
        raise BackupError(f"the manifest in {backup.location} is not the one that was written. Take another backup")
    for table in backup.manifest["tables"][checked:]:
        check(table, parts)
        batch.count(verified=1)
        checked += 1
        if table["bytes"] > LARGE_PART and execution.deadline.near:
            break
    return checked


LARGE_PART = 2**20
"""Bytes. Smaller parts are read in no time, and are not worth a look at the clock."""


def plan_expiry(session: Session, run: Run) -> list[StepPlan]:
    locations = tuple(str(backup.location) for backup in past(session, run))
    sample = locations[:SAMPLE_SIZE]
    return [StepPlan("expire", BACKUPS, "expire", len(locations), cutoff=iso(run.now), sample=sample)]


def expire(execution: Execution) -> None:
    """The objects go, the row stays. One backup a batch: its row names the objects until they are gone."""
    while (place := execution.position or {}) is not None and "done" not in place:
        after = (dt.datetime.fromisoformat(place["at"]), uuid.UUID(place["id"])) if place else None
        with execution.batch() as batch:
            backup = next(iter(past(batch.session, execution.run, after=after)), None)
            if backup is None:
                batch.position = {"done": True}
                continue
            batch.position = {"at": backup.scheduled_for.isoformat(), "id": str(backup.id)}
            try:
                _delete(execution, backup)
            except SnapshotError as error:
                batch.quarantine(f"{BACKUPS}:{backup.id}", str(error))
                continue
            batch.session.execute(update(Backup).where(Backup.id == backup.id).values(status="expired"))
            batch.count(expired_deleted=1)


def _delete(execution: Execution, backup: Backup) -> None:
    if backup.kind == "snapshot":
        if execution.resources.snapshots is None:
            raise SnapshotError("the database is no longer told to be one of RDS: delete its snapshots by hand")
        execution.resources.snapshots.delete(str(backup.location))
    elif backup.location is not None:
        for page in execution.resources.files.pages(backup.location):
            for found in page:
                execution.resources.files.delete(found.key)
