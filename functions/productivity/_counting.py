"""What the roll-ups count in the same way."""

import datetime as dt
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, Subquery, Text, cast, distinct, extract, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from application.models import Goal, TimerSession, User, UserActivityDay
from nightshift.steps import Period

Instant = InstrumentedAttribute[dt.datetime] | InstrumentedAttribute[dt.datetime | None]

# A timer that never measured anything counts with the length it was planned for.
length = func.coalesce(func.nullif(TimerSession.actual_seconds, 0), TimerSession.planned_seconds)
completed = TimerSession.status == "completed"

live = User.deleted_at.is_(None) & User.anonymized_at.is_(None)
last_seen = func.greatest(User.last_login_at, User.last_activity_at)


def within(instant: Instant, period: Period) -> ColumnElement[bool]:
    return (instant >= period.start) & (instant < period.end)


def active_users(session: Session, period: Period) -> int:
    """How many users were there on any of the period's days."""
    days = (UserActivityDay.day >= period.start.date()) & (UserActivityDay.day < period.end.date())
    return session.scalar(select(func.count(distinct(UserActivityDay.user_id))).where(days)) or 0


def new_users(session: Session, period: Period) -> int:
    return session.scalar(select(func.count()).select_from(User).where(within(User.created_at, period))) or 0


def goals(session: Session, period: Period) -> tuple[int, int, int]:
    """How many goals were created in the period, how many completed, and how many of the former by its end."""
    done = Goal.status == "completed"
    created, finished = within(Goal.created_at, period), done & within(Goal.completed_at, period)
    counts = (
        func.count().filter(created),
        func.count().filter(finished),
        func.count().filter(created & done & (Goal.completed_at < period.end)),
    )
    row = session.execute(select(*counts).select_from(Goal).where(or_(created, finished))).one()
    return row[0], row[1], row[2]


def timers_by_hour(period: Period, *conditions: ColumnElement[bool]) -> Select[Any]:
    """Sessions created in the period, counted by type, weekday, hour and break: one pass, a few hundred rows.

    Columns: timer_type, weekday (0 is Sunday), hour, break_taken, n, timed (those with a length), seconds.
    """
    created = func.timezone("UTC", TimerSession.created_at)
    kind = cast(func.coalesce(TimerSession.timer_type, "pomodoro"), Text)
    slots: Subquery = (
        select(
            kind.label("timer_type"),
            cast(extract("dow", created), Integer).label("weekday"),
            cast(extract("hour", created), Integer).label("hour"),
            TimerSession.break_taken,
            length.label("seconds"),
        )
        .where(within(TimerSession.created_at, period), *conditions)
        .subquery()
    )
    key = (slots.c.timer_type, slots.c.weekday, slots.c.hour, slots.c.break_taken)
    sums = (
        func.count().label("n"),
        func.count(slots.c.seconds).label("timed"),
        func.coalesce(func.sum(slots.c.seconds), 0).label("seconds"),
    )
    return select(*key, *sums).group_by(*key)
