"""What a destructive run would touch: counted, capped and written down before the first batch."""

from collections import Counter
from collections.abc import Mapping

from nightshift import ledger
from nightshift.declaration import MAX_ROWS, MAX_SHARE, Job, StepPlan
from nightshift.engine.execution import RunExecution
from nightshift.errors import CapExceededError


def state_candidates(job: Job, execution: RunExecution) -> None:
    """Count what every destructive step would touch, write it down, and stop if it is more than the cap.

    An operator lifts the cap for one run with an override that says who and why; it stands in the ledger.
    """
    with execution.session.begin():
        plans = [
            plan for step in job.steps if step.destructive for plan in step.candidates(execution.session, execution.run)
        ]
    over = over_cap(execution, plans)
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
    execution.log("run.candidates", candidates=dict(candidates))


def over_cap(execution: RunExecution, plans: list[StepPlan]) -> list[str]:
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
