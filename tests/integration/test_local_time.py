"""When a moment comes on a local clock, and when a local day begins, also where the clocks are changed."""

import datetime as dt
import uuid

import pytest
from sqlalchemy import Date, Engine, cast, func, literal, select, text
from sqlalchemy.orm import Session

from nightshift.declaration import Run
from nightshift.ledger import RegisteredJob, RunRecord
from nightshift.outbox import LocalMoment, due_zones, local_date_of, midnight, window_start, zone_names
from tests.ground.application.project import Customers
from tests.ground.people import customer, utc

TWO_HOURS = dt.timedelta(hours=2)
QUARTER = dt.timedelta(minutes=15)
MICROSECOND = dt.timedelta(microseconds=1)
SUNDAY = 7


def at(now: dt.datetime) -> Run:
    return Run(id=uuid.uuid4(), job="test", scheduled_for=now)


def due(session: Session, now: dt.datetime, moment: LocalMoment) -> list[str]:
    """The local dates on which the moment has come in the two hours before."""
    return [str(zone.local_date) for zone in due_zones(session, at(now), moment)]


@pytest.mark.parametrize(
    ("zone", "date", "clock", "instant"),
    [
        ("UTC", "2026-03-02", "09:00", "2026-03-02 09:00"),
        ("Asia/Kolkata", "2026-03-02", "09:00", "2026-03-02 03:30"),
        ("Asia/Kathmandu", "2026-03-02", "09:00", "2026-03-02 03:15"),
        ("Australia/Eucla", "2026-03-02", "09:00", "2026-03-02 00:15"),
        ("Pacific/Kiritimati", "2026-03-01", "00:00", "2026-02-28 10:00"),
        ("Pacific/Pago_Pago", "2026-02-28", "23:45", "2026-03-01 10:45"),
        # Skipped: as many minutes after the change as the moment would have been.
        ("Europe/Berlin", "2026-03-29", "02:30", "2026-03-29 01:30"),
        ("America/Havana", "2026-03-08", "00:30", "2026-03-08 05:30"),
        ("Africa/Cairo", "2026-04-24", "00:30", "2026-04-23 22:30"),
        ("Australia/Lord_Howe", "2026-10-04", "02:15", "2026-10-03 15:45"),
        ("Pacific/Chatham", "2026-09-27", "03:00", "2026-09-26 14:15"),
        ("America/Nuuk", "2026-03-28", "23:30", "2026-03-29 01:30"),
        # Twice: the second time.
        ("Europe/Berlin", "2026-10-25", "02:30", "2026-10-25 01:30"),
        ("America/Havana", "2026-11-01", "00:30", "2026-11-01 05:30"),
        ("Africa/Cairo", "2026-10-29", "23:30", "2026-10-29 21:30"),
        ("Australia/Lord_Howe", "2026-04-05", "01:45", "2026-04-04 15:15"),
        ("Pacific/Chatham", "2026-04-05", "03:00", "2026-04-04 14:15"),
        ("Atlantic/Azores", "2026-10-25", "00:30", "2026-10-25 01:30"),
    ],
)
def test_a_moment_comes_at_one_instant_of_its_date_also_when_it_is_skipped_or_comes_twice(
    session: Session, zone: str, date: str, clock: str, instant: str
) -> None:
    """Windows are open at their start and closed at their end, so that the next one never has it again."""
    customer(session, "ann", timezone=zone)
    moment, when = LocalMoment(dt.time.fromisoformat(clock)), utc(instant)

    assert due(session, when - MICROSECOND, moment) == []
    assert due(session, when, moment) == [date]
    assert due(session, when + TWO_HOURS - MICROSECOND, moment) == [date]
    assert due(session, when + TWO_HOURS, moment) == []


@pytest.mark.parametrize(
    ("moment", "now", "dates"),
    [
        (LocalMoment(dt.time(19), weekday=SUNDAY), "2026-03-29 17:00", ["2026-03-29"]),
        (LocalMoment(dt.time(19), weekday=SUNDAY), "2026-03-28 18:00", []),
        (LocalMoment(dt.time(19), weekday=SUNDAY), "2026-10-25 18:00", ["2026-10-25"]),
        (LocalMoment(dt.time(9), day=1), "2026-03-01 08:00", ["2026-03-01"]),
        (LocalMoment(dt.time(9), day=1), "2026-03-31 07:00", []),
        (LocalMoment(dt.time(9), day=1), "2026-04-01 07:00", ["2026-04-01"]),
        (LocalMoment(dt.time(0), day=1), "2026-03-31 22:00", ["2026-04-01"]),
    ],
)
def test_a_weekday_or_a_day_of_the_month_is_that_of_the_local_calendar(
    session: Session, moment: LocalMoment, now: str, dates: list[str]
) -> None:
    customer(session, "ann", timezone="Europe/Berlin")
    assert due(session, utc(now), moment) == dates


@pytest.mark.parametrize(
    ("zone", "date", "instant"),
    [
        ("UTC", "2026-03-02", "2026-03-02 00:00"),
        ("Asia/Kathmandu", "2026-03-02", "2026-03-01 18:15"),
        ("Europe/Berlin", "2026-03-29", "2026-03-28 23:00"),
        ("Europe/Berlin", "2026-10-25", "2026-10-24 22:00"),
        ("Atlantic/Azores", "2026-10-25", "2026-10-25 00:00"),  # midnight comes twice
        ("America/Havana", "2026-11-01", "2026-11-01 04:00"),  # likewise
        ("America/Havana", "2026-03-08", "2026-03-08 05:00"),  # there is none, the day begins at 01:00
        ("Africa/Cairo", "2026-04-24", "2026-04-23 22:00"),  # likewise
        ("Africa/Cairo", "2026-10-30", "2026-10-29 22:00"),  # the hour before it comes twice
        ("America/Nuuk", "2026-03-29", "2026-03-29 01:00"),  # the hour before it is skipped
    ],
)
def test_a_day_begins_at_the_first_instant_that_shows_its_date(
    session: Session, zone: str, date: str, instant: str
) -> None:
    day = cast(literal(date), Date)
    assert session.scalar(select(midnight(literal(zone), day))) == utc(instant)


def test_that_holds_in_every_zone_on_every_day_of_a_year(database: Engine) -> None:
    days = func.generate_series(cast(literal("2026-01-01"), Date), cast(literal("2026-12-31"), Date), text("'1 day'"))
    day = cast(days.column_valued("day"), Date)
    with database.connect() as connection:
        begins = midnight(zone_names.c.name, day)
        before = local_date_of(zone_names.c.name, begins - literal(MICROSECOND))
        wrong = (local_date_of(zone_names.c.name, begins) != day) | (before != day - 1)
        found = connection.execute(select(zone_names.c.name, day, begins).where(wrong)).all()
        zones = connection.scalar(select(func.count()).select_from(zone_names)) or 0
    assert found == []
    assert zones > 400


def test_only_zones_that_the_project_lists_are_asked_where_it_lists_them(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for zone in ("UTC", "Africa/Abidjan"):
        customer(session, zone, timezone=zone)
    nine, now = LocalMoment(dt.time(9)), utc("2026-03-02 09:00")
    assert [zone.timezone for zone in due_zones(session, at(now), nine)] == ["Africa/Abidjan", "UTC"]

    monkeypatch.setattr(Customers, "zones", lambda self: select(literal("UTC").label("zone")))
    assert [zone.timezone for zone in due_zones(session, at(now), nine)] == ["UTC"]


def test_only_what_the_job_itself_has_done_narrows_the_window(session: Session) -> None:
    """GIVEN plans, failures, other jobs and what is not past THEN two hours; a success, on purpose or not, narrows."""
    now = utc("2026-03-02 09:00")
    session.add_all([RegisteredJob(name="test"), RegisteredJob(name="other")])
    session.flush()

    def ran(minutes: int, **facts: str) -> None:
        given = {"job": "test", "state": "succeeded", "trigger": "schedule", "max_attempts": 3, **facts}
        session.add(RunRecord(scheduled_for=now - dt.timedelta(minutes=minutes), **given))
        session.commit()

    ran(15, job="other")
    ran(16, state="planned", mode="plan")
    ran(17, state="failed")
    ran(18, state="missed")
    ran(19, state="interrupted")
    ran(0)
    ran(-15)
    ran(121)
    assert window_start(session, at(now)) == now - TWO_HOURS

    ran(30)
    assert window_start(session, at(now)) == now - 2 * QUARTER
    ran(20, trigger="manual")
    assert window_start(session, at(now)) == now - dt.timedelta(minutes=20)
