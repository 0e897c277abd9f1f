"""Roll the requests of the last full hour up, and at midnight those of the day; more than 3 % errors or 250 ms alerts.

Everything is measured: requests by the application, connections, memory and processor by performance-monitor, which
takes a sample every ten minutes, at the end of them. An hour without requests has no rates and no alert. An alert
resolves after 24 quiet hours.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from application.alerts import Severity, sight
from application.alerts.sightings import resolve
from application.histogram import requests_between
from application.models import Alert
from application.rounding import one_decimal
from functions.productivity._server_samples import server
from nightshift import Function, Job, Run, StepPlan, hours, lambda_handler
from nightshift.database import by_halves
from nightshift.declaration import Execution
from nightshift.steps import Figures, Period, RollUp, last_day, last_hour

ERRORS, SLOW = "hourly_error_rate", "hourly_mean_duration"
RULES: dict[str, Severity] = {ERRORS: "high", SLOW: "medium"}
MOST_ERRORS = 3  # percent
SLOWEST_MEAN = 250  # milliseconds
QUIET = hours(24)
SECOND, SAMPLE_EVERY = dt.timedelta(seconds=1), dt.timedelta(minutes=10)


def last_day_at_midnight(run: Run) -> Period | None:
    return last_day(run) if run.now.hour == 0 else None


def figures(session: Session, run: Run, period: Period) -> Figures:
    requests = requests_between(session, period.start, period.end)
    samples, most = server(session, period)
    length = period.end - period.start
    mean, share = requests.mean_ms, requests.error_share
    data = {
        "n": requests.n,
        "errors": requests.errors,
        "error_rate": None if share is None else one_decimal(100 * share),
        "mean_ms": None if mean is None else one_decimal(mean),
        "p95_ms": requests.percentile(95),
        "requests_per_minute": one_decimal(Fraction(60 * requests.n, length // SECOND)) if requests.n else None,
        "n_samples": samples,
        "partial": samples < length // SAMPLE_EVERY,
        **most,
    }
    return Figures(data, {"samples": samples})


def sightings(session: Session, hour: Period) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rules that the hour breaks, with the figures, unless the hour has been noted already."""
    requests = requests_between(session, hour.start, hour.end)
    share, mean = requests.error_share, requests.mean_ms
    if share is None or mean is None:
        return
    details = {"n": requests.n, "error_rate": one_decimal(100 * share), "mean_ms": one_decimal(mean)}
    known = set(session.scalars(select(Alert.rule).where(Alert.rule.in_(RULES), Alert.last_seen_at >= hour.end)))
    for rule, broken in ((ERRORS, 100 * share > MOST_ERRORS), (SLOW, mean > SLOWEST_MEAN)):
        if broken and rule not in known:
            yield rule, details


def plan_alerts(session: Session, run: Run) -> list[StepPlan]:
    rules = tuple(rule for rule, _ in sightings(session, last_hour(run)))
    return [StepPlan("alert", "nightshift.alerts", "alert", len(rules), sample=rules)]


def alert(execution: Execution) -> None:
    """Note what the hour broke, and resolve what has been quiet for a day."""
    if execution.position is not None:
        return
    run, hour = execution.run, last_hour(execution.run)
    with execution.batch() as batch:
        session = batch.session

        def note(found: Sequence[tuple[str, dict[str, Any]]]) -> int:
            for rule, details in found:
                sight(session, rule=rule, subject="all", severity=RULES[rule], details=details, at=hour.end)
            return len(found)

        def end(rules: Sequence[str]) -> None:
            for rule in rules:
                resolve(session, rule=rule, quiet_since=run.ago(QUIET), at=run.now)

        broken = list(sightings(session, hour))
        noted = by_halves(session, broken, note, lambda one, error: batch.quarantine(one[0], error))
        batch.count(alerts=sum(noted))
        by_halves(session, list(RULES), end, batch.quarantine)
        batch.position = {"done": True}


job = Job(
    name="performance-metrics",
    kind="rollup",
    schedule="cron(0 * * * ? *)",
    audited=False,
    steps=(
        RollUp(scope="perf_1h", period=last_hour, figures=figures, counting=("samples",)),
        RollUp(scope="perf_1d", period=last_day_at_midnight, figures=figures),
        Function(
            name="alert",
            apply=alert,
            plan=plan_alerts,
            counters=("alerts",),
            changes=("alerts",),
            tables=("nightshift.alerts",),
        ),
    ),
)
handler = lambda_handler(job)
