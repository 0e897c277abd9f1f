import datetime as dt

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from application.models import User
from functions.productivity.inactive_users import job
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.people import outbox, person, told, utc

TEN = utc("2026-03-10 10:00")
DAY, HOUR, SECOND = dt.timedelta(days=1), dt.timedelta(hours=1), dt.timedelta(seconds=1)
MAIL = ("ann", "inactive_user", "email")


@pytest.mark.parametrize(
    ("away", "days"),
    [
        (2 * DAY + 23 * HOUR, None),
        (3 * DAY, None),
        (3 * DAY + SECOND, 3),
        (4 * DAY - SECOND, 3),
        (4 * DAY, 4),
        (7 * DAY, 7),
        (7 * DAY + SECOND, None),
    ],
)
def test_who_is_away_for_more_than_three_and_at_most_seven_days(
    invoke_job: Invoke, session: Session, away: dt.timedelta, days: int | None
) -> None:
    person(session, "ann", last_login_at=TEN - away)

    counters = invoke_job(job, at=TEN)["counters"]

    assert [row.data for row in outbox(session)] == ([] if days is None else [{"days": days}])
    assert (counters["matched"], counters["emails"]) == ((0, 0) if days is None else (1, 1))


def test_activity_counts_like_a_sign_in_but_somebody_must_have_signed_in(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann", last_login_at=TEN - 30 * DAY, last_activity_at=TEN - 4 * DAY)
    person(session, "bob", last_login_at=TEN - 4 * DAY, last_activity_at=TEN - DAY)
    person(session, "eve", last_login_at=None, last_activity_at=TEN - 4 * DAY)

    invoke_job(job, at=TEN)

    assert told(session) == [MAIL]


def test_an_absence_is_told_once_and_the_next_one_again(invoke_job: Invoke, session: Session) -> None:
    ann = person(session, "ann", last_login_at=TEN - 4 * DAY)
    invoke_job(job, at=TEN)

    second = invoke_job(job, at=TEN + DAY)["counters"]
    assert (second["matched"], second["emails"]) == (1, 0)

    session.execute(update(User).where(User.id == ann).values(last_login_at=TEN + 2 * DAY))
    session.commit()
    assert invoke_job(job, at=TEN + 6 * DAY)["counters"]["emails"] == 1
    assert [row.dedupe_key for row in outbox(session)] == [
        f"{ann}|inactive|2026-03-06|email",
        f"{ann}|inactive|2026-03-12|email",
    ]


@pytest.mark.parametrize(
    ("zone", "ten"),
    [
        ("Asia/Kathmandu", "2026-03-10 04:15"),
        ("America/St_Johns", "2026-03-10 12:30"),
        ("Pacific/Auckland", "2026-03-09 21:00"),
        ("America/New_York", "2026-03-10 14:00"),  # the clocks went forward two days before
    ],
)
def test_ten_o_clock_is_that_of_the_person_and_the_absence_is_named_by_its_day_in_utc(
    invoke_job: Invoke, session: Session, zone: str, ten: str
) -> None:
    ann = person(session, "ann", timezone=zone, last_login_at=utc("2026-03-05 23:45"))

    counts = [invoke_job(job, at=utc(ten) + n * dt.timedelta(minutes=15))["counters"]["emails"] for n in (-1, 0, 1)]

    assert counts == [0, 1, 0]
    assert [row.dedupe_key for row in outbox(session)] == [f"{ann}|inactive|2026-03-05|email"]


def test_general_mails_switched_off(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann", {"general": False}, last_login_at=TEN - 4 * DAY)

    counters = invoke_job(job, at=TEN)["counters"]

    assert (counters["matched"], counters["emails"], counters["suppressed"]) == (1, 0, 1)
    assert outbox(session) == []
