"""Measure requests, database and jobs of the last ten minutes; alert when requests were slow in three windows running.

Slow is a mean of more than 500 ms or a 95th percentile of more than 1,000 ms; one good window resolves the alert, and
one without requests tells nothing. Percentiles come from the requests' histogram. The database is measured as it is:
a run for a time of which a later sample exists has no figures of it. Ten-minute figures are kept for 14 days, hourly
ones for 90 days, daily ones for a year.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from application.alerts import Wording, sight, tell
from application.alerts.sightings import resolve
from application.histogram import Requests, requests_between
from application.models import Alert
from application.rounding import one_decimal
from functions.administration.health.performance import SCOPE, WINDOW, figures
from nightshift import Delete, Function, Job, Parameter, Run, StepPlan, lambda_handler
from nightshift.database import by_halves
from nightshift.declaration import Execution
from nightshift.steps import MetricRollup, Period, RollUp

WINDOWS = 3
SLOW = "slow_requests"
SLOWEST_MEAN, SLOWEST_P95 = 500, 1000  # milliseconds
WORDING = Wording("requests are slow", "In three windows of ten minutes running, requests took too long.")

KEPT = {
    "perf_10m": Parameter("samples_retention_days", 14, "days", minimum=1, about="ten-minute figures"),
    "perf_1h": Parameter("hourly_retention_days", 90, "days", minimum=7, about="hourly figures"),
    "perf_1d": Parameter("daily_retention_years", 1, "years", minimum=1, about="daily figures"),
}


def last_window(run: Run) -> Period:
    end = run.now.replace(second=0, microsecond=0)
    return Period(end - WINDOW, end)


def slow(requests: Requests) -> bool:
    mean, p95 = requests.mean_ms, requests.percentile(95)
    return mean is not None and p95 is not None and (mean > SLOWEST_MEAN or p95 > SLOWEST_P95)


def judge(session: Session, run: Run) -> tuple[str, dict[str, Any]] | None:
    """`slow` when the last three windows were, `good` when the last one was; None when neither, or noted already."""
    end = last_window(run).end
    requests = requests_between(session, end - WINDOW, end)
    mean = requests.mean_ms
    if mean is None:
        return None
    details = {
        "subject": "all requests",
        "n": requests.n,
        "mean_ms": one_decimal(mean),
        "p95_ms": requests.percentile(95),
    }
    if not slow(requests):
        return "good", details
    noted = select(Alert.id).where(Alert.rule == SLOW, Alert.last_seen_at >= run.now)
    before = (requests_between(session, end - (n + 1) * WINDOW, end - n * WINDOW) for n in range(1, WINDOWS))
    if session.execute(noted).first() is not None or not all(map(slow, before)):
        return None
    return "slow", details


def plan_alert(session: Session, run: Run) -> list[StepPlan]:
    found = judge(session, run)
    rows = 1 if found is not None and found[0] == "slow" else 0
    return [StepPlan("alert", "nightshift.alerts", "alert", rows)]


def alert(execution: Execution) -> None:
    if execution.position is not None:
        return
    run = execution.run
    with execution.batch() as batch:
        verdict, details = judge(batch.session, run) or ("", {})

        def note(_: Sequence[str]) -> int:
            if verdict == "slow":
                sight(batch.session, rule=SLOW, subject="all", severity="high", details=details, at=run.now)
                tell(batch.session, run, {SLOW: WORDING}, refused=batch.quarantine)
                return 1
            if verdict == "good":
                resolve(batch.session, rule=SLOW, quiet_since=run.now, at=run.now)
            return 0

        batch.count(alerts=sum(by_halves(batch.session, [f"nightshift.alerts:{SLOW}"], note, batch.quarantine)))
        batch.position = {"done": True}


job = Job(
    name="performance-monitor",
    kind="check",
    schedule="cron(0/10 * * * ? *)",
    audited=False,
    steps=(
        RollUp(scope=SCOPE, period=last_window, figures=figures, counting=("samples",)),
        Function(
            name="alert",
            apply=alert,
            plan=plan_alert,
            counters=("alerts",),
            changes=("alerts",),
            tables=("nightshift.alerts", "nightshift.notifications"),
        ),
        *(
            Delete(
                MetricRollup,
                name=f"forget-{scope.replace('_', '-')}",
                where=MetricRollup.scope == scope,
                older_than=kept,
                measured_by=MetricRollup.period_start,
            )
            for scope, kept in KEPT.items()
        ),
    ),
)
handler = lambda_handler(job)
