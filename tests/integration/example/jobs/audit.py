"""Rows of the audit log for the tests of reports."""

import datetime as dt
from typing import Any

from sqlalchemy.orm import Session

from application.models import AuditLog
from tests.integration.example.jobs.people import utc


def event(session: Session, at: str | dt.datetime, action: str = "goal.create", count: int = 1, **more: Any) -> None:
    """Audit rows of one instant, committed."""
    instant = utc(at) if isinstance(at, str) else at
    session.add_all(AuditLog(occurred_at=instant, action=action, **more) for _ in range(count))
    session.commit()
