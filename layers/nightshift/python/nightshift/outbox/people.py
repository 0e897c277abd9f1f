"""The people that a batch is about, from the project's list."""

import datetime as dt
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Date,
    DateTime,
    FromClause,
    Integer,
    Row,
    Select,
    Subquery,
    Text,
    Time,
    cast,
    column,
    extract,
    func,
    literal,
    null,
    select,
    type_coerce,
    values,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from nightshift.declaration import Run, this_project
from nightshift.errors import DeclarationError
from nightshift.outbox.local_time import DueZone, LocalMoment, at_zone, window_start, zone_names

People = Subquery
"""The people that a batch is about. Columns: `recipient` (with the type of the project's key), `name`, `address`,
`zone` (the one that counts), `zone_known`, `language`, `quiet_start`, `quiet_end`, `channels`, `wants`, `local_date`,
`local_now` (a `timestamp` without zone), and the columns that the project adds."""

DEMANDED = ("recipient", "name", "address", "zone")
OPTIONAL: dict[str, ColumnElement[Any]] = {
    "language": cast(null(), Text),
    "quiet_start": cast(null(), Time),
    "quiet_end": cast(null(), Time),
    "channels": cast(["in_app", "email"], ARRAY(Text)),
    "wants": cast(literal("{}", Text), JSONB),
}


def listed() -> FromClause:
    """Everybody from the project's list, with the zones as they are stored.

    Raises:
        DeclarationError: the project provides no people, or a column is missing.
    """
    people = this_project().people()
    if people is None:
        raise DeclarationError(
            "this project provides no people who could get notices: write `people()` in application/project.py "
            "(docs/adding-a-job.md); operators can be told without it"
        )
    found = people.everybody().subquery("person")
    if missing := [name for name in DEMANDED if name not in found.c]:
        raise DeclarationError(f"the project's people lack the column {missing[0]}; needed are {', '.join(DEMANDED)}")
    return found


def person(session: Session, recipient: str) -> Row[Any] | None:
    """The current name, address and preferences of one person; None for a person who is not listed.

    `has_quiet_hours`, and not the hours: 24:00 is a time of PostgreSQL's that Python cannot hold.
    """
    found = listed()
    optional = {**OPTIONAL, "unsubscribe_url": cast(null(), Text)}
    told = [
        (found.c[name] if name in found.c else optional[name]).label(name)
        for name in ("name", "address", "wants", "unsubscribe_url")
    ]
    quiet = (found.c.quiet_start if "quiet_start" in found.c else OPTIONAL["quiet_start"]).is_not(None)
    one: Select[Any] = select(*told, quiet.label("has_quiet_hours")).where(
        found.c.recipient == as_recipient(found, recipient)
    )
    return session.execute(one).first()


def everybody(run: Run) -> People:
    """Everybody, with the run's time as local time in each person's zone."""
    return everybody_at(run.now)


def everybody_at(now: dt.datetime) -> People:
    """Everybody, with an instant as local time in each person's zone."""
    found, zone = listed(), func.coalesce(zone_names.c.name, "UTC")
    local_now = at_zone(zone, literal(now))
    joined = found.outerjoin(zone_names, zone_names.c.name == found.c.zone)
    people = _people(found, zone, zone_names.c.name.is_not(None), cast(local_now, Date), local_now)
    return people.select_from(joined).subquery("people")


def people_of(zone: DueZone, run: Run, after: str | None = None, upto: str | None = None) -> People:
    """The people of a zone in which the moment has come, with its local date, from `after` to `upto` by recipient."""
    found, name = listed(), cast(literal(zone.zone), Text)
    local_now = at_zone(name, literal(run.now))
    people = _people(found, name, literal(zone.valid), cast(literal(zone.local_date), Date), local_now)
    last = [found.c.recipient <= as_recipient(found, upto)] if upto is not None else []
    return people.where(*_of(found, zone, after), *last).subquery("people")


def part_of(session: Session, zone: DueZone, after: str | None, size: int) -> tuple[str | None, int]:
    """Of the next people of a zone, at most `size`: the last recipient, and how many people there are."""
    found = listed()
    part = select(found.c.recipient).where(*_of(found, zone, after)).order_by(found.c.recipient).limit(size).subquery()
    last = select(cast(part.c.recipient, Text)).order_by(part.c.recipient.desc()).limit(1).scalar_subquery()
    row = session.execute(select(last, func.count()).select_from(part)).one()
    return row[0], row[1]


def as_recipient(people: FromClause, text: str) -> ColumnElement[Any]:
    """A recipient from the outbox, with the type of the project's key."""
    return cast(literal(text, Text), people.c.recipient.type)


def due_zones(session: Session, run: Run, moment: LocalMoment) -> list[DueZone]:
    """The zones in which the moment has come within the run's window, sorted by their stored text.

    A window of two hours ends on the local date of the moment, or on the day after, if it includes midnight. The clocks
    may even have skipped both midnight and the moment.
    """
    people = this_project().people()
    zones = people.zones() if people is not None else None
    stored = (select(listed().c.zone).distinct() if zones is None else zones).subquery("stored")
    name = func.coalesce(zone_names.c.name, "UTC")
    back = values(column("days", Integer), name="back").data([(0,), (1,)])
    date = type_coerce(cast(at_zone(name, literal(run.now)), Date) - back.c.days, Date)
    days = (
        select(stored.c.zone.label("stored"), name.label("zone"), date.label("local_date"))
        .select_from(stored)
        .outerjoin(zone_names, zone_names.c.name == stored.c.zone)
        .join(back, literal(True))
        .where(stored.c.zone.is_not(None))
        .subquery("day")
    )
    instant = at_zone(days.c.zone, type_coerce(days.c.local_date + cast(literal(moment.at), Time), DateTime))
    due = select(days).where(instant > window_start(session, run), instant <= run.now)
    if moment.weekday is not None:
        due = due.where(extract("isodow", days.c.local_date) == moment.weekday)
    if moment.day is not None:
        due = due.where(extract("day", days.c.local_date) == moment.day)
    return sorted((DueZone(*row) for row in session.execute(due)), key=lambda zone: zone.timezone)


def _people(
    found: FromClause,
    zone: ColumnElement[str],
    known: ColumnElement[bool],
    local_date: ColumnElement[dt.date],
    local_now: ColumnElement[dt.datetime],
) -> Select[Any]:
    told: list[ColumnElement[Any]] = [each for each in found.c if each.name != "zone"]
    absent = [default.label(name) for name, default in OPTIONAL.items() if name not in found.c]
    clock: list[ColumnElement[Any]] = [zone.label("zone"), known.label("zone_known"), local_date.label("local_date")]
    return select(*told, *absent, *clock, local_now.label("local_now"))


def _of(found: FromClause, zone: DueZone, after: str | None) -> list[ColumnElement[bool]]:
    later = [] if after is None else [found.c.recipient > as_recipient(found, after)]
    return [found.c.zone == zone.timezone, *later]
