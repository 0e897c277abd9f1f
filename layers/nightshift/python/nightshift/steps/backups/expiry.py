"""What becomes of backups that have had their time: the objects go, the row stays."""

import datetime as dt
import uuid

from sqlalchemy import update
from sqlalchemy.orm import Session

from nightshift.declaration import SAMPLE_SIZE, Execution, Run, StepPlan, iso
from nightshift.store import Backup, SnapshotError
from nightshift.store.records import BACKUPS, past


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
