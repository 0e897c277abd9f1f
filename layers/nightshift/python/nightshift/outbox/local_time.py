"""Local time: whose clock has reached an hour since the last tick, and where a person's day begins.

A job that means "9 AM for the user" runs on a tick of 15 minutes, because zones at :30 and :45 exist. Each tick takes
the window (p, t]: t is its own time, p that of the job's last succeeded occurrence, but at most two hours before t. A
lost tick so loses nobody, and an outage wakes nobody late at night. A wall-clock time of a local date is one instant,
also where the clocks are changed: nobody is chosen twice for a date, or left out.

A zone is what PostgreSQL lists in `pg_timezone_names`. Any other name counts as UTC, and as an error that the
job reports.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Date, DateTime, Text, case, cast, column, func, literal, select, table
from sqlalchemy.orm import InstrumentedAttribute, Session

from nightshift.declaration import Run
from nightshift.declaration.fields import is_whole, must_be
from nightshift.errors import DeclarationError
from nightshift.ledger import RunRecord

Value = TypeVar("Value")
Sql = ColumnElement[Value] | InstrumentedAttribute[Value]

LONGEST_LOOK_BACK = dt.timedelta(hours=2)

TICK = "cron(0/15 * * * ? *)"
"""The schedule of jobs that run by the users' clocks."""

zone_names = table("pg_timezone_names", column("name", Text))


@dataclass(frozen=True)
class LocalMoment:
    """A time on people's own clocks: every day, or one weekday (ISO, Monday is 1), or one day of the month.

    Raises:
        DeclarationError: when the moment would never come.
    """

    at: dt.time
    weekday: int | None = None
    day: int | None = None

    def __post_init__(self) -> None:
        local = isinstance(self.at, dt.time) and self.at.tzinfo is None
        like = "a time on people's own clocks, like time(18), without a zone"
        must_be(local, "local moment: at", like, self.at)
        for field, value, most, what in (
            ("weekday", self.weekday, 7, "from 1 (Monday) to 7"),
            ("day", self.day, 31, "from 1 to 31"),
        ):
            fits = value is None or (is_whole(value, least=1) and value <= most)
            must_be(fits, f"local moment: {field}", f"a whole number {what}", value)
        if self.weekday is not None and self.day is not None:
            raise DeclarationError("local moment: give weekday or day, not both")


@dataclass(frozen=True)
class DueZone:
    """A stored time zone for whose people the moment has come, and the local date on which it came."""

    timezone: str
    """As it is stored."""
    zone: str
    """As it counts: the same, or UTC."""
    local_date: dt.date

    @property
    def valid(self) -> bool:
        return self.timezone == self.zone


def window_start(session: Session, run: Run) -> dt.datetime:
    """The p of the tick's window: the job's last succeeded occurrence before it, on-purpose ones included."""
    earliest = run.now - LONGEST_LOOK_BACK
    last = session.scalar(
        select(func.max(RunRecord.scheduled_for)).where(
            RunRecord.job == run.job,
            RunRecord.mode == "apply",
            RunRecord.state == "succeeded",
            RunRecord.scheduled_for >= earliest,
            RunRecord.scheduled_for < run.now,
        )
    )
    return last or earliest


def at_zone(
    zone: ColumnElement[str], time: ColumnElement[Any] | InstrumentedAttribute[Any]
) -> ColumnElement[dt.datetime]:
    """PostgreSQL's `at time zone`: an instant becomes local time, and local time an instant."""
    return func.timezone(zone, time)


def midnight(zone: ColumnElement[str], date: ColumnElement[dt.date]) -> ColumnElement[dt.datetime]:
    """The instant at which a local date begins: the first one, where the clocks are put back to midnight."""
    # PostgreSQL takes the second of two. The clocks of the evening before lead to the first, or to an instant that
    # still belongs to that evening, when it was the evening that came twice.
    begins, evening = cast(date, DateTime), literal(dt.timedelta(hours=3))
    first, second = at_zone(zone, begins - evening) + evening, at_zone(zone, begins)
    return case((local_date_of(zone, first) == date, func.least(first, second)), else_=second)


def local_date_of(
    zone: ColumnElement[str], instant: ColumnElement[dt.datetime] | InstrumentedAttribute[dt.datetime]
) -> ColumnElement[dt.date]:
    """The date that a zone's calendar shows at an instant."""
    return cast(at_zone(zone, instant), Date)
