import datetime as dt
import uuid

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from application.models import FeatureEvent, UserActivityDay
from functions.productivity._figures import FIGURES
from functions.productivity.monthly_insights import job
from nightshift.steps import MetricRollup
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.activity import completed_goal, figures, goal, timers
from tests.integration.example.jobs.conftest import DAY, MICROSECOND
from tests.integration.example.jobs.people import person, utc

AT = utc("2026-03-01 03:00")
START, END = utc("2026-02-01"), utc("2026-03-01")
LONG_AGO = utc("2024-01-01")


@pytest.mark.parametrize(
    ("segment", "created", "seen", "sessions"),
    [
        ("new", START, None, 0),
        ("new", END - MICROSECOND, AT, 21),
        ("new", START, AT - 40 * DAY, 0),
        ("active", START - MICROSECOND, AT, 0),
        ("churned", LONG_AGO, None, 0),
        ("churned", LONG_AGO, None, 21),
        ("churned", LONG_AGO, AT - 31 * DAY, 21),
        ("churned", LONG_AGO, AT - 30 * DAY - MICROSECOND, 0),
        ("at_risk", LONG_AGO, AT - 30 * DAY, 0),
        ("at_risk", LONG_AGO, AT - 15 * DAY, 21),
        ("at_risk", LONG_AGO, AT - 14 * DAY - MICROSECOND, 0),
        ("active", LONG_AGO, AT - 14 * DAY, 20),
        ("power", LONG_AGO, AT - 14 * DAY, 21),
        ("active", LONG_AGO, AT, 0),
        (None, END, AT, 0),
    ],
)
def test_everybody_is_in_the_first_segment_that_fits(
    invoke_job: Invoke,
    session: Session,
    segment: str | None,
    created: dt.datetime,
    seen: dt.datetime | None,
    sessions: int,
) -> None:
    someone = person(session, "someone", created_at=created, last_activity_at=seen)
    timers(session, someone, START, sessions)
    timers(session, someone, START - MICROSECOND, 30)
    timers(session, someone, END, 30)
    timers(session, someone, START, 30, status="abandoned")

    counters = invoke_job(job, at=AT)["counters"]

    segments = figures(session, "month", START)["segments"]
    assert segments.keys() == {"new", "churned", "at_risk", "power", "active"}
    assert {name for name, n in segments.items() if n} == ({segment} if segment else set())
    assert counters["users_segmented"] == sum(segments.values()) == (1 if segment else 0)


def test_segments_share_out_all_live_users_and_churn_counts_those_from_before_the_month(
    invoke_job: Invoke, session: Session
) -> None:
    person(session, "new", created_at=START)
    person(session, "churned", created_at=LONG_AGO, last_login_at=AT - 31 * DAY)
    person(session, "never seen", created_at=LONG_AGO)
    person(session, "at risk", created_at=LONG_AGO, last_login_at=AT - 20 * DAY)
    power = person(session, "power", created_at=LONG_AGO, last_login_at=AT)
    timers(session, power, START, 21)
    person(session, "active", created_at=LONG_AGO, last_login_at=AT - 90 * DAY, last_activity_at=AT)
    person(session, "deactivated", created_at=LONG_AGO, last_login_at=AT, is_active=False)
    person(session, "deleted", created_at=LONG_AGO, deleted_at=AT)
    person(session, "anonymised", created_at=LONG_AGO, anonymized_at=AT)

    counters = invoke_job(job, at=AT)["counters"]

    data = figures(session, "month", START)
    assert data["segments"] == {"new": 1, "churned": 2, "at_risk": 1, "power": 1, "active": 2}
    assert data["churn_rate"] == 33.3
    assert counters["users_segmented"] == 7


def test_a_month_is_counted_from_its_first_day_to_its_last(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    other = person(session, "other", created_at=START - MICROSECOND)
    for at in (START - MICROSECOND, START, END - MICROSECOND, END):
        timers(session, user_id, at, 2)
        completed_goal(session, user_id, at, at)
        session.add(FeatureEvent(user_id=user_id, feature="timer", occurred_at=at))
        session.add(UserActivityDay(user_id=user_id, day=at.date()))
    timers(session, other, START)
    goal(session, other, START)
    goal(session, other, LONG_AGO, completed_at=START)  # completed, and opened again
    goal(session, other, LONG_AGO, status="cancelled", cancelled_at=START)
    session.add(UserActivityDay(user_id=other, day=START.date()))
    for day in (START - DAY, END):
        session.add(UserActivityDay(user_id=person(session, f"there on {day.date()}", created_at=END), day=day.date()))
    session.add(FeatureEvent(feature="export", occurred_at=START))
    session.commit()

    counters = invoke_job(job, at=AT)["counters"]

    assert (counters["users_segmented"], counters["features"]) == (1, 2)
    data = figures(session, "month", START)
    assert data.keys() == FIGURES["month"].keys()
    assert (data["active_users"], data["new_users"]) == (2, 0)
    assert (data["completed_sessions"], data["sessions_per_active_user"]) == (5, 2.5)
    assert (data["goals_created"], data["goals_completed"]) == (3, 2)
    assert data["feature_usage"] == {"timer": 2, "export": 1}


def test_sessions_and_newcomers_count_when_their_person_is_no_longer_live(invoke_job: Invoke, session: Session) -> None:
    deleted = person(session, "deleted", created_at=START, deleted_at=AT)
    anonymised = person(session, "anonymised", created_at=START, anonymized_at=AT)
    for someone in (deleted, anonymised):
        timers(session, someone, START, 21)

    counters = invoke_job(job, at=AT)["counters"]

    data = figures(session, "month", START)
    assert (data["completed_sessions"], data["new_users"]) == (42, 2)
    assert (sum(data["segments"].values()), counters["users_segmented"]) == (0, 0)


def test_a_run_again_and_a_later_one_in_the_month_change_nothing(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    timers(session, user_id, START, 3)
    assert invoke_job(job, at=AT)["counters"]["written"] == 1

    assert invoke_job(job, {"force": True}, at=AT)["counters"]["written"] == 0
    assert invoke_job(job, at=AT + DAY)["counters"]["written"] == 0
    assert session.scalars(select(MetricRollup.computed_at)).all() == [AT]


def test_features_nobody_used_are_not_estimated(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    timers(session, user_id, START, 100)

    invoke_job(job, at=AT)

    data = figures(session, "month", START)
    assert data["feature_usage"] == {}
    assert (data["sessions_per_active_user"], data["churn_rate"]) == (0, 0)


def test_the_run_in_january_takes_december(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    timers(session, user_id, utc("2025-12-31 23:59"))
    timers(session, user_id, utc("2026-01-01"))

    invoke_job(job, at=utc("2026-01-01 03:00"))

    row = session.scalars(select(MetricRollup)).one()
    assert (row.period_start, row.period_end) == (utc("2025-12-01"), utc("2026-01-01"))
    assert row.data["completed_sessions"] == 1
