"""What a destructive run would touch: counted, capped and written down before the first batch."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift import ledger
from nightshift.database import is_row_error
from nightshift.database.transaction import transaction
from nightshift.declaration import MAX_ROWS, MAX_SHARE, Job, Run, StepPlan
from nightshift.engine.execution import RunExecution, of_partition
from nightshift.engine.odd_rows import carefully
from nightshift.engine.tally import along, changes_of, kept_of
from nightshift.errors import CapExceededError


def counted_with(job: Job, run: Run) -> str:
    """A fingerprint of the queries by which a run's candidates are counted."""
    queries = [f"{step.name} {step.fingerprint(run)}" for step in job.steps if step.destructive]
    return hashlib.sha256("\n".join(queries).encode()).hexdigest()[:16]


def are_stated(job: Job, execution: RunExecution) -> bool:
    """Whether the run has counted what these steps touch: a deployment may have brought others while it was open."""
    if execution.candidates is None:
        return False
    before = execution.claim.counted
    if before is None or before == counted_with(job, execution.run):
        return True
    execution.log("candidates.refused", remedy="what the job deletes has changed: it is counted anew, and begins anew")
    return False


def state_candidates(job: Job, execution: RunExecution) -> None:
    """Count what every destructive step would touch, write it down, and stop if it is more than the cap. A run that had
    begun with other queries begins anew; what it has done counts towards the cap.

    An operator may let the run go on once with just what it has counted, by a redrive that says who and why.
    """
    session, run = execution.session, execution.run
    # It need not wait for the disk: what a crash takes with it, and all that came after it, is counted once more.
    with transaction(session, settings={"synchronous_commit": "off"}):
        ledger.forget_keys(session, run.id)
        plans: list[StepPlan] = []
        for step in job.steps:
            if step.destructive:
                found = asked(session, step.candidates, run)
                step.write_down(session, run, {name for plan in plans for name in _touched(plan)})
                plans += found
        candidates = _stated(plans)
        ledger.state_candidates(session, execution.claim, candidates, counted_with(job, run))
    execution.begin_anew()
    done = job.changed(execution.counters) + along(execution.counters)
    if over := over_cap(run, plans, done):
        raise CapExceededError(
            f"{'; '.join(over)}. Nothing {'more ' if done else ''}was changed. Look at a plan of the job; then raise "
            f"the cap, or let this run go on once with what it has counted: "
            f"nightshift redrive {execution.run.id} --override-cap --by … --reason …"
        )
    execution.candidates = dict(candidates)
    execution.log("run.candidates", candidates=dict(candidates))


def _stated(plans: Sequence[StepPlan]) -> Counter[str]:
    """The plans in numbers: what goes under the step's name, and with the table behind it what goes, changes or stays
    there."""
    candidates: Counter[str] = Counter()
    for plan in plans:
        candidates[plan.step] += plan.row_by_row
        for partition in plan.partitions:
            candidates[of_partition(plan.step, partition.name)] += partition.rows
        for cascade in plan.cascades:
            of = plan.step if cascade.action == "delete" else changes_of(plan.step)
            candidates[f"{of} > {cascade.table}"] += cascade.rows
        if plan.referenced:
            candidates[f"{kept_of(plan.step)} > {plan.table}"] += plan.referenced
    return candidates


def _touched(plan: StepPlan) -> set[str]:
    return {plan.table, *(each.table for each in plan.cascades)}


def asked(session: Session, question: Callable[[Session, Run], list[StepPlan]], run: Run) -> list[StepPlan]:
    """A step's answer, in the caller's transaction. Whatever it sets for its own questions ends with it.

    A question that fails over some row is asked again, of the other rows.
    """
    try:
        return _asked(session, question, run)
    except DBAPIError as error:
        if not is_row_error(error):
            raise
    with carefully(session):
        return _asked(session, question, run)


def _asked(session: Session, question: Callable[[Session, Run], list[StepPlan]], run: Run) -> list[StepPlan]:
    with session.begin_nested() as own:
        plans = question(session, run)
        own.rollback()
    return plans


def over_cap(run: Run, plans: Sequence[StepPlan], done: int = 0) -> list[str]:
    """Where the plans are more than the run's caps allow, a line each.

    done: how many rows the run had changed before it was counted anew.

    The cap on rows is held against the sum over all steps and tables, the cap on the share against each table.
    """
    limits: Mapping[str, int] = run.parameters or {}
    most, share = limits.get(MAX_ROWS.name), limits.get(MAX_SHARE.name)
    found = []
    rows = sum(plan.all_rows for plan in plans) + done
    if most is not None and rows > most:
        told = [f"{done} rows are done"] if done else []
        told += [_in_words(plan) for plan in plans if plan.all_rows]
        found.append(f"{', '.join(told)}{f': {rows} in all' if len(told) > 1 else ''}; max_rows is {most}")
    for plan in plans:
        parts = [(plan.action, plan.rows, plan.of, plan.table)]
        parts += [(each.action, each.rows, each.of, each.table) for each in plan.cascades]
        for action, rows, of, table in parts:
            if share is not None and of is not None and rows * 100 > share * of:
                found.append(f"step {plan.step} would {action} {rows} of {of} rows of {table}; max_share is {share} %")
    return found


def _in_words(plan: StepPlan) -> str:
    also = f" and {plan.all_rows - plan.rows} that go or change with them" if plan.cascades else ""
    return f"step {plan.step} would {plan.action} {plan.rows} rows of {plan.table}{also}"
