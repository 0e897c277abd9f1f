"""Local time: for whom a local hour has come since the last tick, and when a person's day begins.

A job that means "9 AM for the user" runs every 15 minutes, because some time zones are off by :30 or :45. Each tick
takes the window (p, t]. t is the tick's own time. p is the time of the job's last succeeded occurrence, but at most two
hours before t. So a lost tick loses nobody, and after an outage nobody gets a notice late at night. A clock time on a
local date is exactly one instant, even when the clocks change: nobody is chosen twice for a date, or left out.

A zone is a name that PostgreSQL lists in `pg_timezone_names`. Any other name counts as UTC, and as an error that the
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
"""The schedule of jobs that run by people's local time."""

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
    """A stored time zone in which the moment has come, and the local date on which it came."""

    timezone: str
    """The name as it is stored."""
    zone: str
    """The zone that counts: the stored one, or UTC if PostgreSQL does not know it."""
    local_date: dt.date

    @property
    def valid(self) -> bool:
        return self.timezone == self.zone


def window_start(session: Session, run: Run) -> dt.datetime:
    """The p of the tick's window: the job's last succeeded occurrence before it, including forced ones."""
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
    """PostgreSQL's `at time zone`: turns an instant into local time, and local time into an instant."""
    return func.timezone(zone, time)


def midnight(zone: ColumnElement[str], date: ColumnElement[dt.date]) -> ColumnElement[dt.datetime]:
    """The instant at which a local date begins. If the clocks are set back to midnight, the first of the two."""
    # PostgreSQL takes the second of two. The offset of the evening before gives the first, or an instant that still
    # belongs to that evening, if the evening itself came twice.
    begins, evening = cast(date, DateTime), literal(dt.timedelta(hours=3))
    first, second = at_zone(zone, begins - evening) + evening, at_zone(zone, begins)
    return case((local_date_of(zone, first) == date, func.least(first, second)), else_=second)


def local_date_of(
    zone: ColumnElement[str], instant: ColumnElement[dt.datetime] | InstrumentedAttribute[dt.datetime]
) -> ColumnElement[dt.date]:
    """The local date in a zone at an instant."""
    return cast(at_zone(zone, instant), Date)
