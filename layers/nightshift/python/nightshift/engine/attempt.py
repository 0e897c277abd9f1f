"""Carries out a claimed run: plans it, or counts its candidates, does its steps in order, and settles it."""

from nightshift import ledger
from nightshift.declaration import Job, this_project
from nightshift.engine.candidates import over_cap, state_candidates
from nightshift.engine.execution import RunExecution
from nightshift.ledger import Standing


def carry_out(job: Job, execution: RunExecution) -> Standing:
    """Do what the run asks for and settle it as succeeded or planned.

    Raises:
        Interrupted: out of time; the caller gives the run back.
        Fenced: another attempt has taken the run over.
        CapExceededError: the run would destroy more than its cap allows; nothing was changed.
    """
    execution.session.rollback()
    return _plan(job, execution) if execution.run.mode == "plan" else _apply(job, execution)


def _plan(job: Job, execution: RunExecution) -> Standing:
    with execution.session.begin():
        plans = [plan for step in job.steps for plan in step.plan(execution.session, execution.run)]
    counters = dict.fromkeys(job.counters, 0)
    with execution.session.begin():
        plan = {"steps": [plan.as_json() for plan in plans], "over_cap": over_cap(execution, plans)}
        return ledger.finish(execution.session, execution.claim, counters=counters, plan=plan)


def _apply(job: Job, execution: RunExecution) -> Standing:
    if job.destructive and execution.candidates is None:
        state_candidates(job, execution)
    names = [step.name for step in job.steps]
    reached = names.index(execution.claim.step) if execution.claim.step in names else 0
    for step in job.steps[reached:]:
        execution.enter(step.name, step.fingerprint(execution.run))
        step.apply(execution)
    counters = {name: execution.counters[name] for name in job.counters}
    with execution.session.begin():
        trail = this_project().trail() if job.audited and job.changed(counters) else None
        if trail is not None:
            trail.line(execution.session, execution.run, job.name, counters)
        return ledger.finish(execution.session, execution.claim, counters=counters, errors=execution.errors)
