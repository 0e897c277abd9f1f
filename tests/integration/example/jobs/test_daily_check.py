import datetime as dt
import uuid

import pytest
from sqlalchemy.orm import Session

from application.models import TimerSession
from functions.productivity.daily_check import job
from functions.productivity.inactive_users import job as inactive_users
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.people import outbox, person, told, utc

SIX = utc("2026-03-02 18:00")
HOUR = dt.timedelta(hours=1)
NUDGE = ("ann", "productivity_nudge", "in_app")
MAIL = ("ann", "productivity_nudge", "email")


def timer(session: Session, user_id: uuid.UUID, created_at: dt.datetime, status: str = "completed") -> None:
    session.add(TimerSession(user_id=user_id, status=status, created_at=created_at, started_at=created_at))
    session.commit()


def test_somebody_without_a_timer_for_two_days_gets_a_notice_and_a_mail(invoke_job: Invoke, session: Session) -> None:
    """GIVEN a login 3 days ago and no session THEN both."""
    person(session, "ann", last_login_at=SIX - 72 * HOUR)

    counters = invoke_job(job, at=SIX)["counters"]

    assert told(session) == [MAIL, NUDGE]
    assert (counters["checked"], counters["nudged"], counters["emails"]) == (1, 1, 1)
    assert [row.dedupe_key.split("|", 1)[1] for row in outbox(session)] == [
        "nudge|2026-03-02|email",
        "nudge|2026-03-02|in_app",
    ]


@pytest.mark.parametrize(
    ("created_at", "status", "kinds"),
    [
        ("2026-03-02 00:00", "completed", []),
        ("2026-03-02 17:59", "running", []),
        ("2026-03-02 10:00", "abandoned", []),
        ("2026-03-01 23:59", "completed", [NUDGE]),
        ("2026-02-28 18:00", "completed", [NUDGE]),
        ("2026-02-28 17:59", "completed", [MAIL, NUDGE]),
    ],
)
def test_a_timer_of_any_status_today_blocks_both_and_one_within_48_hours_the_mail(
    invoke_job: Invoke, session: Session, created_at: str, status: str, kinds: list[tuple[str, str, str]]
) -> None:
    timer(session, person(session, "ann", last_login_at=SIX - HOUR), utc(created_at), status)

    assert invoke_job(job, at=SIX)["counters"]["checked"] == 1

    assert told(session) == kinds


def test_midnight_is_that_of_the_person(invoke_job: Invoke, session: Session) -> None:
    """GIVEN a session at 23:30 on the day before in Berlin, which is the same day in UTC's eyes one hour off."""
    berlin = person(session, "ann", timezone="Europe/Berlin", last_login_at=SIX - HOUR)
    timer(session, berlin, utc("2026-03-01 22:59"))
    kolkata = person(session, "bob", timezone="Asia/Kolkata", last_login_at=SIX - 6 * HOUR)
    timer(session, kolkata, utc("2026-03-01 18:30"))

    invoke_job(job, at=utc("2026-03-02 17:00"))
    invoke_job(job, at=utc("2026-03-02 12:30"))

    assert told(session) == [NUDGE]


@pytest.mark.parametrize(
    ("created_at", "kinds"),
    [("2026-10-24 23:59", [NUDGE]), ("2026-10-25 00:00", []), ("2026-10-25 00:30", []), ("2026-10-25 01:30", [])],
)
def test_a_day_whose_midnight_comes_twice_begins_at_the_first(
    invoke_job: Invoke, session: Session, created_at: str, kinds: list[tuple[str, str, str]]
) -> None:
    """GIVEN the Azores, where 01:00 became 00:00 in that night, at 00:00 and at 01:00 in UTC."""
    timer(session, person(session, "ann", timezone="Atlantic/Azores", last_login_at=utc(created_at)), utc(created_at))

    invoke_job(job, at=utc("2026-10-25 19:00"))

    assert told(session) == kinds


def test_a_timer_begun_after_the_run_was_due_is_not_seen(invoke_job: Invoke, session: Session) -> None:
    timer(session, person(session, "ann", last_login_at=SIX), SIX + dt.timedelta(seconds=1))

    invoke_job(job, at=SIX)

    assert told(session) == [MAIL, NUDGE]


@pytest.mark.parametrize(
    ("last_login_at", "checked"), [("2026-02-23 18:00", 1), ("2026-02-23 17:59", 0), ("2026-03-05 12:00", 1), (None, 0)]
)
def test_only_who_signed_in_within_seven_days_is_checked(
    invoke_job: Invoke, session: Session, last_login_at: str | None, checked: int
) -> None:
    person(session, "ann", last_login_at=utc(last_login_at) if last_login_at else None)

    counters = invoke_job(job, at=SIX)["counters"]

    assert (counters["checked"], counters["nudged"]) == (checked, checked)


def test_general_mails_switched_off_leave_the_notice(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann", {"general": False}, last_login_at=SIX - HOUR)

    counters = invoke_job(job, at=SIX)["counters"]

    assert told(session) == [NUDGE]
    assert (counters["emails"], counters["suppressed"]) == (0, 1)


def test_one_nudge_mail_a_day_whichever_job_comes_first(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann", last_login_at=utc("2026-02-26 09:00"))
    person(session, "bob", last_login_at=utc("2026-02-26 09:00"), timezone="Asia/Tokyo")

    invoke_job(inactive_users, at=utc("2026-03-02 10:00"))
    invoke_job(job, at=SIX)
    invoke_job(job, at=utc("2026-03-02 09:00"))
    invoke_job(inactive_users, at=utc("2026-03-02 01:00"))

    assert told(session) == [
        ("ann", "inactive_user", "email"),
        NUDGE,
        ("bob", "productivity_nudge", "email"),
        ("bob", "productivity_nudge", "in_app"),
    ]


def test_the_day_of_the_other_mail_is_the_local_one(invoke_job: Invoke, session: Session) -> None:
    """GIVEN Auckland, 13 hours ahead, where 1 March ends at 11:00 in UTC."""
    person(session, "ann", timezone="Pacific/Auckland", last_login_at=utc("2026-02-25 09:00"))

    daily = invoke_job(job, at=utc("2026-03-01 05:00"))["counters"]
    away = invoke_job(inactive_users, at=utc("2026-03-01 21:00"))["counters"]
    assert (daily["emails"], away["emails"]) == (1, 1), "18:00 on the 1st, 10:00 on the 2nd"

    daily = invoke_job(job, at=utc("2026-03-02 05:00"))["counters"]
    assert (daily["nudged"], daily["emails"]) == (1, 0), "18:00 on the 2nd"


def test_a_nudge_that_quiet_hours_keep_until_morning_is_the_one_of_that_day(
    invoke_job: Invoke, session: Session
) -> None:
    quiet = {"quiet_start": dt.time(17), "quiet_end": dt.time(7)}
    person(session, "ann", quiet, last_login_at=utc("2026-02-26 12:00"))

    assert invoke_job(job, at=utc("2026-03-01 18:00"))["counters"]["emails"] == 1
    (mail,) = [row for row in outbox(session) if row.channel == "email"]
    assert mail.scheduled_for == utc("2026-03-02 07:00")

    assert invoke_job(inactive_users, at=utc("2026-03-02 10:00"))["counters"]["matched"] == 0


def test_so_is_the_mail_of_the_other_job(invoke_job: Invoke, session: Session) -> None:
    quiet = {"quiet_start": dt.time(9), "quiet_end": dt.time(8)}
    person(session, "ann", quiet, last_login_at=utc("2026-02-25 09:00"))

    invoke_job(inactive_users, at=utc("2026-03-01 10:00"))
    assert [row.scheduled_for for row in outbox(session)] == [utc("2026-03-02 08:00")]

    counts = [invoke_job(job, at=SIX + days * dt.timedelta(days=1))["counters"]["emails"] for days in (-1, 0, 1)]
    assert counts == [0, 0, 1]


def test_a_notice_without_a_mail_leaves_the_other_mail_alone(invoke_job: Invoke, session: Session) -> None:
    timer(session, person(session, "ann", last_login_at=utc("2026-02-26 09:00")), utc("2026-03-01 09:00"))

    invoke_job(job, at=SIX)
    assert told(session) == [NUDGE]

    assert invoke_job(inactive_users, at=utc("2026-03-02 10:00"))["counters"]["emails"] == 1


def test_the_next_day_is_another_one(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann", last_login_at=SIX - HOUR)

    for day in range(2):
        invoke_job(job, at=SIX + dt.timedelta(days=day))

    assert len(outbox(session)) == 4
