"""Rows of the audit log and the part that holds them: written, noted, and marked in one transaction."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, select, tuple_, update
from sqlalchemy.orm import Session

from application.models import AuditArchive, AuditLog
from functions.administration.audit.archive import Part, store
from nightshift import Run
from nightshift.database import by_halves
from nightshift.store import Contents, FileStore

ORDER = (AuditLog.occurred_at, AuditLog.id)


def archive(run: Run, session: Session, files: FileStore, part: Part, chosen: ColumnElement[bool]) -> Contents:
    contents = store(session, files, part, chosen)
    mark(session, chosen, note(run, session, part, contents))
    return contents


def note(run: Run, session: Session, part: Part, contents: Contents) -> uuid.UUID:
    """Write down what a part holds. Returns the id by which its rows are marked."""
    noted = AuditArchive(
        month=part.month,
        part=part.number,
        s3_key=part.key,
        row_count=contents.rows,
        sha256=contents.sha256,
        bytes=contents.bytes,
        verified_at=run.now,
        created_at=run.now,
    )
    session.add(noted)
    session.flush()
    return noted.id


def mark(session: Session, chosen: ColumnElement[bool], archive_id: uuid.UUID) -> None:
    marking = update(AuditLog).where(chosen).values(archive_id=archive_id)
    session.execute(marking, execution_options={"synchronize_session": False})


def refused_rows(run: Run, session: Session, part: Part, chosen: ColumnElement[bool]) -> dict[uuid.UUID, str | None]:
    """The rows that cannot be marked, each with the reason; None: somebody else has it locked. It is tried, and taken
    back."""
    refused: dict[uuid.UUID, str | None] = {}
    rows = session.execute(select(*ORDER).where(chosen).order_by(*ORDER)).all()
    with session.begin_nested() as trial:
        archive_id = note(run, session, part, Contents(0, 0, ""))

        def mark_some(some: Sequence[Any]) -> None:
            mark(session, chosen & tuple_(*ORDER).between(tuple_(*some[0]), tuple_(*some[-1])), archive_id)

        def leave(row: Any, error: str | None = None) -> None:
            refused[row.id] = error

        by_halves(session, rows, mark_some, leave, leave)
        trial.rollback()
    return refused
