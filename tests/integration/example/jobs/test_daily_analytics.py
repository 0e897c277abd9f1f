import datetime as dt
import uuid
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from application.models import User, UserActivityDay
from functions.productivity._figures import FIGURES
from functions.productivity.daily_analytics import job, trends
from nightshift.steps import MetricFinding, MetricRollup
from tests.faults.deaths import Death, let_the_lease_end
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.activity import HOUR, completed_goal, figures, findings, goal, store, timers
from tests.integration.example.jobs.conftest import DAY, MICROSECOND
from tests.integration.example.jobs.people import person, utc

AT = utc("2026-03-10 01:00")
START, END = utc("2026-03-09"), utc("2026-03-10")
BEFORE = START - DAY


def test_a_day_goes_from_midnight_to_midnight_in_utc(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    for at in (START - MICROSECOND, START, END - MICROSECOND, END):
        timers(session, user_id, at)
        completed_goal(session, user_id, at, at)
    session.add_all(UserActivityDay(user_id=user_id, day=day.date()) for day in (BEFORE, START, END))
    session.commit()

    counters = invoke_job(job, at=AT)["counters"]

    assert (counters["active_users"], counters["sessions"], counters["trends"]) == (1, 2, 0)
    row = session.scalars(select(MetricRollup)).one()
    assert (row.scope, row.period_start, row.period_end, row.computed_at) == ("day", START, END, AT)
    assert row.data == {
        "active_users": 1,
        "completed_sessions": 2,
        "focus_minutes": 50,
        "average_minutes": 25,
        "goals_created": 2,
        "goals_completed": 2,
        "completion_rate": 100,
    }
    assert row.data.keys() == FIGURES["day"].keys()


def test_minutes_are_whole_and_a_session_that_measured_nothing_has_its_planned_length(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    for actual, planned in ((59, None), (0, 600), (None, 600), (None, None), (0, 0)):
        timers(session, user_id, START, actual_seconds=actual, planned_seconds=planned)
    for status in ("running", "paused", "abandoned"):
        timers(session, user_id, START, status=status)

    invoke_job(job, at=AT)

    data = figures(session, "day", START)
    assert (data["completed_sessions"], data["focus_minutes"], data["average_minutes"]) == (5, 20, 4)


def test_a_day_without_anything_has_zeros(invoke_job: Invoke, session: Session) -> None:
    invoke_job(job, at=AT)

    assert figures(session, "day", START) == dict.fromkeys(FIGURES["day"], 0)


@pytest.mark.parametrize(
    ("created", "completed", "rate"), [(0, 0, 0), (0, 2, 0), (3, 0, 0), (3, 2, 66.7), (8, 1, 12.5), (2, 3, 150)]
)
def test_the_completion_rate_is_completed_of_created(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID, created: int, completed: int, rate: float
) -> None:
    for _ in range(created):
        goal(session, user_id, START + HOUR)
    for _ in range(completed):
        completed_goal(session, user_id, START - 90 * DAY, START + HOUR)
    goal(session, user_id, BEFORE, completed_at=START + HOUR)  # completed, and opened again
    goal(session, user_id, BEFORE, status="cancelled", cancelled_at=START + HOUR)

    invoke_job(job, at=AT)

    data = figures(session, "day", START)
    assert (data["goals_created"], data["goals_completed"], data["completion_rate"]) == (created, completed, rate)


def test_somebody_active_yesterday_and_today_counts_for_yesterday(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    today = END + HOUR / 2
    someone = person(session, "bob", last_login_at=today, last_activity_at=today)
    session.add_all(UserActivityDay(user_id=someone, day=day.date()) for day in (START, END))
    session.add(UserActivityDay(user_id=user_id, day=END.date()))
    session.commit()

    assert invoke_job(job, at=AT)["counters"]["active_users"] == 1


def test_a_run_again_gives_the_same_and_overwrites_what_has_changed(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    store(session, "day", BEFORE, START, completed_sessions=1, focus_minutes=25)
    timers(session, user_id, START, 2)
    assert invoke_job(job, at=AT)["counters"]["written"] == 3
    first = figures(session, "day", START), findings(session)

    assert invoke_job(job, {"force": True}, at=AT)["counters"]["written"] == 0
    assert invoke_job(job, at=AT + HOUR)["counters"]["written"] == 0
    assert (figures(session, "day", START), findings(session)) == first

    session.execute(update(MetricRollup).where(MetricRollup.period_start == START).values(period_end=END + HOUR))
    session.commit()
    assert invoke_job(job, {"force": True}, at=AT)["counters"]["written"] == 1
    assert set(session.scalars(select(MetricRollup.period_end))) == {START, END}

    session.execute(delete(User).where(User.id == user_id))
    session.commit()
    assert figures(session, "day", START) == first[0]

    assert invoke_job(job, {"force": True}, at=AT)["counters"]["written"] == 3
    assert figures(session, "day", START)["completed_sessions"] == 0
    assert findings(session) == {
        "completed_sessions": (0, 1, -100, True),
        "focus_minutes": (0, 25, -100, True),
    }


def test_a_run_that_died_after_it_had_counted_does_not_count_again(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID, database: Engine
) -> None:
    timers(session, user_id, START, 2)
    with patch("nightshift.engine.attempt.ledger.finish", side_effect=Death), pytest.raises(Death):
        invoke_job(job, at=AT)
    let_the_lease_end(database)
    timers(session, user_id, START)

    counters = invoke_job(job, at=AT)["counters"]

    assert (counters["sessions"], counters["written"], counters["batches"]) == (2, 1, 1)
    assert figures(session, "day", START)["completed_sessions"] == 2


def test_a_trend_that_a_later_run_does_not_find_again_goes(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    store(session, "day", BEFORE, START, completed_sessions=5)
    timers(session, user_id, START, 10)
    invoke_job(job, at=AT)
    assert findings(session) == {"completed_sessions": (10, 5, 100, True)}
    others = [("trend", "day", BEFORE), ("trend", "day", END), ("trend", "week", START), ("anomaly", "day", START)]
    for kind, scope, start in others:
        session.add(MetricFinding(kind=kind, scope=scope, period_start=start, metric="of another"))
    session.commit()

    session.execute(delete(MetricRollup).where(MetricRollup.period_start == BEFORE))
    store(session, "day", BEFORE, START, completed_sessions=10)

    result = invoke_job(job, {"force": True}, at=AT)

    assert (result["counters"]["trends"], result["counters"]["written"]) == (0, 1)
    left = session.execute(select(MetricFinding.kind, MetricFinding.scope, MetricFinding.period_start))
    assert sorted(map(tuple, left)) == sorted(others)


@pytest.mark.parametrize(
    ("minutes", "change", "significant"),
    [
        (1000, None, None),
        (1200, None, None),
        (1201, "20.1", False),
        (1500, "50.0", False),
        (1501, "50.1", True),
        (800, None, None),
        (799, "-20.1", False),
        (500, "-50.0", False),
        (499, "-50.1", True),
    ],
)
def test_a_change_of_more_than_a_fifth_is_a_trend_and_of_more_than_half_significant(
    invoke_job: Invoke,
    session: Session,
    user_id: uuid.UUID,
    minutes: int,
    change: str | None,
    significant: bool | None,
) -> None:
    store(session, "day", BEFORE, START, focus_minutes=1000)
    timers(session, user_id, START, actual_seconds=minutes * 60)

    counters = invoke_job(job, at=AT)["counters"]

    expected = {} if change is None else {"focus_minutes": (minutes, 1000, Decimal(change), significant)}
    assert findings(session) == expected
    assert counters["trends"] == len(expected)


@pytest.mark.parametrize(("minutes", "change"), [(962, "20.3"), (638, "-20.3")])
def test_a_change_is_rounded_half_up(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID, minutes: int, change: str
) -> None:
    store(session, "day", BEFORE, START, focus_minutes=800)  # so 20.25 percent
    timers(session, user_id, START, actual_seconds=minutes * 60)

    invoke_job(job, at=AT)

    assert findings(session)["focus_minutes"] == (minutes, 800, Decimal(change), False)


def test_a_change_is_judged_before_it_is_rounded(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    store(session, "day", BEFORE, START, focus_minutes=10_000)
    timers(session, user_id, START, actual_seconds=12_001 * 60)

    invoke_job(job, at=AT)

    assert findings(session)["focus_minutes"] == (12_001, 10_000, 20, False)


def test_from_nothing_to_something_is_significant_without_a_percentage(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    store(session, "day", BEFORE, START, completed_sessions=0, goals_created=0)
    timers(session, user_id, START)

    invoke_job(job, at=AT)

    assert findings(session) == {"completed_sessions": (1, 0, None, True)}


@pytest.mark.parametrize("gap", [None, dt.timedelta(days=1)], ids=["no figures", "one day missing"])
def test_a_day_whose_day_before_has_no_figures_has_no_trends(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID, gap: dt.timedelta | None
) -> None:
    if gap is not None:
        store(session, "day", BEFORE - gap, START - gap, completed_sessions=100)
    else:
        odd: Any = ["no", "figures"]
        session.add(MetricRollup(scope="day", period_start=BEFORE, period_end=START, data=odd))
    store(session, "week", START - 7 * DAY, START, completed_sessions=100)
    timers(session, user_id, START)

    assert invoke_job(job, at=AT)["counters"]["trends"] == 0
    assert findings(session) == {}


def test_what_is_stored_and_is_no_number_is_compared_with_nothing() -> None:
    before: Any = {"a": "many", "b": None, "c": True, "d": [1], "e": 1}
    assert [each.metric for each in trends(dict.fromkeys("abcde", 9.0), before)] == ["e"]


def test_a_plan_says_which_figures_it_would_write(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    store(session, "day", BEFORE, START, completed_sessions=5)
    timers(session, user_id, START)
    session.add(MetricFinding(kind="trend", scope="day", period_start=START, metric="goals_created"))
    session.commit()

    steps = invoke_job(job, {"dry_run": True}, at=AT)["plan"]["steps"]

    assert [(step["table"], step["rows"], step["sample"]) for step in steps] == [
        ("nightshift.metric_rollups", 1, ["day,2026-03-09T00:00:00Z"]),
        ("nightshift.metric_findings", 2, []),  # one that is new, and one that goes
    ]
    assert invoke_job(job, at=AT)["counters"]["written"] == 3
