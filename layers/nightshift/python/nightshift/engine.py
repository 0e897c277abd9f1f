"""Carrying out a claimed run: plan it, or state what it destroys, do its steps in order, settle it."""

from collections import Counter
from collections.abc import Mapping
from typing import cast

from sqlalchemy import Table, insert

from nightshift import ledger
from nightshift.errors import CapExceededError
from nightshift.execution import Execution
from nightshift.job import MAX_ROWS, MAX_SHARE, Job
from nightshift.ledger import Standing
from nightshift.steps.base import Step, StepPlan
from nightshift.steps.rows import RowStep


def carry_out(job: Job, execution: Execution) -> Standing:
    """Do what the run asks for and settle it as succeeded or planned.

    Raises:
        Interrupted: out of time; the caller gives the run back.
        Fenced: another attempt has taken over.
        CapExceededError: the run would destroy more than it may; nothing was changed.
    """
    execution.session.rollback()
    return _plan(job, execution) if execution.run.mode == "plan" else _apply(job, execution)


def _plan(job: Job, execution: Execution) -> Standing:
    with execution.session.begin():
        plans = [plan for step in job.steps for plan in step.plan(execution.session, execution.run)]
    counters = dict.fromkeys(job.counters, 0)
    with execution.session.begin():
        plan = {"steps": [plan.as_json() for plan in plans], "over_cap": _over_cap(execution, plans)}
        return ledger.finish(execution.session, execution.claim, counters=counters, plan=plan)


def _apply(job: Job, execution: Execution) -> Standing:
    if job.destructive and execution.candidates is None:
        _state_candidates(job, execution)
    names = [step.name for step in job.steps]
    reached = names.index(execution.claim.step) if execution.claim.step in names else 0
    for step in job.steps[reached:]:
        execution.enter(step.name, step.fingerprint(execution.run))
        step.apply(execution)
    counters = {name: execution.counters[name] for name in job.counters}
    with execution.session.begin():
        if job.audited and job.changed(counters):
            _write_audit_row(job, execution, counters)
        return ledger.finish(execution.session, execution.claim, counters=counters, errors=execution.errors)


def _state_candidates(job: Job, execution: Execution) -> None:
    """Count what every destructive step would touch, write it down, and stop if it is more than the cap.

    An operator lifts the cap for one run with an override that says who and why; it stands in the ledger.
    """
    with execution.session.begin():
        plans = [plan for step in job.steps if step.destructive for plan in _stated(step, execution)]
    over = _over_cap(execution, plans)
    if over and not execution.run.override:
        raise CapExceededError(
            f"{'; '.join(over)}. Nothing was changed. Look at a plan of the job; then raise the cap, or run it once "
            'with {"override": {"by": "your name", "reason": "why"}}'
        )
    candidates: Counter[str] = Counter()
    for plan in plans:
        candidates[plan.step] += plan.rows
    ledger.state_candidates(execution.session, execution.claim, candidates)
    execution.candidates = dict(candidates)
    execution.log("run.candidates", **candidates)


def _stated(step: Step, execution: Execution) -> list[StepPlan]:
    """The numbers of a step's plan. Where they are all that is wanted, rows are counted and no sample is drawn."""
    if not isinstance(step, RowStep):
        return step.plan(execution.session, execution.run)
    rows, of = step.candidates(execution.session, execution.run)
    return [StepPlan(step.name, step.table.fullname, step.action, rows, of)]


def _over_cap(execution: Execution, plans: list[StepPlan]) -> list[str]:
    limits: Mapping[str, int] = execution.run.parameters or {}
    most, share = limits.get(MAX_ROWS.name), limits.get(MAX_SHARE.name)
    found = []
    for plan in plans:
        if most is not None and plan.rows > most:
            found.append(f"step {plan.step} would {plan.action} {plan.rows} rows of {plan.table}; max_rows is {most}")
        if share is not None and plan.of is not None and plan.rows * 100 > share * plan.of:
            found.append(
                f"step {plan.step} would {plan.action} {plan.rows} of {plan.of} rows of {plan.table}; "
                f"max_share is {share} %"
            )
    return found


def _write_audit_row(job: Job, execution: Execution, counters: Mapping[str, int]) -> None:
    """The run's one line in the application's audit trail: counts only, no personal data."""
    from nightshift.models.audit import AuditLog  # brings half the models with it, which most starts do not need

    row = {
        "occurred_at": execution.run.now,
        "actor_type": "system",
        "action": f"job.{job.name}",
        "category": "job",
        "resource_type": "run",
        "resource_id": str(execution.run.id),
        "metadata": dict(counters),
    }
    execution.session.execute(insert(cast(Table, AuditLog.__table__)).values(row))
