"""Roll yesterday up, in UTC: active users, completed sessions, focus minutes and goals, and what moved by over 20 %.

A figure is compared with the day before's: a change of more than 20 % is kept as a trend, of more than 50 % as a
significant one. From nothing to something is significant without a percentage; and a day whose day before was never
rolled up has no trends.
"""

from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from application.models import TimerSession
from application.rounding import TENTH, is_figure, percent
from functions.productivity._counting import active_users, completed, goals, length, within
from nightshift import Job, Run, lambda_handler
from nightshift.steps import Figures, Finding, MetricRollup, Period, RollUp, last_day

TREND, SIGNIFICANT = 20, 50  # percent


def figures(session: Session, run: Run, day: Period) -> Figures:
    timers = select(func.count(), func.coalesce(func.sum(length), 0)).select_from(TimerSession)
    sessions, seconds = session.execute(timers.where(completed, within(TimerSession.created_at, day))).one()
    created, finished, _ = goals(session, day)
    data = {
        "active_users": active_users(session, day),
        "completed_sessions": sessions,
        "focus_minutes": int(seconds) // 60,
        "average_minutes": int(seconds) // 60 // max(1, sessions),
        "goals_created": created,
        "goals_completed": finished,
        "completion_rate": percent(finished, created),
    }
    day_before = select(MetricRollup.data).where(MetricRollup.scope == "day", MetricRollup.period_end == day.start)
    before = session.scalar(day_before)
    found = tuple(trends(data, before if isinstance(before, dict) else {}))
    return Figures(
        data,
        {"active_users": data["active_users"], "sessions": sessions, "trends": len(found)},
        found,
    )


def trends(data: Mapping[str, float], before: Mapping[str, float]) -> Iterator[Finding]:
    """The figures that moved, those that both days have compared exactly as they are stored. What is stored for the day
    before and is no number is no figure."""
    for metric in data.keys() & {name for name, value in before.items() if is_figure(value)}:
        value, baseline = Decimal(str(data[metric])), Decimal(str(before[metric]))
        moved = abs(value - baseline) * 100
        if moved > TREND * baseline:
            change = None
            if baseline:
                change = ((value - baseline) * 100 / baseline).quantize(TENTH, ROUND_HALF_UP)
            yield Finding(metric, float(value), float(baseline), change, significant=moved > SIGNIFICANT * baseline)


job = Job(
    name="daily-analytics",
    kind="rollup",
    schedule="cron(0 1 * * ? *)",
    audited=False,
    steps=(
        RollUp(
            scope="day",
            period=last_day,
            figures=figures,
            counting=("active_users", "sessions", "trends"),
        ),
    ),
)
handler = lambda_handler(job)
