"""One attempt at a claimed run: plan it, or count what it would destroy, do its steps in order, and settle it."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from nightshift import ledger
from nightshift.database import describe, sqlstate
from nightshift.database.failures import READ_ONLY
from nightshift.database.transaction import transaction
from nightshift.declaration import Job, Run, Step, StepPlan, this_project
from nightshift.engine.aftercare import look_after
from nightshift.engine.candidates import are_stated, asked, over_cap, state_candidates
from nightshift.engine.execution import RunExecution
from nightshift.engine.tally import along
from nightshift.errors import PermanentError
from nightshift.ledger import Standing

if TYPE_CHECKING:
    from nightshift.catalogue import Measure


def carry_out(job: Job, execution: RunExecution) -> Standing:
    """Do what the run asks for, and settle it as succeeded or planned.

    Raises:
        Interrupted: there is no time left; the caller gives the run back.
        Fenced: another attempt has taken over the run.
        CapExceededError: the run would destroy more than its cap allows; nothing was changed.
    """
    execution.session.rollback()
    return _plan(job, execution) if execution.run.mode == "plan" else _apply(job, execution)


@contextmanager
def apart(session: Session) -> Iterator[Session]:
    """A session for the code of one step, in the same transaction: what it sets, breaks or ends is undone with it."""
    with Session(session.connection(), join_transaction_mode="create_savepoint", expire_on_commit=False) as own:
        yield own


def goes_on(session: Session) -> bool:
    """Whether the session's transaction is still there, after a failure of what was done `apart` from it."""
    try:
        session.execute(text("select 1"))
    except (SQLAlchemyError, OSError):
        return False
    return True


def plan_step(step: Step, session: Session, run: Run) -> list[StepPlan]:
    """What a step would do, in the caller's transaction, which is read only.

    Raises:
        PermanentError: its plan tried to write.
    """
    try:
        plans = asked(session, step.plan, run)
    except DBAPIError as error:
        if sqlstate(error) != READ_ONLY:
            raise
        raise PermanentError(f"a plan only reads: step {step.name}: {describe(error)}") from None
    if not isinstance(step, Measured) or step.measured_in is None or step.cutoff(run) is None:
        return plans
    from nightshift.catalogue import find, read  # of few columns the type does not say that they hold a time
    from nightshift.catalogue.measures import doubts

    facts = read(session, find(session, step.sql_name))
    found = doubts(session, facts, step.measured_by, step.measured_in)
    notes = tuple(each.what for each in found if step.where is None or not each.never)
    return [replace(plan, notes=(*plan.notes, *notes)) for plan in plans]


@runtime_checkable
class Measured(Protocol):
    """A step whose rows have an age that a number or an id tells."""

    measured_by: Any
    measured_in: "Measure | None"
    where: Any

    @property
    def sql_name(self) -> str: ...

    def cutoff(self, run: Run) -> dt.datetime | None: ...


def _plan(job: Job, execution: RunExecution) -> Standing:
    with transaction(execution.session, isolation="repeatable read", read_only=True):
        plans = [plan for step in job.steps for plan in plan_step(step, execution.session, execution.run)]
    counters = dict.fromkeys(job.counters, 0)
    execution.settle()
    with execution.session.begin():
        plan: dict[str, Any] = {
            "steps": [plan.as_json() for plan in plans],
            "over_cap": over_cap(execution.run, plans),
        }
        if (estimate := _estimate(job, plans, ledger.durations(execution.session, job.name))) is not None:
            plan["estimate"] = estimate
        return ledger.finish(execution.session, execution.claim, counters=counters, plan=plan)


def _estimate(
    job: Job, plans: Sequence[StepPlan], runs: Sequence[tuple[float, Mapping[str, int]]]
) -> dict[str, float] | None:
    """How long a run would take, by the pace of that one of the last runs which changed most; None without one."""
    done = [(job.changed(counters) + along(counters), seconds) for seconds, counters in runs]
    most, its_seconds = max(done, default=(0, 0.0))
    if not most or not its_seconds:
        return None
    rows = sum(plan.all_rows for plan in plans)
    seconds = max(rows * its_seconds / most, min(seconds for _, seconds in done))
    return {"seconds": round(seconds, 1), "rows_per_second": round(most / its_seconds), "runs": len(done)}


def _apply(job: Job, execution: RunExecution) -> Standing:
    execution.pacing.watch(job)
    if job.destructive and not are_stated(job, execution):
        execution.pacing.at([table for step in job.steps for table in step.tables])
        execution.pacing.wait()
        state_candidates(job, execution)
    for step in execution.still_to_do(job.steps):
        execution.enter(step)
        step.apply(execution)
    if job.destructive:
        look_after(job, execution)
    declared = {name: execution.counters[name] for name in job.counters}
    # What nobody declares is told where there is any.
    counters = declared | dict(+execution.counters) | execution.pacing.counters
    execution.settle()
    with execution.session.begin():
        trail = this_project().trail() if job.audited and job.changed(counters) else None
        if trail is not None:
            trail.line(execution.session, execution.run, job.name, counters)
        return ledger.finish(
            execution.session, execution.claim, counters=counters, errors=execution.errors, notes=execution.notes
        )
