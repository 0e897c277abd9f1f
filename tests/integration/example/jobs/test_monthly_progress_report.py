import datetime as dt
import uuid
from typing import Any

import pytest
from sqlalchemy.orm import Session

from application.models import Goal, TimerSession
from functions.productivity.monthly_progress_report import job
from nightshift.outbox import render
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.people import outbox, person, told, utc

FIRST = utc("2026-03-01 09:00")


def timer(session: Session, user_id: uuid.UUID, created_at: str, seconds: int, status: str = "completed") -> None:
    at = utc(created_at)
    session.add(TimerSession(user_id=user_id, status=status, created_at=at, started_at=at, actual_seconds=seconds))
    session.commit()


def goals(session: Session, user_id: uuid.UUID, *, created: list[str], completed: list[str]) -> None:
    for at in created:
        session.add(Goal(user_id=user_id, title="Walk", created_at=utc(at)))
    for at in completed:
        goal = Goal(
            user_id=user_id, title="Swim", status="completed", completed_at=utc(at), created_at=utc("2025-06-01")
        )
        session.add(goal)
    session.commit()


def report(session: Session) -> dict[str, Any]:
    (row,) = outbox(session)
    return row.data


def test_the_figures_of_the_calendar_month_before(invoke_job: Invoke, session: Session) -> None:
    ann = person(session, "ann")
    timer(session, ann, "2026-02-01 00:00", 1500)
    timer(session, ann, "2026-02-28 23:59", 1601)
    timer(session, ann, "2026-02-15 12:00", 9000, "abandoned")
    timer(session, ann, "2026-01-31 23:59", 9000)
    timer(session, ann, "2026-03-01 00:00", 9000)
    created = ["2026-02-01 00:00", "2026-02-10", "2026-02-28 23:59", "2026-01-31 23:59", "2026-03-01 00:00"]
    goals(session, ann, created=created, completed=["2026-02-05", "2026-02-06", "2026-03-01 00:00"])

    counters = invoke_job(job, at=FIRST)["counters"]

    assert (counters["eligible"], counters["emails"]) == (1, 1)
    assert report(session) == {
        "month": "2026-02",
        "goals_created": 3,
        "goals_completed": 2,
        "completion_rate_pct": 67,
        "sessions": 2,
        "focus_minutes": 51,
        "average_minutes": 25.8,
        "minutes_per_day": 1.8,
    }
    (mail,) = outbox(session)
    assert (mail.title, mail.dedupe_key) == ("Your month: February 2026", f"{ann}|monthly|2026-02|email")


@pytest.mark.parametrize(
    ("at", "month", "days"),
    [
        ("2026-03-01 09:00", "2026-02", 28),
        ("2024-03-01 09:00", "2024-02", 29),
        ("2026-05-01 09:00", "2026-04", 30),
        ("2026-02-01 09:00", "2026-01", 31),
        ("2026-01-01 09:00", "2025-12", 31),
    ],
)
def test_minutes_a_day_go_by_the_days_of_the_month(
    invoke_job: Invoke, session: Session, at: str, month: str, days: int
) -> None:
    ann = person(session, "ann", created_at=utc("2023-01-01"))
    timer(session, ann, f"{month}-{days} 12:00", 600 * 60)

    invoke_job(job, at=utc(at))

    assert report(session)["month"] == month
    assert report(session)["minutes_per_day"] == pytest.approx(600 / days, abs=0.05)


def test_a_month_without_anything_is_reported_without_dividing_by_it(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann")

    invoke_job(job, at=FIRST)

    figures = {key: value for key, value in report(session).items() if key != "month"}
    assert set(figures.values()) == {0}
    (row,) = outbox(session)
    assert row.body == "February 2026 was a quiet month: no goals and no sessions."
    mail = render(row.kind, title=row.title, body=row.body, data=row.data, name=None)
    assert row.body in mail.text
    for form in (mail.html, mail.text):
        assert "0 min" not in form
        assert "Completion rate" not in form


@pytest.mark.parametrize("what", ["created", "completed", "session"])
def test_a_month_with_anything_at_all_has_its_figures(invoke_job: Invoke, session: Session, what: str) -> None:
    ann = person(session, "ann")
    if what == "session":
        timer(session, ann, "2026-02-10 12:00", 20)
    else:
        goals(session, ann, **{"created": [], "completed": [], what: ["2026-02-10"]})

    invoke_job(job, at=FIRST)

    (row,) = outbox(session)
    assert "quiet" not in row.body
    assert "Completion rate" in render(row.kind, title=row.title, body=row.body, data=row.data, name=None).text


@pytest.mark.parametrize(("created", "completed", "rate"), [(0, 2, 0), (1, 3, 100), (8, 1, 13), (3, 1, 33)])
def test_the_completion_rate_is_rounded_and_at_most_100(
    invoke_job: Invoke, session: Session, created: int, completed: int, rate: int
) -> None:
    goals(session, person(session, "ann"), created=["2026-02-03"] * created, completed=["2026-02-04"] * completed)

    invoke_job(job, at=FIRST)

    assert report(session)["completion_rate_pct"] == rate


@pytest.mark.parametrize(
    ("created_at", "eligible"), [("2026-01-31 23:59", 1), ("2026-02-01 00:00", 0), ("2026-02-09 12:00", 0)]
)
def test_who_came_during_the_month_is_left_out(
    invoke_job: Invoke, session: Session, created_at: str, eligible: int
) -> None:
    person(session, "ann", created_at=utc(created_at))

    assert invoke_job(job, at=FIRST)["counters"]["eligible"] == eligible


def test_the_month_is_that_of_the_person_s_calendar(invoke_job: Invoke, session: Session) -> None:
    ann = person(session, "ann", timezone="Pacific/Kiritimati")  # 14 hours ahead of UTC
    timer(session, ann, "2026-01-31 10:00", 600)
    timer(session, ann, "2026-01-31 09:59", 6000)
    timer(session, ann, "2026-02-28 10:00", 6000)

    invoke_job(job, at=utc("2026-02-28 19:00"))

    assert (report(session)["month"], report(session)["sessions"]) == ("2026-02", 1)


@pytest.mark.parametrize(
    ("zone", "first", "after", "at"),
    [
        ("Asia/Kathmandu", "2026-01-31 18:15", "2026-02-28 18:15", "2026-03-01 03:15"),
        ("Europe/Berlin", "2026-02-28 23:00", "2026-03-31 22:00", "2026-04-01 07:00"),  # an hour short
        ("Europe/Berlin", "2026-09-30 22:00", "2026-10-31 23:00", "2026-11-01 08:00"),  # an hour long
        ("America/Havana", "2026-10-01 04:00", "2026-11-01 04:00", "2026-11-01 14:00"),  # midnight came twice after it
    ],
)
def test_the_month_runs_from_local_midnight_to_local_midnight_whatever_the_clocks_do(
    invoke_job: Invoke, session: Session, zone: str, first: str, after: str, at: str
) -> None:
    """GIVEN each thing at the first and last instant of the month, and at those next to it THEN two of each count."""
    ann = person(session, "ann", timezone=zone, created_at=utc(first) - dt.timedelta(microseconds=1))
    person(session, "late", timezone=zone, created_at=utc(first))
    last, before = (utc(each) - dt.timedelta(microseconds=1) for each in (after, first))
    for instant in (before, utc(first), last, utc(after)):
        given = {"user_id": ann, "status": "completed", "created_at": instant}
        session.add(TimerSession(**given, started_at=instant, actual_seconds=60))
        session.add(Goal(**given, title="Walk", completed_at=instant))
    session.commit()

    counts = [invoke_job(job, at=utc(at) + n * dt.timedelta(minutes=15))["counters"]["eligible"] for n in (-1, 0, 1)]

    assert counts == [0, 1, 0]
    figures = report(session)
    assert (figures["sessions"], figures["goals_created"], figures["goals_completed"]) == (2, 2, 2)


def test_only_on_the_first(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann")
    for day in (2, 15, 31):
        invoke_job(job, at=FIRST.replace(day=day))
    assert outbox(session) == []


def test_the_monthly_report_switched_off(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann", {"monthly_report": False})

    counters = invoke_job(job, at=FIRST)["counters"]

    assert (counters["eligible"], counters["emails"], counters["suppressed"]) == (1, 0, 1)
    assert told(session) == []


def test_one_mail_a_month(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann")
    invoke_job(job, at=FIRST)
    invoke_job(job, {"force": True}, at=FIRST)
    invoke_job(job, at=FIRST + dt.timedelta(minutes=15))
    assert len(outbox(session)) == 1
