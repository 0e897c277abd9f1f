"""Report last week to the administrators: the sums of its days, busiest users, alerts, availability, and the change.

A day whose report is missing is made up for first, and stored. The week goes from Sunday to Sunday in UTC; changes are
told against the stored report of the week before.
"""

from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from functions.administration.reports import daily, weekly
from functions.administration.reports.step import WriteReport
from functions.administration.reports.stored import key_of, store
from nightshift import Function, Job, Run, StepPlan, lambda_handler
from nightshift.database import by_halves
from nightshift.declaration import Batch, Execution, iso
from nightshift.ledger import QuarantinedItem, RunRecord
from nightshift.steps import Period, last_week


def missing_days(session: Session, run: Run) -> list[Period]:
    week = last_week(run)
    stored = weekly.dailies(session, week)
    return [day for day in weekly.days_of(week) if day.start not in stored]


def plan(session: Session, run: Run) -> list[StepPlan]:
    keys = [key_of("daily", day) for day in missing_days(session, run)]
    notes = tuple(refused_before(session, run, keys))
    return [StepPlan("missing-days", "nightshift.reports", "upsert", len(keys), sample=tuple(keys[:5]), notes=notes)]


def refused_before(session: Session, run: Run, keys: Sequence[str]) -> Iterator[str]:
    """Days whose report an earlier run could not store, each with the latest reason."""
    earlier = select(QuarantinedItem.item, QuarantinedItem.error).join(
        RunRecord, RunRecord.id == QuarantinedItem.run_id
    )
    found = earlier.where(RunRecord.job == run.job, QuarantinedItem.item.in_(keys)).order_by(QuarantinedItem.id)
    for key, error in dict(session.execute(found).all()).items():
        yield f"{key}: an earlier run could not store this day: {error}"


def make_missing_days(execution: Execution) -> None:
    """One a batch. A day whose report is refused is left, and told: the week counts it again by itself."""
    run = execution.run
    while "done" not in (place := execution.position or {}):
        with execution.batch(snapshot=True) as batch:
            refused = list(place.get("refused", ()))
            missing = [day for day in missing_days(batch.session, run) if iso(day.start) not in refused]
            if missing:
                make(execution, batch, missing[0], refused)
                batch.position = {"refused": refused}
            else:
                batch.count(days_found=7 - execution.counters["days_recomputed"] - len(refused))
                batch.position = {"done": True}


def make(execution: Execution, batch: Batch, day: Period, refused: list[str]) -> None:
    def write(days: Sequence[Period]) -> int:
        data = daily.figures(batch.session, execution.run, days[0])
        store(batch.session, execution.resources.files, execution.run, "daily", days[0], data)
        return 1

    def leave(day: Period, error: str) -> None:
        refused.append(iso(day.start))
        batch.quarantine(key_of("daily", day), error)

    batch.count(days_recomputed=sum(by_halves(batch.session, [day], write, leave)))


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
