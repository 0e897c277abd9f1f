"""Move anonymised audit rows older than a year to archives in S3, month by month; legal holds stay out.

A row is marked with its archive after the archive was written, read back and compared; the row itself goes at three
years, by another job. A run that dies between writing and marking writes the same object again; rows that come
late get a new part of their month.
"""

import datetime as dt

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.orm import Session

from application.models import AuditArchive, AuditLog
from functions.administration.audit.archive import ARCHIVE_AFTER, ROWS_A_PART, Part, due, store
from nightshift import Function, Job, Run, StepPlan, lambda_handler
from nightshift.declaration import SAMPLE_SIZE, Batch, Execution, iso
from nightshift.store import FileStore

ORDER = (AuditLog.occurred_at, AuditLog.id)


def plan(session: Session, run: Run) -> list[StepPlan]:
    month = func.date_trunc("month", func.timezone("UTC", AuditLog.occurred_at)).label("month")
    found = select(month).where(due(run)).subquery().c.month
    months = session.execute(select(found, func.count()).group_by(found).order_by(found)).all()
    keys = tuple(next_part(session, month.date()).key for month, _ in months[:SAMPLE_SIZE])
    rows, cutoff = sum(rows for _, rows in months), iso(run.ago(ARCHIVE_AFTER))
    return [StepPlan("archive", "audit_logs", "archive", rows, cutoff=cutoff, sample=keys)]


def apply(execution: Execution) -> None:
    while execution.position is None:
        # What is read for the file and what is marked afterwards must be the same rows.
        with execution.batch(snapshot=True) as batch:
            oldest = batch.session.scalar(select(ORDER[0]).where(due(execution.run)).order_by(ORDER[0]).limit(1))
            if oldest is None:
                batch.position = {"done": True}
            else:
                part = next_part(batch.session, oldest.astimezone(dt.UTC).date())
                archive_part(execution.run, batch, execution.resources.files, part)


def next_part(session: Session, day: dt.date) -> Part:
    month = day.replace(day=1)
    last = session.scalar(select(func.max(AuditArchive.part)).where(AuditArchive.month == month))
    return Part(month, (last or 0) + 1)


def archive_part(run: Run, batch: Batch, files: FileStore, part: Part) -> None:
    chosen = due(run) & (AuditLog.occurred_at >= part.start) & (AuditLog.occurred_at < part.end)
    last = select(*ORDER).where(chosen).order_by(*ORDER).offset(ROWS_A_PART - 1).limit(1)
    if bound := batch.session.execute(last).first():
        chosen &= tuple_(*ORDER) <= tuple_(*bound)
    contents = store(batch.session, files, part, chosen)
    archive = AuditArchive(
        month=part.month,
        part=part.number,
        s3_key=part.key,
        row_count=contents.rows,
        sha256=contents.sha256,
        bytes=contents.bytes,
        verified_at=run.now,
        created_at=run.now,
    )
    batch.session.add(archive)
    batch.session.flush()
    marking = update(AuditLog).where(chosen).values(archive_id=archive.id)
    batch.session.execute(marking, execution_options={"synchronize_session": False})
    batch.count(archived=contents.rows, parts=1, bytes=contents.bytes, verified=1)


job = Job(
    name="audit-log-cleanup",
    kind="retention",
    schedule="cron(0 4 1 * ? *)",
    needs=frozenset({"files"}),
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
