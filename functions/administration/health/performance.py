"""The figures of ten minutes, as performance-monitor stores them: requests, server and runs of jobs."""

import datetime as dt
from fractions import Fraction
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from application.histogram import requests_between
from application.rounding import one_decimal
from functions.administration.health.server import connections, counters, growth
from functions.productivity._figures import FIGURES
from nightshift import Run
from nightshift.ledger import job_runs
from nightshift.steps import Figures, MetricRollup, Period

SCOPE = "perf_10m"
WINDOW = dt.timedelta(minutes=10)
SUBTRACTED = 6 * WINDOW
"""How old the sample before may be for its counters to be subtracted. After a longer gap the growth says nothing."""


def figures(session: Session, run: Run, period: Period) -> Figures:
    requests = requests_between(session, period.start, period.end)
    share, mean = requests.error_share, requests.mean_ms
    data = {
        "n": requests.n,
        "errors": requests.errors,
        "error_rate": None if share is None else one_decimal(100 * share),
        "mean_ms": None if mean is None else one_decimal(mean),
        **{
            key: requests.percentile(p)
            for key, p in {"min_ms": 0, "median_ms": 50, "p95_ms": 95, "p99_ms": 99, "max_ms": 100}.items()
        },
        "requests_per_minute": one_decimal(Fraction(requests.n, 10)) if requests.n else None,
        **server(session, period),
        **runs(session, period),
    }
    return Figures({key: data.get(key) for key in FIGURES[SCOPE]}, {"samples": 1})


def server(session: Session, period: Period) -> dict[str, Any]:
    """Connections now and what was counted since the sample before; nothing when there is a later sample already."""
    sample = select(MetricRollup.data["counters"]).where(MetricRollup.scope == SCOPE)
    if session.execute(sample.where(MetricRollup.period_start > period.start).limit(1)).first() is not None:
        return {}
    earlier = sample.where(
        MetricRollup.period_start < period.start, MetricRollup.period_start >= period.start - SUBTRACTED
    )
    before = session.scalar(earlier.order_by(MetricRollup.period_start.desc()).limit(1))
    after = counters(session)
    return {**connections(session), **growth(before, after), "counters": after}


def runs(session: Session, period: Period) -> dict[str, Any]:
    """The runs that ended in the period, and how long they took."""
    runs = job_runs.c
    took = func.extract("epoch", runs.finished_at - runs.started_at)
    found = select(func.count(), func.avg(took), func.max(took)).where(
        runs.finished_at >= period.start, runs.finished_at < period.end, runs.started_at.is_not(None)
    )
    n, mean, longest = session.execute(found).one()
    seconds = {"run_seconds_mean": mean, "run_seconds_max": longest}
    return {"runs": n, **{key: None if value is None else one_decimal(value) for key, value in seconds.items()}}
