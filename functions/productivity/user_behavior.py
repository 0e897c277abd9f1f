"""Roll the last six hours of timer sessions up, of all users together, and note when their length or breaks stand out.

An anomaly is a mean length under 5 or over 120 minutes, or a mean hour of breaks before 6 or after 22; and, where at
least 8 of the last 28 windows at the same time of the day are known, a mean more than three standard deviations from
theirs. Fewer than 10 sessions, or breaks, tell nothing.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from sqlalchemy import Numeric, Time, case, cast, func, select
from sqlalchemy.orm import Session

from application.rounding import one_decimal
from functions.productivity._counting import timers_by_hour
from nightshift import Job, Run, days, hours, lambda_handler
from nightshift.steps import Figures, Finding, MetricRollup, Period, RollUp

SCOPE = "behavior_6h"
SMALLEST_SAMPLE = 10
HISTORY, FEWEST_WINDOWS = days(28), 8
DEVIATIONS = 3


@dataclass(frozen=True)
class Measure:
    """A mean that is watched: where it is stored, and the limits that it may reach but not pass."""

    metric: str
    key: str
    lowest: int
    highest: int


SESSION_LENGTH = Measure("session_length", "mean_minutes", 5, 120)
BREAK_TIMING = Measure("break_timing", "mean_break_hour", 6, 22)


def six_hours(run: Run) -> Period:
    return Period(run.now - hours(6), run.now)


def figures(session: Session, run: Run, window: Period) -> Figures:
    types: Counter[str] = Counter()
    breaks, timed, seconds = [0] * 24, 0, 0
    for slot in session.execute(timers_by_hour(window)):
        types[slot.timer_type] += slot.n
        breaks[slot.hour] += slot.n if slot.break_taken else 0
        timed += slot.timed
        seconds += int(slot.seconds)
    minutes = Fraction(seconds, 60 * timed) if timed else None
    hour = Fraction(sum(hour * n for hour, n in enumerate(breaks)), sum(breaks)) if any(breaks) else None
    data = {
        "sessions": types.total(),
        "timed_sessions": timed,
        "mean_minutes": None if minutes is None else one_decimal(minutes),
        "timer_types": dict(types),
        "breaks": sum(breaks),
        "breaks_by_hour": breaks,
        "mean_break_hour": None if hour is None else one_decimal(hour),
    }
    found = (
        *anomalies(session, window, SESSION_LENGTH, minutes, timed),
        *anomalies(session, window, BREAK_TIMING, hour, sum(breaks)),
    )
    return Figures(data, {"sessions": types.total(), "anomalies": len(found)}, found)


def anomalies(session: Session, window: Period, measure: Measure, mean: Fraction | None, n: int) -> Iterator[Finding]:
    if mean is None or n < SMALLEST_SAMPLE:
        return
    value = one_decimal(mean)
    windows, usual, deviation = history(session, window.start, measure.key)
    known = windows >= FEWEST_WINDOWS
    outside = not measure.lowest <= mean <= measure.highest
    if outside or (known and deviation and abs(Decimal(str(value)) - usual) > DEVIATIONS * deviation):
        yield Finding(measure.metric, value, baseline=float(usual) if known else None)


def history(session: Session, start: dt.datetime, key: str) -> tuple[int, Decimal, Decimal]:
    """Of the last windows at the same time of the day, one a day: how many have the figure, its mean and deviation."""
    time = cast(func.timezone("UTC", MetricRollup.period_start), Time)
    stored = MetricRollup.data[key]
    value = case((func.jsonb_typeof(stored) == "number", cast(stored.astext, Numeric)))
    found = (
        select(func.count(value), func.coalesce(func.avg(value), 0), func.coalesce(func.stddev_pop(value), 0))
        .where(MetricRollup.scope == SCOPE, time == start.time())
        .where(MetricRollup.period_start >= start - HISTORY, MetricRollup.period_start < start)
    )
    windows, usual, deviation = session.execute(found).one()
    return windows, usual, deviation


job = Job(
    name="user-behavior",
    kind="rollup",
    schedule="cron(0 0/6 * * ? *)",
    audited=False,
    steps=(
        RollUp(
            scope=SCOPE,
            period=six_hours,
            figures=figures,
            counting=("sessions", "anomalies"),
            finding="anomaly",
        ),
    ),
)
handler = lambda_handler(job)
