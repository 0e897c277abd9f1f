"""What a destructive run would touch: counted, capped and written down before the first batch."""

from collections import Counter
from collections.abc import Mapping

from nightshift import ledger
from nightshift.declaration import MAX_ROWS, MAX_SHARE, Job, StepPlan
from nightshift.engine.execution import RunExecution
from nightshift.errors import CapExceededError


def state_candidates(job: Job, execution: RunExecution) -> None:
    """Count what every destructive step would touch, write it down, and stop if it is more than the cap.

    An operator may let the run go on once with just what it has counted, by a redrive that says who and why.
    """
    with execution.session.begin():
        plans = [
            plan for step in job.steps if step.destructive for plan in step.candidates(execution.session, execution.run)
        ]
    candidates: Counter[str] = Counter()
    for plan in plans:
        candidates[plan.step] += plan.rows
        for cascade in plan.cascades:
            if cascade.action == "delete":
                candidates[f"{plan.step} > {cascade.table}"] += cascade.rows
    ledger.state_candidates(execution.session, execution.claim, candidates)
    if over := over_cap(execution, plans):
        raise CapExceededError(
            f"{'; '.join(over)}. Nothing was changed. Look at a plan of the job; then raise the cap, or let this run "
            f"go on once with what it has counted: "
            f"nightshift redrive {execution.run.id} --override-cap --by … --reason …"
        )
    execution.candidates = dict(candidates)
    execution.log("run.candidates", candidates=dict(candidates))


def over_cap(execution: RunExecution, plans: list[StepPlan]) -> list[str]:
    limits: Mapping[str, int] = execution.run.parameters or {}
    most, share = limits.get(MAX_ROWS.name), limits.get(MAX_SHARE.name)
    found = []
    for plan in plans:
        if most is not None and plan.all_rows > most:
            also = f" and {plan.all_rows - plan.rows} that go or change with them" if plan.cascades else ""
            found.append(
                f"step {plan.step} would {plan.action} {plan.rows} rows of {plan.table}{also}; max_rows is {most}"
            )
        parts = [(plan.action, plan.rows, plan.of, plan.table)]
        parts += [(each.action, each.rows, each.of, each.table) for each in plan.cascades]
        for action, rows, of, table in parts:
            if share is not None and of is not None and rows * 100 > share * of:
                found.append(f"step {plan.step} would {action} {rows} of {of} rows of {table}; max_share is {share} %")
    return found
