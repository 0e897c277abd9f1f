"""A step that is a function: for work that fits no other kind."""

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from nightshift.declaration import Execution, Parameter, Run, StepDefaults, StepPlan


@dataclass(frozen=True, kw_only=True)
class Function(StepDefaults):
    """`apply` does the work in `with execution.batch() as batch:` blocks; each is a point where it can be interrupted.

    It begins at `execution.position` (None at the start), sets `batch.position` and counts with `batch.count(…)`.
    `plan` says what it would do, with a session that it only reads from. What a destructive one says is checked against
    the job's cap before any step begins.
    """

    name: str
    apply: Callable[[Execution], None]
    plan: Callable[[Session, Run], list[StepPlan]]
    counters: tuple[str, ...]
    changes: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    tables: tuple[str, ...] = ()
    destructive: bool = False

    def fingerprint(self, run: Run) -> str:
        """A digest of the function's source: a position that other code earned may mean something else."""
        return hashlib.sha256(inspect.getsource(self.apply).encode()).hexdigest()[:16]
