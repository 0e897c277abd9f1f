"""A step that calls a function, for work that no other kind of step does."""

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from nightshift.declaration import Execution, Parameter, Run, StepDefaults, StepPlan
from nightshift.declaration.fields import must_be


@dataclass(frozen=True, kw_only=True)
class Function(StepDefaults):
    """`apply` does the work in `with execution.batch() as batch:` blocks. It can be interrupted before each of them.

    It starts at `execution.position` (None at the start), sets `batch.position` and counts with `batch.count(…)`.
    `plan` says what the step would do; it only reads. If the step is destructive, the plan is compared with the job's
    cap before any step starts.

    Raises:
        DeclarationError: when `apply` or `plan` is not a function.
    """

    name: str
    apply: Callable[[Execution], None]
    plan: Callable[[Session, Run], list[StepPlan]]
    counters: tuple[str, ...]
    changes: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    tables: tuple[str, ...] = ()
    destructive: bool = False

    def __post_init__(self) -> None:
        where = f"step {self.name}:"
        must_be(callable(self.apply), f"{where} apply", "a function of the execution", self.apply)
        readable = hasattr(inspect.unwrap(_whole(self.apply)), "__code__")
        must_be(readable, f"{where} apply", "a function written in Python, whose source can be read", self.apply)
        must_be(callable(self.plan), f"{where} plan", "a function of session and run", self.plan)

    def fingerprint(self, run: Run) -> str:
        """A digest of the function's source. A position that other code stored may mean something else."""
        return hashlib.sha256(inspect.getsource(_whole(self.apply)).encode()).hexdigest()[:16]


def _whole(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function inside a `functools.partial`."""
    while isinstance(function, partial):
        function = function.func
    return function
