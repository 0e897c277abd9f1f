"""One part of the archive: rows of the audit log as a compressed file in the file store, proven to have arrived.

A part is the object `audit/2024/11/part-1.jsonl.gz`, one row a line, and the manifest beside it, which says what must
be in it. Nothing is held in memory: rows come through a cursor of the database and go through the compressor.
"""

import datetime as dt
import json
from dataclasses import dataclass

from dateutil.relativedelta import relativedelta
from sqlalchemy import ColumnElement, Text, and_, cast, func, select
from sqlalchemy.orm import Session

from application.models import AuditLog
from nightshift import Parameter, Run
from nightshift.store import Contents, FileStore
from nightshift.store.compressed import DamagedError, contents_of, writing
from nightshift.store.files import manifest_key

ARCHIVE_AFTER = Parameter(
    "audit_archive_after_days", 365, "days", minimum=365, about="archive anonymised audit rows older than this"
)
ROWS_A_PART = 100_000
ROWS_A_FETCH = 2_000

# What tells who it was is left out rather than trusted to be empty: actor, session, address and user agent. Texts go
# through the redaction once more, which may have become stricter since the row was anonymised.
COLUMNS = (
    AuditLog.id,
    AuditLog.occurred_at,
    AuditLog.actor_type,
    AuditLog.api_key_id,
    AuditLog.action,
    AuditLog.category,
    AuditLog.severity,
    AuditLog.status,
    AuditLog.resource_type,
    func.nightshift.mask_emails(AuditLog.resource_id).label("resource_id"),
    AuditLog.country,
    func.nightshift.redact(AuditLog.metadata_).label("metadata"),
    func.nightshift.redact(AuditLog.changes).label("changes"),
    AuditLog.compliance_tags,
    AuditLog.anonymized_at,
)


UNMARKED = "No row was marked as archived; the next attempt writes the object again"


class ArchiveMismatchError(RuntimeError):
    """What the file store gives back is not what was written to it. No row may be marked as archived."""


@dataclass(frozen=True)
class Part:
    """Where a part of a month's rows goes."""

    month: dt.date
    """The first day of the month, in UTC."""
    number: int

    @property
    def start(self) -> dt.datetime:
        return dt.datetime.combine(self.month, dt.time(), dt.UTC)

    @property
    def end(self) -> dt.datetime:
        return self.start + relativedelta(months=1)

    @property
    def key(self) -> str:
        return f"audit/{self.month:%Y/%m}/part-{self.number}.jsonl.gz"


BEGINNING = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
"""The first instant that Python has. What is older, like -infinity, belongs to no month."""


def due(run: Run) -> ColumnElement[bool]:
    """The rows to archive: anonymised, old enough, in no archive yet, and not on legal hold."""
    return and_(_old(run), AuditLog.occurred_at >= BEGINNING)


def undated(run: Run) -> ColumnElement[bool]:
    """The rows that would be due, and belong to no month."""
    return and_(_old(run), AuditLog.occurred_at < BEGINNING)


def _old(run: Run) -> ColumnElement[bool]:
    return and_(
        AuditLog.archive_id.is_(None),
        AuditLog.anonymized_at.is_not(None),
        AuditLog.legal_hold.is_(False),
        AuditLog.occurred_at < run.ago(ARCHIVE_AFTER),
    )


def store(session: Session, files: FileStore, part: Part, rows: ColumnElement[bool]) -> Contents:
    """Write the rows of a condition, one JSON object each, to a part and its manifest, and read both back.

    Raises:
        ArchiveMismatchError: what came back differs.
        FileStoreError: the store refused.
    """
    row = select(*COLUMNS).where(rows).subquery("row")
    line = select(cast(func.row_to_json(row.table_valued()), Text)).order_by(row.c.occurred_at, row.c.id)
    lines = session.scalars(line, execution_options={"yield_per": ROWS_A_FETCH})
    with writing(files, part.key) as file:
        for each in lines:
            file.write(each.encode() + b"\n")
    written = file.contents
    try:
        found = contents_of(files.chunks(part.key))
    except DamagedError as error:
        raise ArchiveMismatchError(f"{part.key} came back {error}. {UNMARKED}") from None
    if found != written:
        raise ArchiveMismatchError(
            f"{part.key} came back with {found.rows} rows in {found.bytes} bytes, SHA-256 {found.sha256}; written were"
            f" {written.rows} rows in {written.bytes} bytes, SHA-256 {written.sha256}. {UNMARKED}"
        )
    manifest = {"key": part.key, "month": f"{part.month:%Y-%m}", "part": part.number, **vars(written)}
    content = json.dumps(manifest, indent=2).encode()
    files.write(manifest_key(part.key), content, content_type="application/json")
    if files.read(manifest_key(part.key)) != content:
        raise ArchiveMismatchError(f"the manifest of {part.key} came back different. {UNMARKED}")
    return written
