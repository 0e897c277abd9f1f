import datetime as dt
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from application.histogram import BUCKETS, UPPER_BOUNDS_MS
from application.models import Alert, RequestStats
from functions.productivity._figures import FIGURES
from functions.productivity.performance_metrics import job
from nightshift.steps import MetricRollup
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.activity import HOUR, MINUTE, figures, store
from tests.integration.example.jobs.conftest import DAY
from tests.integration.example.jobs.people import utc

AT = utc("2026-03-10 13:00")
START = AT - HOUR


def requests(
    session: Session, minute: dt.datetime, n: int = 100, *, errors: int = 0, ms: int = 50, route: str = "/v1/items"
) -> None:
    """A minute of a route's requests, all of the same duration."""
    hist = [0] * BUCKETS
    hist[UPPER_BOUNDS_MS.index(ms)] = n
    session.add(RequestStats(minute=minute, route=route, n=n, errors=errors, sum_ms=n * ms, hist=hist))
    session.commit()


def sample(session: Session, end: dt.datetime, **data: Any) -> None:
    store(session, "perf_10m", end - 10 * MINUTE, end, **data)


def alerts(session: Session) -> dict[str, Alert]:
    session.rollback()
    return {alert.rule: alert for alert in session.scalars(select(Alert).execution_options(populate_existing=True))}


def test_the_last_full_hour_is_rolled_up_from_the_requests(invoke_job: Invoke, session: Session) -> None:
    requests(session, START - MINUTE, 1000, ms=1000)
    requests(session, START, 90, ms=10, errors=1)
    requests(session, START + 59 * MINUTE, 6, ms=100, route="/v1/goals")
    requests(session, START + 59 * MINUTE, 4, ms=500)
    requests(session, AT, 1000, ms=1000)

    invoke_job(job, at=AT + 20 * MINUTE)

    data = figures(session, "perf_1h", START)
    assert data.keys() == FIGURES["perf_1h"].keys()
    assert (data["n"], data["errors"], data["error_rate"], data["requests_per_minute"]) == (100, 1, 1.0, 1.7)
    # Weighted by requests: the mean of the minutes' means would be far higher.
    assert data["mean_ms"] == (90 * 10 + 6 * 100 + 4 * 500) / 100
    assert data["p95_ms"] == 100


def test_an_hour_without_requests_has_no_rates_and_no_alert(invoke_job: Invoke, session: Session) -> None:
    counters = invoke_job(job, at=AT)["counters"]

    assert (counters["samples"], counters["alerts"]) == (0, 0)
    data = figures(session, "perf_1h", START)
    assert (data["n"], data["errors"], data["n_samples"], data["partial"]) == (0, 0, 0, True)
    unknown = data.keys() - {"n", "errors", "n_samples", "partial"}
    assert {data[key] for key in unknown} == {None}
    assert alerts(session) == {}


def test_connections_are_the_most_of_the_samples_taken_in_the_hour(invoke_job: Invoke, session: Session) -> None:
    sample(session, START - 10 * MINUTE, connections_active=99, connections_idle=0)
    for number in range(6):  # at 12:00, 12:10 and so on to 12:50
        sample(session, START + number * 10 * MINUTE, connections_active=number, connections_idle=10 - number // 5)
    sample(session, AT, connections_active=99, connections_idle=0)
    store(session, "perf_1h", START - HOUR, START, connections_active=99)

    assert invoke_job(job, at=AT)["counters"]["samples"] == 6

    data = figures(session, "perf_1h", START)
    assert (data["n_samples"], data["partial"], data["connections_max"]) == (6, False, 14)
    assert (data["memory_percent_max"], data["cpu_percent_max"]) == (None, None)


def test_an_hour_with_missing_samples_is_partial(invoke_job: Invoke, session: Session) -> None:
    odd: dict[str, Any] = {"memory_percent": "NaN", "cpu_percent": 10**300, "connections_active": {"of": 1}}
    for number in range(5):
        measured = {"memory_percent": 40.5 + number, "cpu_percent": 10 * number} if number else odd
        sample(session, START + number * 10 * MINUTE, **measured)

    assert invoke_job(job, at=AT)["counters"]["samples"] == 5

    data = figures(session, "perf_1h", START)
    assert (data["n_samples"], data["partial"], data["connections_max"]) == (5, True, None)
    assert (data["memory_percent_max"], data["cpu_percent_max"]) == (44.5, 40)


@pytest.mark.parametrize(
    ("errors", "ms", "rules"),
    [
        (30, 50, set()),
        (31, 50, {"hourly_error_rate"}),
        (0, 250, set()),
        (0, 260, {"hourly_mean_duration"}),
        (31, 260, {"hourly_error_rate", "hourly_mean_duration"}),
    ],
)
def test_more_than_three_percent_errors_or_a_mean_over_a_quarter_second_alerts(
    invoke_job: Invoke, session: Session, errors: int, ms: int, rules: set[str]
) -> None:
    requests(session, START, 1000, errors=errors, ms=ms)
    requests(session, AT, 1000)

    assert invoke_job(job, at=AT + 20 * MINUTE)["counters"]["alerts"] == len(rules)

    found = alerts(session)
    assert found.keys() == rules
    assert {(alert.status, alert.first_seen_at) for alert in found.values()} <= {("open", AT)}
    details = {"n": 1000, "error_rate": errors / 10, "mean_ms": ms}
    assert all(alert.details == details for alert in found.values())


def test_a_mean_just_over_the_limit_is_not_rounded_away(invoke_job: Invoke, session: Session) -> None:
    requests(session, START, 999, ms=250)
    requests(session, START + MINUTE, 1, ms=260)

    invoke_job(job, at=AT)

    assert figures(session, "perf_1h", START)["mean_ms"] == 250.0
    assert alerts(session).keys() == {"hourly_mean_duration"}


def test_bad_hours_in_a_row_are_one_alert_and_a_quiet_day_resolves_it(invoke_job: Invoke, session: Session) -> None:
    for hour in range(2):
        requests(session, START + hour * HOUR, errors=50, ms=500)
        invoke_job(job, at=AT + hour * HOUR)
    last = AT + HOUR

    found = alerts(session).values()
    assert [(alert.occurrences, alert.first_seen_at, alert.last_seen_at) for alert in found] == [(2, AT, last)] * 2

    invoke_job(job, at=last + DAY)
    assert {alert.status for alert in alerts(session).values()} == {"open"}

    invoke_job(job, at=last + DAY + HOUR)
    found = alerts(session).values()
    assert [(alert.status, alert.resolved_at) for alert in found] == [("resolved", last + DAY + HOUR)] * 2


def test_a_run_again_sees_nothing_twice(invoke_job: Invoke, session: Session) -> None:
    requests(session, START, errors=50)
    invoke_job(job, at=AT)

    counters = invoke_job(job, {"force": True}, at=AT)["counters"]

    assert (counters["alerts"], counters["written"]) == (0, 0)
    assert alerts(session)["hourly_error_rate"].occurrences == 1


@pytest.mark.parametrize("later", [20 * MINUTE, HOUR - MINUTE])
def test_another_run_in_the_same_hour_sees_nothing_twice(
    invoke_job: Invoke, session: Session, later: dt.timedelta
) -> None:
    requests(session, START, errors=50)
    invoke_job(job, at=AT)

    counters = invoke_job(job, at=AT + later)["counters"]

    assert (counters["alerts"], counters["written"]) == (0, 0)
    alert = alerts(session)["hourly_error_rate"]
    assert (alert.occurrences, alert.last_seen_at) == (1, AT)


def test_an_hour_whose_alert_is_resolved_is_not_noted_again(invoke_job: Invoke, session: Session) -> None:
    requests(session, START, errors=50)
    invoke_job(job, at=AT)
    invoke_job(job, at=AT + DAY + HOUR)

    counters = invoke_job(job, {"force": True}, at=AT)["counters"]

    assert counters["alerts"] == 0
    assert [alert.status for alert in session.scalars(select(Alert))] == ["resolved"]


def test_midnight_rolls_the_day_up_as_well(invoke_job: Invoke, session: Session) -> None:
    midnight = utc("2026-03-11")
    requests(session, midnight - DAY - MINUTE, 1000, ms=1000)
    requests(session, midnight - DAY, 95, ms=10)
    requests(session, midnight - HOUR, 5, ms=1000)
    requests(session, midnight, 1000, ms=1000)
    for number in range(144):
        sample(session, midnight - DAY + number * 10 * MINUTE, connections_active=1, connections_idle=number)

    assert invoke_job(job, at=midnight)["counters"]["samples"] == 6

    day = figures(session, "perf_1d", midnight - DAY)
    assert (day["n"], day["mean_ms"], day["p95_ms"], day["requests_per_minute"]) == (100, 59.5, 10, 0.1)
    assert (day["n_samples"], day["partial"], day["connections_max"]) == (144, False, 144)
    assert figures(session, "perf_1h", midnight - HOUR)["p95_ms"] == 1000


def test_a_day_with_a_missing_sample_is_partial(invoke_job: Invoke, session: Session) -> None:
    midnight = utc("2026-03-11")
    for number in range(143):
        sample(session, midnight - DAY + number * 10 * MINUTE)

    invoke_job(job, at=midnight)

    day = figures(session, "perf_1d", midnight - DAY)
    assert (day["n_samples"], day["partial"]) == (143, True)
    assert day.keys() == FIGURES["perf_1d"].keys()


def test_other_hours_roll_no_day_up(invoke_job: Invoke, session: Session) -> None:
    invoke_job(job, at=AT)

    daily = select(func.count()).select_from(MetricRollup).where(MetricRollup.scope == "perf_1d")
    assert session.scalar(daily) == 0
