"""A step that does nothing, for jobs of which only the declaration counts."""

from nightshift import Execution, Function


def apply(execution: Execution) -> None:
    with execution.batch() as batch:
        batch.count(done=1)


nothing = Function(name="nothing", apply=apply, plan=lambda session, run: [], counters=("done",))
