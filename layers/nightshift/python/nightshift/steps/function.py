"""A step that is a function: for work that fits no other kind."""

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
    """`apply` does the work in `with execution.batch() as batch:` blocks; each is a point where it can be interrupted.

    It begins at `execution.position` (None at the start), sets `batch.position` and counts with `batch.count(…)`.
    `plan` says what it would do, with a session that it only reads from. What a destructive one says is checked against
    the job's cap before any step begins.

    Raises:
        DeclarationError: when one of the two is no function.
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
        """A digest of the function's source: a position that other code earned may mean something else."""
        return hashlib.sha256(inspect.getsource(_whole(self.apply)).encode()).hexdigest()[:16]


def _whole(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function behind one that was given some of its arguments."""
    while isinstance(function, partial):
        function = function.func
    return function
