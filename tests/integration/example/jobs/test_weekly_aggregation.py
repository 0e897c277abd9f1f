import uuid
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from application.models import UserActivityDay
from functions.productivity._figures import FIGURES
from functions.productivity.weekly_aggregation import job
from nightshift.steps import MetricRollup
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.activity import HOUR, completed_goal, figures, goal, timers
from tests.integration.example.jobs.conftest import DAY, MICROSECOND
from tests.integration.example.jobs.people import person, utc

AT = utc("2026-03-08 02:00")  # a Sunday
START, END = utc("2026-03-01"), utc("2026-03-08")


def test_a_week_goes_from_sunday_to_sunday(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    for name, created in (("a", START - MICROSECOND), ("b", START), ("c", END - MICROSECOND), ("d", END)):
        someone = person(session, name, created_at=created)
        timers(session, someone, created)
        goal(session, someone, created)
        session.add(UserActivityDay(user_id=someone, day=created.date()))
    session.add_all(UserActivityDay(user_id=user_id, day=(START + n * DAY).date()) for n in range(7))
    session.commit()

    counters = invoke_job(job, at=AT)["counters"]

    assert (counters["active"], counters["new"], counters["sessions"]) == (3, 3, 2)
    data = figures(session, "week", START)
    assert (data["active_users"], data["new_users"], data["goals_created"]) == (3, 3, 2)
    assert data.keys() == FIGURES["week"].keys()

    invoke_job(job, at=AT + 7 * DAY)
    assert figures(session, "week", END)["completed_sessions"] == 1


@pytest.mark.parametrize("at", [END, END + HOUR, END + 3 * DAY, END + 7 * DAY - MICROSECOND])
def test_a_run_at_any_time_takes_the_last_whole_week(invoke_job: Invoke, session: Session, at: Any) -> None:
    invoke_job(job, at=at)

    assert figures(session, "week", START)["completed_sessions"] == 0


def test_a_run_again_and_a_later_one_in_the_week_change_nothing(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    timers(session, user_id, START)
    assert invoke_job(job, at=AT)["counters"]["written"] == 1

    assert invoke_job(job, {"force": True}, at=AT)["counters"]["written"] == 0
    assert invoke_job(job, at=AT + DAY)["counters"]["written"] == 0
    assert session.scalars(select(MetricRollup.computed_at)).all() == [AT]


def test_goals_of_the_week_count_as_completed_when_they_were_by_its_end(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    goal(session, user_id, START)
    completed_goal(session, user_id, START, END - MICROSECOND)
    completed_goal(session, user_id, START, END)
    completed_goal(session, user_id, START - DAY, START + DAY)
    goal(session, user_id, START, completed_at=START + DAY)  # completed, and opened again

    invoke_job(job, at=AT)

    data = figures(session, "week", START)
    assert (data["goals_created"], data["goals_created_completed"]) == (4, 1)


def test_sessions_are_counted_by_type_hour_and_weekday(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    session.execute(text("alter table timer_sessions alter timer_type drop not null"))
    timers(session, user_id, utc("2026-03-01 23:59"), timer_type=None)
    timers(session, user_id, utc("2026-03-02 00:00"), 2, timer_type="focus", actual_seconds=50)
    timers(session, user_id, utc("2026-03-07 09:30"), 3)
    timers(session, user_id, utc("2026-03-04 12:00"), 5, status="abandoned")

    invoke_job(job, at=AT)

    data = figures(session, "week", START)
    assert (data["completed_sessions"], data["focus_minutes"]) == (6, 4 * 25 + 1)
    assert data["timer_types"] == {"pomodoro": 4, "focus": 2}
    assert data["sessions_by_weekday"] == [1, 2, 0, 0, 0, 0, 3]  # Sunday first
    assert {hour: n for hour, n in enumerate(data["sessions_by_hour"]) if n} == {0: 2, 9: 3, 23: 1}
    assert (data["peak_hour"], data["peak_weekday"]) == (9, 6)


def test_of_two_peaks_the_first_counts(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    timers(session, user_id, utc("2026-03-05 20:00"), 2)
    timers(session, user_id, utc("2026-03-03 21:00"), 2)
    timers(session, user_id, utc("2026-03-06 08:00"), 1)

    invoke_job(job, at=AT)

    data = figures(session, "week", START)
    assert (data["peak_hour"], data["peak_weekday"]) == (20, 2)


def retention(data: dict[str, Any]) -> dict[int, tuple[float, int]]:
    return {n: (data[f"retention_d{n}"], data[f"retention_d{n}_n"]) for n in (1, 7, 30)}


def test_retention_leaves_out_who_could_not_have_come_back_yet(invoke_job: Invoke, session: Session) -> None:
    created = END - 8 * DAY
    person(session, "eight days old", created_at=created, last_login_at=created + 7 * DAY)
    person(session, "a month old", created_at=END - 30 * DAY, last_activity_at=END - 10 * DAY)
    person(session, "never came back", created_at=END - 90 * DAY)

    invoke_job(job, at=AT)

    assert retention(figures(session, "week", START)) == {1: (66.7, 3), 7: (66.7, 3), 30: (0, 2)}


def test_retention_is_exact_at_its_limits(invoke_job: Invoke, session: Session) -> None:
    person(session, "old enough", created_at=END - 7 * DAY, last_login_at=END)
    person(session, "a moment too young", created_at=END - 7 * DAY + MICROSECOND, last_login_at=END)
    person(session, "a moment too early", created_at=END - 20 * DAY, last_activity_at=END - 13 * DAY - MICROSECOND)
    person(session, "login is the later", created_at=END - 20 * DAY, last_activity_at=END - 19 * DAY, last_login_at=END)

    invoke_job(job, at=AT)

    assert retention(figures(session, "week", START)) == {1: (100, 4), 7: (66.7, 3), 30: (0, 0)}


def test_deleted_and_anonymised_users_are_in_no_cohort(invoke_job: Invoke, session: Session) -> None:
    then = END - 60 * DAY
    person(session, "deleted", created_at=then, last_login_at=END, deleted_at=END)
    person(session, "anonymised", created_at=then, last_login_at=END, anonymized_at=END)

    invoke_job(job, at=AT)

    assert retention(figures(session, "week", START)) == {1: (0, 0), 7: (0, 0), 30: (0, 0)}


def test_a_week_without_sessions_has_no_peak(invoke_job: Invoke, session: Session) -> None:
    result = invoke_job(job, at=AT)

    data = figures(session, "week", START)
    assert (data["peak_hour"], data["peak_weekday"], data["timer_types"]) == (None, None, {})
    assert (data["sessions_by_hour"], data["sessions_by_weekday"]) == ([0] * 24, [0] * 7)
    assert (result["counters"]["active"], result["counters"]["new"], result["counters"]["sessions"]) == (0, 0, 0)
