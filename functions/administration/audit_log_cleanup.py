"""Move anonymised audit rows older than a year to archives in S3, month by month; legal holds stay out.

A row is marked with its archive after the archive was written, read back and compared; the row itself goes at three
years, by another job. A run that dies between writing and marking writes the same object again; rows that come
late get a new part of their month.
"""

import datetime as dt
import uuid

from sqlalchemy import ColumnElement, exists, func, select, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from application.models import AuditArchive, AuditLog
from functions.administration.audit.archive import ARCHIVE_AFTER, ROWS_A_PART, Part, due, undated
from functions.administration.audit.marking import ORDER, archive, refused_rows
from nightshift import Function, Job, Run, StepPlan, lambda_handler
from nightshift.database import is_locked, is_row_error, savepoint
from nightshift.declaration import SAMPLE_SIZE, Batch, Execution, iso
from nightshift.store import FileStore

LOCK_SECONDS = 1
"""How long a part waits for somebody else who is at one of its rows."""
WHAT_LOCKED_IS = "locked: somebody else had so many rows; the next run archives them"


def plan(session: Session, run: Run) -> list[StepPlan]:
    month = func.date_trunc("month", func.timezone("UTC", AuditLog.occurred_at)).label("month")
    found = select(month).where(due(run)).subquery().c.month
    months = session.execute(select(found, func.count()).group_by(found).order_by(found)).all()
    keys = tuple(next_part(session, month.date()).key for month, _ in months[:SAMPLE_SIZE])
    rows, cutoff = sum(rows for _, rows in months), iso(run.ago(ARCHIVE_AFTER))
    return [StepPlan("archive", "audit_logs", "archive", rows, cutoff=cutoff, sample=keys)]


def apply(execution: Execution) -> None:
    run = execution.run
    while "done" not in (place := execution.position or {}):
        # What is read for the file and what is marked afterwards must be the same rows.
        with execution.batch(snapshot=True, lock_seconds=LOCK_SECONDS) as batch:
            left = due(run) & AuditLog.id.not_in(map(uuid.UUID, place.get("refused", ())))
            oldest = batch.session.scalar(select(ORDER[0]).where(left).order_by(ORDER[0]).limit(1))
            if oldest is None:
                leave_undated(batch, run)
                batch.position = {"done": True}
            else:
                part = next_part(batch.session, oldest.astimezone(dt.UTC).date())
                archive_part(run, batch, execution.resources.files, part, left)


def leave_undated(batch: Batch, run: Run) -> None:
    for key in batch.session.scalars(select(AuditLog.id).where(undated(run)).order_by(AuditLog.id)):
        batch.quarantine(f"audit_logs:{key}", "it is from before the year 1, and belongs to no month's archive")


def next_part(session: Session, day: dt.date) -> Part:
    month = day.replace(day=1)
    last = session.scalar(select(func.max(AuditArchive.part)).where(AuditArchive.month == month))
    return Part(month, (last or 0) + 1)


def archive_part(run: Run, batch: Batch, files: FileStore, part: Part, left: ColumnElement[bool]) -> None:
    """Archive a month's rows, or the first of them. Those that the database does not let be marked stay out,
    and those that somebody else has locked."""
    chosen = left & (AuditLog.occurred_at >= part.start) & (AuditLog.occurred_at < part.end)
    last = select(*ORDER).where(chosen).order_by(*ORDER).offset(ROWS_A_PART - 1).limit(1)
    if bound := batch.session.execute(last).first():
        chosen &= tuple_(*ORDER) <= tuple_(*bound)
    try:
        with savepoint(batch.session):
            contents = archive(run, batch.session, files, part, chosen)
    except DBAPIError as error:
        refused = refused_rows(run, batch.session, part, chosen) if is_row_error(error) or is_locked(error) else {}
        if not refused:
            raise
        for key, reason in refused.items():
            if reason is None:
                batch.leave_locked(WHAT_LOCKED_IS)
            else:
                batch.quarantine(f"audit_logs:{key}", reason)
        before = (batch.position or {}).get("refused", ())
        batch.position = {"refused": [*before, *map(str, refused)]}
        chosen &= AuditLog.id.not_in(refused)
        if not batch.session.scalar(select(exists().where(chosen))):
            return
        contents = archive(run, batch.session, files, part, chosen)
    batch.count(archived=contents.rows, parts=1, bytes=contents.bytes, verified=1)


job = Job(
    name="audit-log-cleanup",
    kind="retention",
    schedule="cron(0 4 1 * ? *)",
    needs=frozenset({"files"}),
    folders=("audit/",),
    memory_mb=1769,  # buys one whole processor, which compresses 100,000 rows in seconds
    steps=(
        Function(
            name="archive",
            apply=apply,
            plan=plan,
            parameters=(ARCHIVE_AFTER,),
            counters=("archived", "parts", "bytes", "verified"),
            changes=("archived",),
            tables=("audit_logs", "nightshift.audit_archives"),
        ),
    ),
)
handler = lambda_handler(job)
