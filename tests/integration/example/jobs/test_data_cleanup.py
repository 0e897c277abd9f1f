import datetime as dt
import uuid
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from application.models import FeatureEvent, Goal, RequestStats, TimerSession, UserActivityDay
from functions.productivity.daily_analytics import job as daily_analytics
from functions.productivity.data_cleanup import job
from nightshift.errors import SettingError
from nightshift.outbox import Notification
from nightshift.steps import MetricFinding, MetricRollup
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.activity import HOUR, goal, store, timers
from tests.integration.example.jobs.conftest import DAY, MICROSECOND
from tests.integration.example.jobs.people import utc

AT = utc("2026-03-01 04:00")
CUTOFF = AT - 180 * DAY
YEAR_AGO = AT - 365 * DAY


def counted(session: Session, at: dt.datetime) -> None:
    """The figures of the day, in UTC, of an instant."""
    start = at.replace(hour=0, minute=0, second=0, microsecond=0)
    store(session, "day", start, start + DAY, completed_sessions=1)


def kept(session: Session) -> set[tuple[str, dt.datetime]]:
    session.rollback()
    return {(row.status, row.created_at) for row in session.scalars(select(TimerSession))}


def test_finished_sessions_go_once_they_are_more_than_180_days_old(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    counted(session, CUTOFF)
    statuses = ("completed", "abandoned", "running", "paused")
    for status in statuses:
        timers(session, user_id, CUTOFF, status=status)
        timers(session, user_id, CUTOFF - MICROSECOND, status=status)

    counters = invoke_job(job, at=AT)["counters"]

    assert (counters["sessions_deleted"], counters["kept_without_rollup"]) == (2, 0)
    old = {("running", CUTOFF - MICROSECOND), ("paused", CUTOFF - MICROSECOND)}
    assert kept(session) == {(status, CUTOFF) for status in statuses} | old


def test_a_session_whose_day_was_never_rolled_up_stays(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    midnight = utc("2025-07-01")
    counted(session, midnight)
    store(session, "week", midnight + DAY, midnight + 8 * DAY)
    for at in (midnight - MICROSECOND, midnight, midnight + DAY - MICROSECOND, midnight + DAY):
        timers(session, user_id, at)
    timers(session, user_id, midnight + 2 * DAY, status="running")

    counters = invoke_job(job, at=AT)["counters"]

    assert (counters["sessions_deleted"], counters["kept_without_rollup"]) == (2, 2)
    assert {at for _, at in kept(session)} == {midnight - MICROSECOND, midnight + DAY, midnight + 2 * DAY}


def test_sessions_go_before_the_figures_they_wait_for(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    at = YEAR_AGO - DAY
    counted(session, at)
    timers(session, user_id, at)

    counters = invoke_job(job, at=AT)["counters"]

    assert (counters["sessions_deleted"], counters["metrics_deleted"], counters["kept_without_rollup"]) == (1, 1, 0)


@pytest.mark.parametrize("hours", [0, 4, 23])
def test_the_longest_period_leaves_no_session_behind_without_its_figures(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID, hours: int
) -> None:
    day = utc("2025-02-01")
    counted(session, day)
    timers(session, user_id, day)
    timers(session, user_id, day + DAY - MICROSECOND)
    figures_go = day + 365 * DAY + MICROSECOND + dt.timedelta(hours=hours)

    counters = invoke_job(job, {"parameters": {"cleanup_interval_days": 364}}, at=figures_go)["counters"]

    assert (counters["sessions_deleted"], counters["metrics_deleted"], counters["kept_without_rollup"]) == (2, 1, 0)


def test_what_daily_analytics_has_counted_may_go(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    midnight = utc("2025-07-01")
    for at in (midnight - MICROSECOND, midnight, midnight + DAY - MICROSECOND, midnight + DAY):
        timers(session, user_id, at)
    assert invoke_job(job, at=AT)["counters"]["kept_without_rollup"] == 4

    assert invoke_job(daily_analytics, at=midnight + DAY + HOUR)["counters"]["sessions"] == 2
    counters = invoke_job(job, at=AT + DAY)["counters"]

    assert (counters["sessions_deleted"], counters["kept_without_rollup"]) == (2, 2)
    assert {at for _, at in kept(session)} == {midnight - MICROSECOND, midnight + DAY}


def test_closed_goals_are_archived_by_the_time_of_their_closing(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    before, long_ago, yesterday = CUTOFF - MICROSECOND, AT - 730 * DAY, AT - DAY
    closed: dict[str, dict[str, Any]] = {
        "completed before": {"status": "completed", "completed_at": before},
        "cancelled before": {"status": "cancelled", "cancelled_at": before},
        "closed before, by the last change": {"status": "cancelled", "updated_at": before},
        "completed 180 days ago": {"status": "completed", "completed_at": CUTOFF},
        "completed yesterday": {"status": "completed", "completed_at": yesterday},
        "changed yesterday": {"status": "completed", "updated_at": yesterday},
        "active for two years": {"status": "active"},
    }
    for title, given in closed.items():
        goal(session, user_id, long_ago, **given).title = title
    goal(session, user_id, long_ago, status="completed", archived_at=yesterday).title = "archived yesterday"
    session.commit()
    stamps = {row.title: row.updated_at for row in session.scalars(select(Goal))}

    assert invoke_job(job, at=AT)["counters"]["goals_archived"] == 3

    session.rollback()
    goals = session.scalars(select(Goal).execution_options(populate_existing=True)).all()
    archived = {row.title for row in goals if row.archived_at == AT}
    assert archived == {"completed before", "cancelled before", "closed before, by the last change"}
    assert {row.title for row in goals if row.archived_at == yesterday} == {"archived yesterday"}
    assert {row.title: row.updated_at for row in goals} == stamps


def test_figures_and_findings_go_after_a_year_and_those_of_performance_are_left_to_others(
    invoke_job: Invoke, session: Session
) -> None:
    scopes = ("day", "week", "month", "behavior_6h", "perf_10m", "perf_1h", "perf_1d")
    for start in (YEAR_AGO, YEAR_AGO - MICROSECOND):
        for scope in scopes:
            store(session, scope, start, start + DAY)
        session.add(MetricFinding(kind="trend", scope="day", period_start=start, metric="focus_minutes"))
        session.add(MetricFinding(kind="anomaly", scope="behavior_6h", period_start=start, metric="session_length"))
    session.commit()

    assert invoke_job(job, at=AT)["counters"]["metrics_deleted"] == 4 + 2

    left = session.scalars(select(MetricRollup.scope).where(MetricRollup.period_start < YEAR_AGO))
    assert set(left) == {"perf_10m", "perf_1h", "perf_1d"}
    assert set(session.scalars(select(MetricFinding.period_start))) == {YEAR_AGO}


def test_traces_of_use_go_after_400_days(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    limit = AT - 400 * DAY
    session.add_all(FeatureEvent(feature=str(at), occurred_at=at) for at in (limit, limit - MICROSECOND))
    session.add_all(UserActivityDay(user_id=user_id, day=day.date()) for day in (limit, limit - DAY))
    session.commit()

    counters = invoke_job(job, at=AT)["counters"]

    assert (counters["events_deleted"], counters["activity_days_deleted"]) == (1, 1)
    assert session.scalars(select(FeatureEvent.occurred_at)).all() == [limit]
    assert session.scalars(select(UserActivityDay.day)).all() == [limit.date()]


def test_requests_by_minute_go_after_14_days(invoke_job: Invoke, session: Session) -> None:
    limit = AT - 14 * DAY
    for minute in (limit, limit - dt.timedelta(minutes=1)):
        session.add(RequestStats(minute=minute, route="/", n=0, errors=0, sum_ms=0, hist=[]))
    session.commit()

    assert invoke_job(job, at=AT)["counters"]["request_minutes_deleted"] == 1
    assert session.scalars(select(RequestStats.minute)).all() == [limit]


def test_notifications_go_90_days_after_they_were_sent(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    limit = AT - 90 * DAY
    long_ago = AT - 300 * DAY
    for label, status, sent_at in (
        ("sent 90 days ago", "sent", limit),
        ("sent before", "sent", limit - MICROSECOND),
        ("never sent", "pending", None),
        ("failed", "failed", None),
        ("unknown", "unknown", limit - MICROSECOND),
    ):
        given = {"title": "", "body": "", "scheduled_for": long_ago, "created_at": long_ago, "dedupe_key": label}
        row = Notification(recipient=str(user_id), channel="email", kind="weekly_review", status=status, **given)
        row.sent_at = sent_at
        session.add(row)
    session.commit()

    assert invoke_job(job, at=AT)["counters"]["notifications_deleted"] == 1
    left = set(session.scalars(select(Notification.dedupe_key)))
    assert left == {"sent 90 days ago", "never sent", "failed", "unknown"}


def test_a_second_run_finds_nothing(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    at = CUTOFF - DAY
    counted(session, at)
    timers(session, user_id, at, 5)
    goal(session, user_id, at, status="completed", completed_at=at)
    first = invoke_job(job, at=AT)
    assert (first["counters"]["sessions_deleted"], first["counters"]["goals_archived"]) == (5, 1)

    second = invoke_job(job, at=AT + MICROSECOND * 1_000_000)

    assert job.changed(second["counters"]) == 0


def test_the_periods_are_settings_with_floors(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    counted(session, AT - 70 * DAY)
    timers(session, user_id, AT - 70 * DAY)

    result = invoke_job(job, {"parameters": {"cleanup_interval_days": 62}}, at=AT)

    assert result["counters"]["sessions_deleted"] == 1
    for name, value in (
        ("cleanup_interval_days", 61),
        ("cleanup_interval_days", 0),
        ("cleanup_interval_days", 365),  # sessions would outlive the figures they wait for
        ("analytics_retention_days", 364),
        ("use_retention_days", 61),
        ("request_retention_days", 1),
        ("notification_retention_days", 30),
    ):
        with pytest.raises(SettingError, match=name):
            job.resolve({name: value})
