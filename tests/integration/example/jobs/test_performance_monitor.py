import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from application.histogram import BUCKETS, UPPER_BOUNDS_MS
from application.models import Alert, RequestStats
from functions.administration.health import server
from functions.administration.performance_monitor import job
from functions.productivity._figures import FIGURES
from nightshift.ledger import RegisteredJob, RunRecord
from nightshift.steps import MetricRollup
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.activity import MINUTE, figures, store
from tests.integration.example.jobs.people import outbox, person, utc

AT = utc("2026-03-10 13:00")
WINDOW = 10 * MINUTE
START = AT - WINDOW
DAY = dt.timedelta(days=1)
COUNTERS = {"commits": 100, "rollbacks": 10, "deadlocks": 1, "blks_hit": 900, "blks_read": 100, "reset_at": None}


def requests(
    session: Session, minute: dt.datetime, durations: dict[int, int], *, errors: int = 0, route: str = "/v1/items"
) -> None:
    """A minute of a route's requests: how many there were of each duration in milliseconds."""
    hist = [0] * BUCKETS
    for ms, n in durations.items():
        hist[UPPER_BOUNDS_MS.index(ms)] = n
    total = sum(ms * n for ms, n in durations.items())
    n = sum(durations.values())
    session.add(RequestStats(minute=minute, route=route, n=n, errors=errors, sum_ms=total, hist=hist))
    session.commit()


def alerts(session: Session) -> list[Alert]:
    session.rollback()
    return list(session.scalars(select(Alert).execution_options(populate_existing=True)))


def test_percentiles_come_from_the_histogram_of_the_window(invoke_job: Invoke, session: Session) -> None:
    requests(session, START, dict.fromkeys(range(1, 51), 1), errors=3)
    requests(session, AT - MINUTE, dict.fromkeys(range(51, 101), 1), route="/v1/goals")
    requests(session, START - MINUTE, {9000: 500})
    requests(session, AT, {9000: 500})

    counters = invoke_job(job, at=AT)["counters"]

    data = figures(session, "perf_10m", START)
    assert data.keys() == FIGURES["perf_10m"].keys()
    assert (data["n"], data["errors"], data["error_rate"]) == (100, 3, 3.0)
    assert (data["min_ms"], data["median_ms"], data["p95_ms"], data["p99_ms"], data["max_ms"]) == (1, 50, 95, 99, 100)
    assert (data["mean_ms"], data["requests_per_minute"]) == (50.5, 10.0)
    assert (counters["samples"], counters["alerts"]) == (1, 0)


def test_an_empty_window_has_no_rates_and_no_alert(invoke_job: Invoke, session: Session) -> None:
    invoke_job(job, at=AT)

    data = figures(session, "perf_10m", START)
    assert (data["n"], data["errors"]) == (0, 0)
    nothing = ("error_rate", "min_ms", "mean_ms", "median_ms", "p95_ms", "p99_ms", "max_ms", "requests_per_minute")
    assert [data[key] for key in nothing] == [None] * len(nothing)
    assert alerts(session) == []


def test_the_database_is_measured_and_its_counters_are_told_as_what_was_added(
    invoke_job: Invoke, session: Session
) -> None:
    invoke_job(job, at=AT)
    first = figures(session, "perf_10m", START)
    store(session, "perf_10m", START - WINDOW, START, counters=COUNTERS)  # the latest one before counts
    session.execute(select(1))
    session.commit()

    invoke_job(job, at=AT + WINDOW)

    second = figures(session, "perf_10m", AT)
    assert (first["commits"], first["deadlocks"], first["cache_hit_percent"]) == (None, None, None)
    assert first["connections_active"] == 0
    assert second["commits"] == second["counters"]["commits"] - first["counters"]["commits"] >= 0
    assert second["deadlocks"] == 0
    assert (second["memory_percent"], second["cpu_percent"]) == (None, None)


def test_connections_are_counted_by_what_they_are_doing(session: Session, database: Engine) -> None:
    """GIVEN one that holds a lock, idle, and one that has waited for it for more than a second."""

    def wait_for_the_table() -> None:
        with database.begin() as connection:
            connection.execute(text("lock table goals"))

    with database.begin() as holder, ThreadPoolExecutor(1) as pool:
        holder.execute(text("lock table goals"))
        waiter = pool.submit(wait_for_the_table)
        deadline = time.monotonic() + 10
        while (found := server.connections(session))["slow_statements"] == 0:
            assert time.monotonic() < deadline, "nothing is slow"
            session.rollback()
        holder.rollback()
        waiter.result(timeout=10)

    assert found == {"connections_active": 1, "connections_idle": 1, "connections_waiting": 1, "slow_statements": 1}


@pytest.mark.parametrize(
    ("after", "grown"),
    [
        (
            {"commits": 150, "rollbacks": 12, "deadlocks": 1, "blks_hit": 990, "blks_read": 110},
            {"commits": 50, "rollbacks": 2, "deadlocks": 0, "cache_hit_percent": 90.0},
        ),
        (
            {"commits": 7, "rollbacks": 12, "deadlocks": 0, "blks_hit": 30, "blks_read": 10},
            {"commits": 7, "rollbacks": 12, "deadlocks": 0, "cache_hit_percent": 75.0},
        ),
        (
            {"commits": 150, "rollbacks": 12, "deadlocks": 1, "blks_hit": 0, "blks_read": 0, "reset_at": 1},
            {"commits": 150, "rollbacks": 12, "deadlocks": 1, "cache_hit_percent": None},
        ),
    ],
    ids=["grown", "smaller than before", "reset since"],
)
def test_after_a_reset_the_counters_themselves_are_what_was_added(after: dict[str, Any], grown: dict[str, Any]) -> None:
    assert server.growth(COUNTERS, {"reset_at": None, **after}) == grown


@pytest.mark.parametrize("before", [None, [], "counted", {"reset_at": None}, {**COUNTERS, "commits": "many"}])
def test_counters_of_another_form_are_no_look(before: Any) -> None:
    assert set(server.growth(before, COUNTERS).values()) == {None}


def test_counters_long_past_are_not_subtracted(invoke_job: Invoke, session: Session) -> None:
    store(session, "perf_10m", START - 2 * DAY, AT - 2 * DAY, counters={**COUNTERS, "commits": 0})

    invoke_job(job, at=AT)

    assert figures(session, "perf_10m", START)["commits"] is None


def test_a_run_for_a_time_long_past_invents_no_measurement(invoke_job: Invoke, session: Session) -> None:
    requests(session, START, {10: 5})
    store(session, "perf_10m", AT, AT + WINDOW)

    invoke_job(job, at=AT)

    data = figures(session, "perf_10m", START)
    assert (data["n"], data["connections_active"], data["commits"], data["counters"]) == (5, None, None, None)


def test_runs_that_ended_in_the_window_are_timed(invoke_job: Invoke, session: Session) -> None:
    session.add(RegisteredJob(name="other", registered_at=AT))
    session.flush()
    for ended, took in ((START, 2), (AT - MINUTE, 5), (AT, 60), (START - MINUTE, 60)):
        times = {"started_at": ended - dt.timedelta(seconds=took), "finished_at": ended, "scheduled_for": ended}
        session.add(RunRecord(job="other", state="succeeded", trigger="schedule", max_attempts=3, **times))
    session.commit()

    invoke_job(job, at=AT)

    data = figures(session, "perf_10m", START)
    assert (data["runs"], data["run_seconds_mean"], data["run_seconds_max"]) == (2, 3.5, 5.0)


@pytest.mark.parametrize(
    ("durations", "alerted"),
    [
        ({500: 10}, False),
        ({500: 9, 510: 1}, True),
        ({1: 94, 1000: 6}, False),
        ({1: 94, 1100: 6}, True),
        ({1: 95, 1100: 5}, False),
    ],
)
def test_three_slow_windows_running_alert(
    invoke_job: Invoke, session: Session, durations: dict[int, int], alerted: bool
) -> None:
    admin = person(session, "root", role="admin")
    for back in (1, 2, 3):
        requests(session, AT - back * WINDOW, durations)

    counters = invoke_job(job, at=AT)["counters"]

    assert counters["alerts"] == alerted
    assert [(one.rule, one.severity) for one in alerts(session)] == ([("slow_requests", "high")] if alerted else [])
    assert [(mail.recipient, mail.title) for mail in outbox(session)] == (
        [(str(admin), "High: requests are slow")] if alerted else []
    )


@pytest.mark.parametrize("back", [2, 3])
@pytest.mark.parametrize("gap", [None, {10: 5}])
def test_a_window_that_was_not_slow_breaks_the_row(
    invoke_job: Invoke, session: Session, gap: dict[int, int] | None, back: int
) -> None:
    for slow in {1, 2, 3, 4} - {back}:
        requests(session, AT - slow * WINDOW, {2000: 5})
    if gap is not None:
        requests(session, AT - back * WINDOW, gap)

    assert invoke_job(job, at=AT)["counters"]["alerts"] == 0


def test_one_good_window_resolves_and_going_on_tells_nobody_twice(invoke_job: Invoke, session: Session) -> None:
    person(session, "root", role="admin")
    for back in (0, 1, 2, 3):
        requests(session, AT - back * WINDOW, {2000: 5})
    requests(session, AT + 2 * WINDOW, {10: 5})

    for later in (0, 1):
        assert invoke_job(job, at=AT + later * WINDOW)["counters"]["alerts"] == 1
    assert [(one.status, one.occurrences) for one in alerts(session)] == [("open", 2)]
    assert len(outbox(session)) == 1
    assert invoke_job(job, {"force": True}, at=AT + WINDOW)["counters"]["alerts"] == 0

    invoke_job(job, at=AT + 2 * WINDOW)
    assert [one.status for one in alerts(session)] == ["open"], "a window without requests tells nothing"
    invoke_job(job, at=AT + 3 * WINDOW)

    assert [(one.status, one.resolved_at) for one in alerts(session)] == [("resolved", AT + 3 * WINDOW)]


def test_each_scope_is_kept_for_its_own_time(invoke_job: Invoke, session: Session) -> None:
    limits = {"perf_10m": 14, "perf_1h": 90, "perf_1d": 365}
    for scope, limit in limits.items():
        for age in (limit * DAY, limit * DAY + MINUTE):
            store(session, scope, AT - age, AT - age + WINDOW)
    store(session, "day", AT - 1000 * DAY, AT - 999 * DAY)

    counters = invoke_job(job, at=AT)["counters"]

    assert counters["deleted"] == 3
    session.rollback()
    left = session.execute(select(MetricRollup.scope, MetricRollup.period_start)).all()
    kept = {(scope, AT - limit * DAY) for scope, limit in limits.items()}
    assert {tuple(row) for row in left} == kept | {("day", AT - 1000 * DAY), ("perf_10m", START)}


@pytest.mark.parametrize(("start", "deleted"), [("2023-03-10 13:00", 0), ("2023-03-10 12:59", 1)])
def test_a_year_of_daily_figures_is_one_of_the_calendar(
    invoke_job: Invoke, session: Session, start: str, deleted: int
) -> None:
    store(session, "perf_1d", utc(start), utc(start) + DAY)

    assert invoke_job(job, at=utc("2024-03-10 13:00"))["counters"]["deleted"] == deleted
