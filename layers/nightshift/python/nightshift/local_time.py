"""Local time: whose clock has reached an hour since the last tick, and where a person's day begins.

A job that means "9 AM for the user" runs on a tick of 15 minutes, because zones at :30 and :45 exist. Each tick takes
the window (p, t]: t is its own time, p that of the job's last succeeded occurrence, but at most two hours before t. A
lost tick so loses nobody, and an outage wakes nobody late at night. A wall-clock time of a local date is one instant,
also where the clocks are changed: nobody is chosen twice for a date, or left out.

A zone is what PostgreSQL lists in `pg_timezone_names`. Any other name in `users.timezone` counts as UTC, and as an
error that the job reports.
"""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Date,
    DateTime,
    Select,
    Subquery,
    Text,
    case,
    cast,
    column,
    func,
    literal,
    select,
    table,
    text,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from nightshift.models.identity import User
from nightshift.models.ledger import RunRecord
from nightshift.run import Run

Value = TypeVar("Value")
Sql = ColumnElement[Value] | InstrumentedAttribute[Value]

LONGEST_LOOK_BACK = dt.timedelta(hours=2)

TICK = "cron(0/15 * * * ? *)"
"""The schedule of jobs that run by the users' clocks."""

zone_names = table("pg_timezone_names", column("name", Text))


@dataclass(frozen=True)
class LocalMoment:
    """A time on the users' clocks: every day, or one weekday (ISO, Monday is 1), or one day of the month."""

    at: dt.time
    weekday: int | None = None
    day: int | None = None


@dataclass(frozen=True)
class DueZone:
    """A text in `users.timezone` for whose users the moment has come, and the local date on which it came."""

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


# The distinct texts are found by leaps over the index users_timezone, so that the question costs the same with a
# million users. A window of two hours ends on the moment's local date, or on the day after: past midnight, which the
# clocks may even have skipped together with the moment.
_DUE_ZONES = text(
    """
    with recursive stored (timezone) as (
        (select timezone from users order by timezone limit 1)
        union all
        select (select users.timezone from users where users.timezone > stored.timezone order by timezone limit 1)
          from stored
         where stored.timezone is not null
    )
    select stored.timezone, zone.name, day.local_date
      from stored
      left join pg_timezone_names known on known.name = stored.timezone
     cross join lateral (select coalesce(known.name, 'UTC') as name) zone
     cross join lateral (
        select cast(timezone(zone.name, cast(:until as timestamptz)) as date) - days as local_date
          from (values (0), (1)) as back (days)
     ) day
     cross join lateral (
        select timezone(zone.name, day.local_date + cast(:at as time)) as instant
     ) moment
     where stored.timezone is not null
       and moment.instant > :since and moment.instant <= :until
       and extract(isodow from day.local_date) = coalesce(cast(:weekday as int), extract(isodow from day.local_date))
       and extract(day from day.local_date) = coalesce(cast(:day as int), extract(day from day.local_date))
    """
)


def due_zones(session: Session, run: Run, moment: LocalMoment) -> list[DueZone]:
    """The zones in which the moment has come within the run's window, sorted by their stored text."""
    window = {"since": window_start(session, run), "until": run.now}
    rows = session.execute(_DUE_ZONES, {**vars(moment), **window})
    return sorted((DueZone(*row) for row in rows), key=lambda zone: zone.timezone)


live = User.is_active & User.deleted_at.is_(None) & User.anonymized_at.is_(None)
"""Who may be sent anything at all."""

People = Subquery
"""The people that a batch is about, all of them live: `user_id`, `name`, `email`, `zone` (as it counts), `zone_known`,
`local_date` and `local_now` (without a zone, as `timestamp`)."""


def everybody(run: Run) -> People:
    """All live users, each by the clock of their own zone."""
    return everybody_at(run.now)


def everybody_at(now: dt.datetime) -> People:
    """All live users, each by the clock of their own zone, at an instant that is no run's."""
    zone = func.coalesce(zone_names.c.name, "UTC")
    local_now = at_zone(zone, literal(now))
    return (
        _people(zone, zone_names.c.name.is_not(None), cast(local_now, Date), local_now)
        .outerjoin_from(User, zone_names, zone_names.c.name == User.timezone)
        .where(live)
        .subquery("people")
    )


def people_of(zone: DueZone, run: Run, after: uuid.UUID | None = None, upto: uuid.UUID | None = None) -> People:
    """The live users of a zone in which the moment has come, with the date on which it came; a part of them by id."""
    name = cast(literal(zone.zone), Text)
    local_now = at_zone(name, literal(run.now))
    people = _people(name, literal(zone.valid), cast(literal(zone.local_date), Date), local_now)
    return people.where(*_of(zone, after), *([User.id <= upto] if upto else [])).subquery("people")


def part_of(session: Session, zone: DueZone, after: uuid.UUID | None, size: int) -> tuple[uuid.UUID | None, int]:
    """The last id of the next people of a zone, at most `size`, and how many they are."""
    ids = select(User.id).where(*_of(zone, after)).order_by(User.id).limit(size).subquery()
    last = select(ids.c.id).order_by(ids.c.id.desc()).limit(1).scalar_subquery()
    row = session.execute(select(last, func.count()).select_from(ids)).one()
    return row[0], row[1]


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


def _people(
    zone: ColumnElement[str],
    known: ColumnElement[bool],
    local_date: ColumnElement[dt.date],
    local_now: ColumnElement[dt.datetime],
) -> "Select[*tuple[Any, ...]]":
    return select(
        User.id.label("user_id"),
        User.name.label("name"),
        User.email.label("email"),
        zone.label("zone"),
        known.label("zone_known"),
        local_date.label("local_date"),
        local_now.label("local_now"),
    )


def _of(zone: DueZone, after: uuid.UUID | None) -> list[ColumnElement[bool]]:
    return [User.timezone == zone.timezone, live, *([User.id > after] if after else [])]
