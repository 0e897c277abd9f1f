"""What the notices of this pack say about one person: conditions and figures over `nightshift.outbox.people.People`."""

import datetime as dt
from typing import Any

from sqlalchemy import ColumnElement, Integer, ScalarSelect, Text, cast, exists, func, select
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.selectable import LateralFromClause

from application.models import Goal, TimerSession, User
from nightshift import Run, days
from nightshift.outbox import Notification, People, local_date_of, midnight

Instant = ColumnElement[dt.datetime]

# A timer that never measured anything counts with the length it was planned for.
length = func.coalesce(func.nullif(TimerSession.actual_seconds, 0), TimerSession.planned_seconds, 0)


def signed_in_lately(run: Run) -> ColumnElement[bool]:
    """Signed in within the last 7 days. A user who never did is not meant."""
    return User.last_login_at >= run.ago(days(7))


def any_session(run: Run, people: People, since: Instant | dt.datetime) -> ColumnElement[bool]:
    """Whether the person began any timer since then, whatever became of it."""
    began = TimerSession.created_at.between(since, run.now)
    return exists().where(TimerSession.user_id == people.c.recipient, began)


def mailed_today(people: People, kind: str) -> ColumnElement[bool]:
    """Whether a mail of a kind is for the person's local date: written on it, or kept until then by quiet hours."""
    row = Notification
    day_before, begin, end = (midnight(people.c.zone, people.c.local_date + day) for day in (-1, 0, 1))
    today = (row.created_at >= day_before) & (row.created_at < end) & (row.scheduled_for >= begin)
    return exists().where(
        row.recipient == cast(people.c.recipient, Text), row.channel == "email", row.kind == kind, today
    )


def goals_within(
    people: People, instant: InstrumentedAttribute[Any], since: Instant, until: Instant | dt.datetime, *also: Any
) -> ScalarSelect[int]:
    """How many of the person's goals have an instant within [since, until), archived ones included."""
    found = select(func.count()).select_from(Goal)
    which = found.where(Goal.user_id == people.c.recipient, instant >= since, instant < until, *also)
    return which.correlate(people).scalar_subquery()


def focus(people: People, since: Instant, until: Instant | dt.datetime) -> LateralFromClause:
    """The person's completed sessions created within [since, until): how many, and their seconds altogether."""
    sums = select(func.count().label("sessions"), func.coalesce(func.sum(length), 0).label("seconds"))
    which = sums.where(
        TimerSession.user_id == people.c.recipient,
        TimerSession.status == "completed",
        TimerSession.created_at >= since,
        TimerSession.created_at < until,
    )
    return which.correlate(people).lateral("focus")


def streak_days(run: Run, people: People) -> ScalarSelect[int]:
    """Consecutive local days with a completed session, up to today or yesterday."""
    day = local_date_of(people.c.zone, TimerSession.created_at)
    worked = (
        select(day.label("day"))
        .distinct()
        .where(
            TimerSession.user_id == people.c.recipient,
            TimerSession.status == "completed",
            TimerSession.created_at <= run.now,
        )
        .correlate(people)
        .subquery("worked")
    )
    # Counted backwards from the last day, consecutive days plus their place are the day after the last.
    place = cast(func.row_number().over(order_by=worked.c.day.desc()), Integer)
    last = func.max(worked.c.day).over()
    placed = select((worked.c.day + place).label("reaches"), last.label("last")).correlate(people).subquery("placed")
    unbroken = (placed.c.reaches == placed.c.last + 1) & (placed.c.last >= people.c.local_date - 1)
    return select(func.count()).select_from(placed).where(unbroken).correlate(people).scalar_subquery()
