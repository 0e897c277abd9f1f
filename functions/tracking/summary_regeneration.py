"""Bring the yearly summaries up to date whose snapshot or payments changed in the last seven days, 100 a run.

Snapshots without a summary come first, then those whose change is the oldest. Amounts stay sealed: they are added up
behind `application.sealed`, and this job sees counts and ciphertext.
"""

import uuid
from collections.abc import Sequence

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from application.models import AnnualSummary, YearlySnapshot
from functions.tracking._summaries import ACTIVITY, regenerate
from nightshift import Function, Job, Parameter, Run, StepPlan, lambda_handler
from nightshift.database import by_halves
from nightshift.declaration import Batch, Execution

LOOK_BACK = Parameter("look_back_days", 7, "days", about="how recent a change must be to be taken up")
IN_USE = "somebody else has its summary locked"
LOCK_SECONDS = 1
"""How long one waits for somebody else who has it to himself."""
LIMIT = Parameter("summaries_a_run", 100, "items", maximum=10_000, about="how many summaries one run brings up to date")


def stale(run: Run) -> Select[uuid.UUID, int]:
    """The snapshots to take up now, with the number of all that are due."""
    return (
        select(YearlySnapshot.id, func.count().over())
        .outerjoin(AnnualSummary, AnnualSummary.snapshot_id == YearlySnapshot.id)
        .where(YearlySnapshot.status == "FINALIZED", run.ago(LOOK_BACK) <= ACTIVITY)
        .where(or_(AnnualSummary.id.is_(None), AnnualSummary.source_activity_at < ACTIVITY))
        .order_by(AnnualSummary.id.is_not(None), ACTIVITY, YearlySnapshot.id)
        .limit(run[LIMIT])
    )


def plan(session: Session, run: Run) -> list[StepPlan]:
    keys = [str(key) for key, _ in session.execute(stale(run))]
    return [StepPlan("summarize", "annual_summaries", "regenerate", len(keys), sample=tuple(keys[:5]))]


def apply(execution: Execution) -> None:
    if execution.position is None:
        with execution.batch() as batch:
            found = batch.session.execute(stale(execution.run)).all()
            batch.count(remaining=found[0][1] - len(found) if found else 0)
            batch.position = {"todo": [str(key) for key, _ in found]}
    todo = (execution.position or {})["todo"]
    if not todo:
        return
    from application.sealed import Aggregator
    from nightshift.store import DataKeys  # with a summary to make, and not before: cryptography takes its time

    with execution.session.begin():
        aggregator = Aggregator(DataKeys.stored(execution.session, execution.resources.keys))
    while todo:
        key, *todo = todo
        with execution.batch(lock_seconds=LOCK_SECONDS) as batch:
            session = batch.session

            def summarize(keys: Sequence[str], session: Session = session) -> dict[str, int]:
                return regenerate(session, execution.run, aggregator, uuid.UUID(keys[0]))

            def leave(key: str, error: str, batch: Batch = batch) -> None:
                batch.quarantine(f"yearly_snapshots {key}", error)
                batch.count(failed=1)

            for counts in by_halves(session, [key], summarize, leave, lambda key: leave(key, IN_USE)):
                batch.count(**counts)
            batch.position = {"todo": todo}


job = Job(
    name="summary-regeneration",
    kind="recalculation",
    schedule="cron(0 4 * * ? *)",
    needs=frozenset({"keys"}),
    audited=False,
    parameters=(LOOK_BACK, LIMIT),
    steps=(
        Function(
            name="summarize",
            apply=apply,
            plan=plan,
            counters=("regenerated", "unchanged", "failed", "remaining", "undecryptable", "ownership_violations"),
            changes=("regenerated",),
            tables=("annual_summaries",),
        ),
    ),
)
handler = lambda_handler(job)
