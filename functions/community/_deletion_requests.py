"""One request for deletion: what stands in its way, what carries it out, and what is noted when that fails."""

import uuid
from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, literal_column, select, update
from sqlalchemy.orm import Session

from application import alerts
from application.erasure import Mode, Person, Quotes, erase
from application.erasure.rules import record
from application.models import AuditLog, DataRequest, User
from nightshift import Run
from nightshift.database import Leave, by_halves
from nightshift.store import FileStore

MOST_ATTEMPTS = 5

EXPORTS = "exports/"

Outcome = Literal["anonymized", "deleted", "already_gone", "blocked"]


MODE: ColumnElement[Mode] = case(
    (DataRequest.options["anonymizeContributions"] == literal_column("'false'::jsonb"), "deleted"), else_="anonymized"
)
"""Only an explicit JSON false deletes the person's contributions; anything else leaves them, without a name. Asked of
the database: Python cannot hold whatever somebody has written beside it."""


def delete_exports(session: Session, files: FileStore, user_id: uuid.UUID | None) -> None:
    """Delete the files of all the person's export requests: all objects under `exports/<request id>/`, in
    all their versions.

    Not while something stands in the way of the erasure.

    Raises:
        FileStoreError: a file is still there.
    """
    with session.begin():
        user = session.execute(select(User.id, User.role).where(User.id == user_id)).one_or_none()
        if user is not None and obstacle(session, user.id, user.role) is not None:
            return
        exports = session.scalars(
            select(DataRequest.id).where(DataRequest.user_id == user_id, DataRequest.request_type == "EXPORT")
        ).all()
    for export in exports:
        files.erase(f"{EXPORTS}{export}/")


def settle(session: Session, run: Run, request_id: uuid.UUID, found: Quotes, refused: Leave) -> Outcome:
    """Carry a request out in the caller's transaction, which has locked it. `found` is where the address is quoted."""
    request = session.execute(
        select(DataRequest.user_id, DataRequest.subject_ref, MODE.label("mode")).where(DataRequest.id == request_id)
    ).one()
    user = session.execute(
        select(User.id, User.email, User.role).where(User.id == request.user_id).with_for_update()
    ).one_or_none()
    outcome: Outcome
    mode: Mode
    if user is None:
        outcome, mode = "already_gone", "deleted"
    elif (reason := obstacle(session, user.id, user.role)) is not None:
        _note(session, request_id, status="BLOCKED", last_error=reason)
        _alert(session, run, request_id, "blocked", reason, refused)
        return "blocked"
    else:
        outcome = mode = request.mode
        erase(session, Person(user.id, user.email), mode, at=run.now, found=found)
    _note(session, request_id, status="COMPLETED", completed_at=run.now, last_error=None)
    record(session, request.subject_ref, mode, at=run.now)
    return outcome


def obstacle(session: Session, user_id: uuid.UUID, role: str) -> str | None:
    """Why a user cannot be erased now, if there is a reason."""
    on_hold = select(AuditLog.id).where(AuditLog.actor_id == user_id, AuditLog.legal_hold).limit(1)
    if session.scalar(on_hold) is not None:
        return "rows of the audit log by this person are on legal hold"
    others = (
        select(User.id)
        .where(User.role == "super_admin", User.id != user_id, User.is_active)
        .where(User.deleted_at.is_(None), User.anonymized_at.is_(None))
    )
    if role == "super_admin" and session.scalar(others.limit(1)) is None:
        return "this is the last active super-admin"
    return None


def put_off(session: Session, run: Run, request_id: uuid.UUID, failure: str, refused: Leave) -> None:
    """Note a failure, which names nobody. The request is tried again by the next run, five times in all."""
    attempts = DataRequest.attempts + 1
    status = _note(
        session,
        request_id,
        attempts=attempts,
        last_error=failure,
        status=case((attempts >= MOST_ATTEMPTS, "FAILED"), else_="PENDING"),
    )
    if status == "FAILED":
        _alert(session, run, request_id, "failed", failure, refused)


def _note(session: Session, request_id: uuid.UUID, **values: Any) -> str:
    noted = update(DataRequest).where(DataRequest.id == request_id).values(values).returning(DataRequest.status)
    return session.execute(noted.execution_options(synchronize_session=False)).scalar_one()


def _alert(
    session: Session, run: Run, request_id: uuid.UUID, what: Literal["blocked", "failed"], reason: str, refused: Leave
) -> None:
    """`refused` is told of an alert that the database refuses: the request has its outcome all the same."""

    def note(_: Sequence[str]) -> None:
        alerts.sight(
            session,
            rule=f"erasure-{what}",
            subject=str(request_id),
            severity="high",
            details={"request_id": str(request_id), "reason": reason},
            at=run.now,
        )

    by_halves(session, [f"nightshift.alerts:erasure-{what}:{request_id}"], note, refused)
