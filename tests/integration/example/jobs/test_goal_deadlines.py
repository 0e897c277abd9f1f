import datetime as dt
import uuid
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from application.models import Goal
from functions.productivity.goal_deadlines import job
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.people import outbox, person, told, utc

NINE = utc("2026-03-02 09:00")
TODAY = NINE.date()


def goal(session: Session, user_id: uuid.UUID, days: int | None, title: str = "Walk", **more: Any) -> Goal:
    due_on = None if days is None else TODAY + dt.timedelta(days=days)
    found = Goal(user_id=user_id, title=title, due_on=due_on, **more)
    session.add(found)
    session.commit()
    return found


@pytest.mark.parametrize(
    ("days", "kinds"),
    [
        (-1, []),
        (0, []),
        (1, [("goal_deadline", "email"), ("goal_deadline", "in_app")]),
        (2, []),
        (6, []),
        (7, [("goal_planning", "in_app")]),
        (13, [("goal_planning", "in_app")]),
        (14, []),
        (None, []),
    ],
)
def test_the_day_before_and_the_week_after_next_are_told(
    invoke_job: Invoke, session: Session, days: int | None, kinds: list[tuple[str, str]]
) -> None:
    goal(session, person(session, "ann"), days)

    counters = invoke_job(job, at=NINE)["counters"]

    assert told(session) == [("ann", *kind) for kind in kinds]
    assert counters["goals_tomorrow"] == (1 if days == 1 else 0)
    assert counters["goals_next_week"] == (1 if days in (7, 13) else 0)
    assert counters["emails"] == (1 if days == 1 else 0)
    assert counters["in_app"] == len(kinds) - counters["emails"]


def test_the_days_are_those_of_the_person_s_calendar(invoke_job: Invoke, session: Session) -> None:
    """GIVEN the same goal due on 3 March in Tokyo and in UTC THEN each is told on its own 2 March at 9, not before."""
    goal(session, person(session, "tokyo", timezone="Asia/Tokyo"), 1)
    goal(session, person(session, "utc"), 1)

    invoke_job(job, at=utc("2026-03-02 00:00"))
    assert told(session) == [("tokyo", "goal_deadline", "email"), ("tokyo", "goal_deadline", "in_app")]

    invoke_job(job, at=NINE)
    assert told(session)[2:] == [("utc", "goal_deadline", "email"), ("utc", "goal_deadline", "in_app")]


@pytest.mark.parametrize(
    ("zone", "at", "local_date"),
    [
        ("Pacific/Auckland", "2026-03-01 20:00", "2026-03-02"),
        ("Asia/Kathmandu", "2026-03-02 03:15", "2026-03-02"),
        ("Australia/Eucla", "2026-03-02 00:15", "2026-03-02"),
        ("America/St_Johns", "2026-03-02 12:30", "2026-03-02"),
        ("Europe/Berlin", "2026-03-29 07:00", "2026-03-29"),  # the clocks went forward that night
        ("Europe/Berlin", "2026-10-25 08:00", "2026-10-25"),  # and back
    ],
)
def test_tomorrow_follows_the_local_date_at_nine_o_clock(
    invoke_job: Invoke, session: Session, zone: str, at: str, local_date: str
) -> None:
    """GIVEN goals due on the local date and the two days after it THEN one of them is due tomorrow."""
    ann = person(session, "ann", timezone=zone)
    today = dt.date.fromisoformat(local_date)
    for days in range(3):
        session.add(Goal(user_id=ann, title=f"in {days}", due_on=today + dt.timedelta(days=days)))
    session.commit()

    counts = [invoke_job(job, at=utc(at) + n * dt.timedelta(minutes=15))["counters"]["emails"] for n in (-1, 0, 1)]

    assert counts == [0, 1, 0]
    assert {row.body for row in outbox(session)} == {"in 1"}
    assert f"{ann}|goal_deadline|{local_date}|email" in [row.dedupe_key for row in outbox(session)]


def test_reminders_switched_off_leave_the_notice_and_keep_the_mail(invoke_job: Invoke, session: Session) -> None:
    goal(session, person(session, "ann", {"goal_reminders": False}), 1)

    counters = invoke_job(job, at=NINE)["counters"]

    assert told(session) == [("ann", "goal_deadline", "in_app")]
    assert (counters["in_app"], counters["emails"], counters["suppressed_by_preference"]) == (1, 0, 1)


def test_two_runs_are_one_notice(invoke_job: Invoke, session: Session) -> None:
    ann = person(session, "ann")
    goal(session, ann, 1)
    goal(session, ann, 8)

    invoke_job(job, at=NINE)
    invoke_job(job, {"force": True}, at=NINE)
    invoke_job(job, at=NINE + dt.timedelta(days=1))

    assert len(outbox(session)) == 3


def test_a_moved_date_is_told_anew(invoke_job: Invoke, session: Session) -> None:
    moved = goal(session, person(session, "ann"), 8)
    invoke_job(job, at=NINE)
    session.execute(update(Goal).values(due_on=dt.date(2026, 3, 12)))
    session.commit()

    invoke_job(job, at=NINE + dt.timedelta(days=1))

    assert [row.dedupe_key for row in outbox(session)] == [
        f"{moved.id}|goal_planning|2026-03-10|in_app",
        f"{moved.id}|goal_planning|2026-03-12|in_app",
    ]


def test_a_deadline_that_moved_by_a_day_is_told_on_both_channels_again(invoke_job: Invoke, session: Session) -> None:
    goal(session, person(session, "ann"), 1)
    invoke_job(job, at=NINE)
    session.execute(update(Goal).values(due_on=Goal.due_on + 1))
    session.commit()

    counters = invoke_job(job, at=NINE + dt.timedelta(days=1))["counters"]

    assert (counters["in_app"], counters["emails"]) == (1, 1)
    assert {row.title for row in outbox(session)} == {"A goal is due tomorrow"}


@pytest.mark.parametrize("closed", [{"status": "completed"}, {"status": "cancelled"}, {"archived_at": NINE}])
def test_a_goal_that_is_closed_or_archived_is_never_told(
    invoke_job: Invoke, session: Session, closed: dict[str, Any]
) -> None:
    goal(session, person(session, "ann"), 1, **closed)

    invoke_job(job, at=NINE)

    assert outbox(session) == []


def test_many_goals_are_one_mail_in_the_order_of_their_titles(invoke_job: Invoke, session: Session) -> None:
    ann = person(session, "ann")
    namesakes = [goal(session, ann, 1, "Read", id=uuid.UUID(int=number)).id for number in (3, 5, 1, 4, 2)]
    goal(session, ann, 1, "Cook")

    counters = invoke_job(job, at=NINE)["counters"]

    (mail,) = [row for row in outbox(session) if row.channel == "email"]
    assert mail.title == "6 goals are due tomorrow"
    assert mail.dedupe_key == f"{ann}|goal_deadline|2026-03-02|email"
    assert [goal["title"] for goal in mail.data["goals"]] == ["Cook", *["Read"] * 5]
    assert [goal["goal_id"] for goal in mail.data["goals"][1:]] == [str(key) for key in sorted(namesakes)]
    assert mail.body == "Cook, Read, Read, Read, Read, Read"
    assert (counters["goals_tomorrow"], counters["in_app"], counters["emails"]) == (6, 6, 1)
