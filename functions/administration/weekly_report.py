"""Report last week to the administrators: the sums of its days, busiest users, alerts, availability, and the change.

A day whose report is missing is made up for first, and stored. The week goes from Sunday to Sunday in UTC; changes are
told against the stored report of the week before.
"""

from sqlalchemy.orm import Session

from functions.administration.reports import daily, weekly
from functions.administration.reports.step import WriteReport
from functions.administration.reports.stored import key_of, store
from nightshift import Function, Job, Run, StepPlan, lambda_handler
from nightshift.declaration import Execution
from nightshift.steps import Period, last_week


def missing_days(session: Session, run: Run) -> list[Period]:
    week = last_week(run)
    stored = weekly.dailies(session, week)
    return [day for day in weekly.days_of(week) if day.start not in stored]


def plan(session: Session, run: Run) -> list[StepPlan]:
    keys = [key_of("daily", day) for day in missing_days(session, run)]
    return [StepPlan("missing-days", "nightshift.reports", "upsert", len(keys), sample=tuple(keys[:5]))]


def make_missing_days(execution: Execution) -> None:
    run = execution.run
    while execution.position is None:
        with execution.batch(snapshot=True) as batch:
            missing = missing_days(batch.session, run)
            if missing:
                day = missing[0]
                data = daily.figures(batch.session, run, day)
                store(batch.session, execution.resources.files, run, "daily", day, data)
                batch.count(days_recomputed=1)
            else:
                batch.count(days_found=7 - execution.counters["days_recomputed"])
                batch.position = {"done": True}


job = Job(
    name="weekly-report",
    kind="report",
    schedule="cron(0 2 ? * SUN *)",
    needs=frozenset({"files"}),
    folders=("reports/",),
    audited=False,
    steps=(
        Function(
            name="missing-days",
            apply=make_missing_days,
            plan=plan,
            counters=("days_found", "days_recomputed"),
            changes=("days_recomputed",),
            tables=("nightshift.reports",),
        ),
        WriteReport(kind="weekly", period=last_week, figures=weekly.figures),
    ),
)
handler = lambda_handler(job)
