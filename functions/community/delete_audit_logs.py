"""Delete audit rows older than three years, and the archives of months that ended before; legal holds stay.

Three years is the hard limit: a row that was never archived goes as well, but is counted. An archive's object goes
before its row, so that no object is ever forgotten; an archive with a row on hold stays until the hold ends.
"""

import uuid
from collections.abc import Sequence
from functools import partial

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from application.models import AuditArchive, AuditLog
from nightshift import Count, Delete, Function, Job, Parameter, Run, StepPlan, lambda_handler
from nightshift.database import by_halves
from nightshift.declaration import Batch, Execution
from nightshift.store.files import manifest_key

ARCHIVES = "nightshift.audit_archives"
LOCK_SECONDS = 1
"""How long an archive waits for somebody else who is at one of its rows."""
WHAT_LOCKED_IS = "locked: somebody else had so many archives, or rows of theirs; the next run deletes them"

# Rows are archived, month by month, once they are a year old: nothing may go before that had its chance.
RETENTION = Parameter("retention_years", 3, "years", minimum=2)


def due_archives(run: Run) -> Select[AuditArchive]:
    """Archives past the cut-off, the oldest first. A month ends when the next one begins, in UTC."""
    month_end = func.timezone("UTC", AuditArchive.month + func.make_interval(0, 1))
    # The archive's rows are as old as itself. Saying so lets the check use the index on the age.
    on_hold = (
        (AuditLog.archive_id == AuditArchive.id) & AuditLog.legal_hold & (AuditLog.occurred_at < run.ago(RETENTION))
    )
    return (
        select(AuditArchive)
        .where(month_end < run.ago(RETENTION), ~select(AuditLog.id).where(on_hold).exists())
        .order_by(AuditArchive.month, AuditArchive.part)
    )


def plan_archives(session: Session, run: Run) -> list[StepPlan]:
    keys = [archive.s3_key for archive in session.scalars(due_archives(run))]
    return [StepPlan("delete-archives", ARCHIVES, "delete", len(keys), sample=tuple(keys[:5]))]


def delete_archives(execution: Execution) -> None:
    """One archive a batch, so that at most one object is gone while its row is still there."""
    while "done" not in (place := execution.position or {}):
        with execution.batch(lock_seconds=LOCK_SECONDS) as batch:
            due = due_archives(execution.run).where(AuditArchive.id.not_in(map(uuid.UUID, place.get("refused", ()))))
            archive = batch.session.scalar(due.limit(1).with_for_update(of=AuditArchive, skip_locked=True))
            if archive is None:
                for locked in batch.session.scalars(due):
                    leave_locked(batch, locked.id)
                batch.position = {"done": True}
            else:
                for key in (archive.s3_key, manifest_key(archive.s3_key)):
                    execution.resources.files.delete(key)
                forgetting, leaving = partial(forget, batch.session), partial(leave, batch)
                gone = by_halves(batch.session, [archive.id], forgetting, leaving, partial(leave_locked, batch))
                batch.count(archives_deleted=sum(gone))


def forget(session: Session, ids: Sequence[uuid.UUID]) -> int:
    session.execute(delete(AuditArchive).where(AuditArchive.id.in_(ids)))
    return len(ids)


def leave(batch: Batch, archive_id: uuid.UUID, error: str) -> None:
    pass_over(batch, archive_id)
    batch.quarantine(f"{ARCHIVES}:{archive_id}", error)


def leave_locked(batch: Batch, archive_id: uuid.UUID) -> None:
    pass_over(batch, archive_id)
    batch.leave_locked(WHAT_LOCKED_IS)


def pass_over(batch: Batch, archive_id: uuid.UUID) -> None:
    """This run does not look at it any more."""
    batch.position = {"refused": [*(batch.position or {}).get("refused", ()), str(archive_id)]}


job = Job(
    name="delete-audit-logs",
    kind="retention",
    schedule="cron(30 3 ? * SUN *)",
    needs=frozenset({"files"}),
    folders=("audit/",),
    critical=True,
    steps=(
        Delete(
            AuditLog,
            where=AuditLog.legal_hold.is_(False),
            older_than=RETENTION,
            measured_by=AuditLog.occurred_at,
            counting={"deleted_unarchived": AuditLog.archive_id.is_(None)},
        ),
        Function(
            name="delete-archives",
            apply=delete_archives,
            plan=plan_archives,
            counters=("archives_deleted",),
            changes=("archives_deleted",),
            tables=(ARCHIVES,),
            destructive=True,
        ),
        Count(
            AuditLog,
            where=AuditLog.legal_hold.is_(True),
            older_than=RETENTION,
            measured_by=AuditLog.occurred_at,
            counter="held",
        ),
    ),
)
handler = lambda_handler(job)
