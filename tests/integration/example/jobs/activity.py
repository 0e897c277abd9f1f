"""Timers and goals for the tests of jobs that count them, and the figures that were made of them."""

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

from sqlalchemy import func, insert, literal, select
from sqlalchemy.orm import Session

from application.models import Goal, TimerSession
from nightshift.steps import MetricFinding, MetricRollup

MINUTE = dt.timedelta(minutes=1)
HOUR = dt.timedelta(hours=1)


def timers(session: Session, user_id: uuid.UUID, at: dt.datetime, n: int = 1, **more: Any) -> None:
    """So many timer sessions of 25 minutes, completed unless said otherwise, all created at one instant."""
    given = {"status": "completed", "actual_seconds": 1500, "started_at": at, "created_at": at, **more}
    rows = select(literal(user_id), *map(literal, given.values())).select_from(func.generate_series(1, n))
    session.execute(insert(TimerSession).from_select(["user_id", *given], rows))
    session.commit()


def goal(session: Session, user_id: uuid.UUID, created: dt.datetime, **more: Any) -> Goal:
    found = Goal(user_id=user_id, title="Read", **{"created_at": created, "updated_at": created, **more})
    session.add(found)
    session.commit()
    return found


def completed_goal(session: Session, user_id: uuid.UUID, created: dt.datetime, at: dt.datetime) -> Goal:
    return goal(session, user_id, created, status="completed", completed_at=at, updated_at=at)


def store(session: Session, scope: str, start: dt.datetime, end: dt.datetime, **data: Any) -> None:
    """Figures that an earlier run has left."""
    session.add(MetricRollup(scope=scope, period_start=start, period_end=end, data=data, computed_at=end))
    session.commit()


def figures(session: Session, scope: str, start: dt.datetime) -> dict[str, Any]:
    """The stored figures of the scope's period."""
    session.rollback()
    found = select(MetricRollup.data).where(MetricRollup.scope == scope, MetricRollup.period_start == start)
    return session.execute(found).scalar_one()


def findings(session: Session) -> dict[str, tuple[float | None, float | None, Decimal | float | None, bool]]:
    """Every finding by its metric: value, baseline, change in percent, significant."""
    session.rollback()
    return {
        row.metric: (row.value, row.baseline, row.change_pct, row.significant)
        for row in session.scalars(select(MetricFinding))
    }
