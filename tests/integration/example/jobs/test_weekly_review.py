import datetime as dt
import uuid
from typing import Any

import pytest
from sqlalchemy.orm import Session

from application.models import Goal, TimerSession
from functions.productivity.weekly_review import job
from nightshift.outbox import render
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.people import outbox, person, told, utc

SUNDAY = utc("2026-03-01 19:00")
DAY = dt.timedelta(days=1)


def timer(
    session: Session, user_id: uuid.UUID, created_at: dt.datetime, seconds: int | None = 1500, **more: Any
) -> None:
    values = {"status": "completed", "actual_seconds": seconds, "started_at": created_at, **more}
    session.add(TimerSession(user_id=user_id, created_at=created_at, **values))
    session.commit()


def review(session: Session) -> dict[str, Any]:
    (row, *_) = outbox(session)
    return row.data


def test_the_figures_of_the_last_seven_local_days(invoke_job: Invoke, session: Session) -> None:
    ann = person(session, "ann", last_login_at=SUNDAY)
    timer(session, ann, SUNDAY, 1500)
    timer(session, ann, utc("2026-02-23 00:00"), 1500)
    timer(session, ann, utc("2026-02-22 23:59"), 9000)
    timer(session, ann, utc("2026-02-25 12:00"), 9000, status="abandoned")
    timer(session, ann, utc("2026-02-25 12:00"), 0, planned_seconds=60)
    timer(session, ann, utc("2026-02-25 12:00"), None)
    done = {"user_id": ann, "title": "Walk", "status": "completed"}
    session.add_all(
        [
            Goal(**done, completed_at=utc("2026-02-23 00:00")),
            Goal(**done, completed_at=utc("2026-02-28 12:00"), archived_at=SUNDAY),
            Goal(**done, completed_at=utc("2026-02-22 23:59")),
            Goal(user_id=ann, title="Swim"),
            Goal(user_id=ann, title="Sing", completed_at=utc("2026-02-28 12:00")),  # open again
        ]
    )
    session.commit()

    counters = invoke_job(job, at=SUNDAY)["counters"]

    assert (counters["users"], counters["in_app"], counters["emails"]) == (1, 1, 1)
    assert review(session) == {
        "first_day": "2026-02-23",
        "last_day": "2026-03-01",
        "goals_completed": 2,
        "sessions": 4,
        "focus_minutes": 51,
        "streak_days": 1,
    }


@pytest.mark.parametrize(("seconds", "minutes"), [([59], 0), ([60], 1), ([59, 59], 1), ([90, 90], 3)])
def test_only_whole_minutes_of_the_sum_count(
    invoke_job: Invoke, session: Session, seconds: list[int], minutes: int
) -> None:
    ann = person(session, "ann", last_login_at=SUNDAY)
    for each in seconds:
        timer(session, ann, SUNDAY - DAY, each)

    invoke_job(job, at=SUNDAY)

    assert (review(session)["sessions"], review(session)["focus_minutes"]) == (len(seconds), minutes)


def test_a_session_over_midnight_belongs_to_the_day_it_was_begun(invoke_job: Invoke, session: Session) -> None:
    ann = person(session, "ann", last_login_at=SUNDAY)
    for begun, over in (("2026-02-22 23:50", "2026-02-23 00:20"), ("2026-02-27 23:50", "2026-02-28 00:20")):
        timer(session, ann, utc(begun), 1800, ended_at=utc(over))

    invoke_job(job, at=SUNDAY)

    assert (review(session)["sessions"], review(session)["streak_days"]) == (1, 0)


@pytest.mark.parametrize(
    ("zone", "monday", "sunday_evening"),
    [
        ("Asia/Kathmandu", "2026-02-22 18:15", "2026-03-01 13:15"),
        ("Asia/Kolkata", "2026-02-22 18:30", "2026-03-01 13:30"),
        ("Europe/Berlin", "2026-03-22 23:00", "2026-03-29 17:00"),  # the clocks went forward on that Sunday
        ("Europe/Berlin", "2026-10-18 22:00", "2026-10-25 18:00"),  # and back
        ("Atlantic/Azores", "2026-10-19 00:00", "2026-10-25 20:00"),  # midnight of that Sunday came twice
        ("Africa/Cairo", "2026-04-19 22:00", "2026-04-26 16:00"),  # midnight of that Friday was skipped
    ],
)
def test_the_week_runs_from_local_monday_to_sunday_evening_whatever_the_clocks_do(
    invoke_job: Invoke, session: Session, zone: str, monday: str, sunday_evening: str
) -> None:
    """GIVEN a session at the first and last instant of the week, and one each day between THEN a streak of seven."""
    begin, end = utc(monday), utc(sunday_evening)
    ann = person(session, "ann", timezone=zone, last_login_at=end)
    timer(session, ann, begin - dt.timedelta(microseconds=1))
    timer(session, ann, end + dt.timedelta(microseconds=1))
    timer(session, ann, end + DAY)
    for at in (begin, *(begin + days * DAY + DAY / 2 for days in range(1, 6)), end):
        timer(session, ann, at)

    counts = [invoke_job(job, at=end + n * dt.timedelta(minutes=15))["counters"]["users"] for n in (-1, 0, 1)]

    assert counts == [0, 1, 0]
    assert (review(session)["sessions"], review(session)["streak_days"]) == (7, 8)


def test_one_review_a_sunday(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann", last_login_at=SUNDAY)

    invoke_job(job, at=SUNDAY)
    invoke_job(job, {"force": True}, at=SUNDAY)
    invoke_job(job, at=SUNDAY + dt.timedelta(minutes=15))
    assert len(outbox(session)) == 2

    invoke_job(job, at=SUNDAY + 7 * DAY)
    assert len(outbox(session)) == 4


@pytest.mark.parametrize(
    ("days_ago", "streak"),
    [
        ([], 0),
        ([0], 1),
        ([1], 1),
        ([2], 0),
        ([0, 1, 2], 3),
        ([0, 2, 3], 1),
        ([1, 2, 3, 5], 3),
        ([0, 0, 1], 2),
        ([2, 3, 4], 0),
        (list(range(10)), 10),
    ],
)
def test_the_streak_ends_today_or_yesterday(
    invoke_job: Invoke, session: Session, days_ago: list[int], streak: int
) -> None:
    ann = person(session, "ann", last_login_at=SUNDAY)
    for days in days_ago:
        timer(session, ann, utc("2026-03-01 10:00") - days * DAY)

    invoke_job(job, at=SUNDAY)

    assert review(session)["streak_days"] == streak


def test_the_streak_goes_by_local_days(invoke_job: Invoke, session: Session) -> None:
    """GIVEN sessions at 23:30 and 00:30 in New York, one day in UTC THEN they are two days there."""
    ann = person(session, "ann", timezone="America/New_York", last_login_at=SUNDAY)
    timer(session, ann, utc("2026-02-28 04:30"))
    timer(session, ann, utc("2026-02-28 05:30"))

    invoke_job(job, at=utc("2026-03-02 00:00"))

    assert review(session)["streak_days"] == 2


def test_a_week_without_anything_is_reviewed_too(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann", last_login_at=SUNDAY - 7 * DAY)
    person(session, "long gone", last_login_at=SUNDAY - 7 * DAY - dt.timedelta(seconds=1))
    person(session, "never there")

    assert invoke_job(job, at=SUNDAY)["counters"]["users"] == 1

    assert told(session) == [("ann", "weekly_review", "email"), ("ann", "weekly_review", "in_app")]
    assert review(session)["sessions"] == 0
    for row in outbox(session):
        assert row.body == "A quiet week. The next one starts with whatever you put first."
        mail = render(row.kind, title=row.title, body=row.body, data=row.data, name=None)
        assert "From 23 February 2026 to 1 March 2026 it was quiet" in mail.text
        assert "Focus time" not in mail.html + mail.text


def test_the_weekly_report_switched_off_leaves_the_notice(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann", {"weekly_report": False}, last_login_at=SUNDAY)

    counters = invoke_job(job, at=SUNDAY)["counters"]

    assert told(session) == [("ann", "weekly_review", "in_app")]
    assert (counters["users"], counters["emails"], counters["suppressed"]) == (1, 0, 1)


def test_a_sunday_that_starts_on_saturday_in_utc(invoke_job: Invoke, session: Session) -> None:
    """GIVEN 19:00 on Sunday in Auckland is 06:00 on Sunday in UTC, and the Sunday began on Saturday there."""
    ann = person(session, "ann", timezone="Pacific/Auckland", last_login_at=SUNDAY - DAY)
    timer(session, ann, utc("2026-02-28 11:30"))

    invoke_job(job, at=utc("2026-02-28 19:00"))
    assert told(session) == [], "it is Sunday morning there"
    invoke_job(job, at=utc("2026-03-01 06:00"))

    data = review(session)
    assert (data["last_day"], data["sessions"], data["streak_days"]) == ("2026-03-01", 1, 1)
    assert outbox(session)[0].dedupe_key == f"{ann}|weekly|2026-03-01|email"


def test_no_other_day_is_sunday(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann", last_login_at=SUNDAY)
    for day in range(1, 7):
        invoke_job(job, at=SUNDAY + day * DAY)
    assert outbox(session) == []
