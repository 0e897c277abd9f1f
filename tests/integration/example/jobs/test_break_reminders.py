import datetime as dt
import itertools
import uuid

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from application.models import PushToken, TimerSession
from functions.productivity.break_reminders import job
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.people import outbox, person, told, utc

MONDAY = utc("2026-03-02 15:00")
MINUTE, SECOND = dt.timedelta(minutes=1), dt.timedelta(seconds=1)


def timer(session: Session, user_id: uuid.UUID, started_at: dt.datetime, status: str = "running") -> uuid.UUID:
    row = TimerSession(user_id=user_id, status=status, started_at=started_at, created_at=started_at)
    session.add(row)
    session.commit()
    return row.id


@pytest.mark.parametrize(
    ("ran", "counts"),
    [
        (50 * MINUTE, {"running": 1, "reminded": 0, "stale": 0}),
        (50 * MINUTE + SECOND, {"running": 1, "reminded": 1, "stale": 0}),
        (12 * 60 * MINUTE, {"running": 1, "reminded": 1, "stale": 0}),
        (12 * 60 * MINUTE + SECOND, {"running": 1, "reminded": 0, "stale": 1}),
    ],
)
def test_more_than_50_minutes_and_at_most_12_hours(
    invoke_job: Invoke, session: Session, ran: dt.timedelta, counts: dict[str, int]
) -> None:
    timer(session, person(session, "ann"), MONDAY - ran)

    counters = invoke_job(job, at=MONDAY)["counters"]

    assert counts.items() <= counters.items()
    assert len(outbox(session)) == counts["reminded"]


def test_once_for_each_block_of_50_minutes(invoke_job: Invoke, session: Session) -> None:
    key = timer(session, person(session, "ann"), MONDAY - 51 * MINUTE)

    reminded = [
        invoke_job(job, at=MONDAY + later * MINUTE)["counters"]["reminded"] for later in (0, 25, 48, 49, 50, 75, 99)
    ]

    assert reminded == [1, 0, 0, 1, 0, 0, 1]
    assert [row.dedupe_key for row in outbox(session)] == [f"{key}|{block}|in_app" for block in (1, 2, 3)]


@pytest.mark.parametrize(
    ("at", "reminded"),
    [
        ("2026-03-02 08:59", 0),
        ("2026-03-02 09:00", 1),
        ("2026-03-02 17:59", 1),
        ("2026-03-02 18:00", 0),
        ("2026-03-06 12:00", 1),
        ("2026-03-07 12:00", 0),
        ("2026-03-08 12:00", 0),
    ],
)
def test_weekdays_from_nine_to_seventeen(invoke_job: Invoke, session: Session, at: str, reminded: int) -> None:
    ann = person(session, "ann")
    timer(session, ann, utc(at) - 60 * MINUTE)
    timer(session, ann, utc(at) - 20 * 60 * MINUTE)

    counters = invoke_job(job, at=utc(at))["counters"]

    assert (counters["running"], counters["reminded"], counters["stale"]) == (2 * reminded, reminded, reminded)


@pytest.mark.parametrize(
    ("zone", "at", "reminded"),
    [
        ("Asia/Kathmandu", "2026-03-02 03:14", 0),
        ("Asia/Kathmandu", "2026-03-02 03:15", 1),
        ("Asia/Kolkata", "2026-03-02 12:29", 1),
        ("Asia/Kolkata", "2026-03-02 12:30", 0),
        ("Europe/Berlin", "2026-03-27 07:00", 0),
        ("Europe/Berlin", "2026-03-30 07:00", 1),  # the clocks went forward in between
        ("Europe/Berlin", "2026-10-23 07:00", 1),
        ("Europe/Berlin", "2026-10-26 07:00", 0),  # and back
        ("Pacific/Kiritimati", "2026-03-01 19:00", 1),  # Monday there
        ("Pacific/Kiritimati", "2026-03-06 10:00", 0),  # Saturday there
        ("Pacific/Pago_Pago", "2026-03-07 04:59", 1),  # Friday there
        ("Pacific/Pago_Pago", "2026-03-02 10:59", 0),  # Sunday there
    ],
)
def test_weekday_and_hours_are_those_of_the_local_clock(
    invoke_job: Invoke, session: Session, zone: str, at: str, reminded: int
) -> None:
    timer(session, person(session, "ann", timezone=zone), utc(at) - 60 * MINUTE)
    assert invoke_job(job, at=utc(at))["counters"]["reminded"] == reminded


def test_a_pause_is_not_subtracted(invoke_job: Invoke, session: Session) -> None:
    key = timer(session, person(session, "ann"), MONDAY - 60 * MINUTE)
    session.execute(update(TimerSession).values(actual_seconds=600))
    session.commit()

    invoke_job(job, at=MONDAY)

    assert [row.data for row in outbox(session)] == [{"session_id": str(key), "minutes": 60}]


def test_hours_are_the_person_s_own(invoke_job: Invoke, session: Session) -> None:
    for name, zone in (("ann", "Asia/Kathmandu"), ("bob", "America/Los_Angeles"), ("eve", "Nowhere/Land")):
        timer(session, person(session, name, timezone=zone), utc("2026-03-02 10:00"))

    counters = invoke_job(job, at=utc("2026-03-02 11:00"))["counters"]

    assert told(session) == [("ann", "break_reminder", "in_app"), ("eve", "break_reminder", "in_app")]
    assert counters["errors"] == 1


def test_who_has_a_device_gets_a_push_as_well(invoke_job: Invoke, session: Session) -> None:
    ann = person(session, "ann")
    deaf = person(session, "bob", {"push_enabled": False})
    session.add_all(
        [PushToken(user_id=user, token=str(user), platform="ios", created_at=MONDAY) for user in (ann, deaf)]
    )
    for user in (ann, deaf, person(session, "eve")):
        timer(session, user, MONDAY - 60 * MINUTE)

    counters = invoke_job(job, at=MONDAY)["counters"]

    assert (counters["reminded"], counters["pushes"]) == (3, 1)
    assert ("ann", "break_reminder", "push") in told(session)


def test_break_reminders_switched_off(invoke_job: Invoke, session: Session) -> None:
    ann = person(session, "ann", {"break_reminders": False})
    session.add(PushToken(user_id=ann, token="t", platform="ios", created_at=MONDAY))
    timer(session, ann, MONDAY - 60 * MINUTE)

    counters = invoke_job(job, at=MONDAY)["counters"]

    assert (counters["running"], counters["reminded"], counters["pushes"]) == (1, 0, 0)
    assert outbox(session) == []


@pytest.mark.parametrize("status", ["paused", "completed", "abandoned"])
def test_only_a_running_timer(invoke_job: Invoke, session: Session, status: str) -> None:
    timer(session, person(session, "ann"), MONDAY - 60 * MINUTE, status)

    assert invoke_job(job, at=MONDAY)["counters"]["running"] == 0


def test_it_comes_27_times_within_working_hours_with_a_gap_of_ten_minutes_at_each_full_hour() -> None:
    day = utc("2026-03-02 00:00")
    fires = [at for at in job.timetable.between(day, day + dt.timedelta(days=1)) if 9 <= at.hour <= 17]
    assert len(fires) == 27
    assert (fires[-1].hour, fires[-1].minute) == (17, 50)
    assert {(later - earlier) for earlier, later in itertools.pairwise(fires)} == {25 * MINUTE, 10 * MINUTE}


def test_who_starts_at_five_to_five_is_reminded_at_ten_to_six_only(invoke_job: Invoke, session: Session) -> None:
    timer(session, person(session, "ann"), utc("2026-03-02 16:55"))
    timer(session, person(session, "bob"), utc("2026-03-02 17:00"))

    for at in ("17:00", "17:25", "17:50", "18:00", "18:25"):
        invoke_job(job, at=utc(f"2026-03-02 {at}"))

    assert [(row.data["minutes"], row.created_at) for row in outbox(session)] == [(55, utc("2026-03-02 17:50"))]
    assert told(session) == [("ann", "break_reminder", "in_app")]
