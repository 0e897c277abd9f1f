"""What a job checks in its steps and parameters, so that it can name and count them."""

from typing import Any

from nightshift.declaration.fields import KEBAB, must_be, must_be_names, must_be_snake, must_be_truth, nearest, shown
from nightshift.declaration.parameters import Parameter
from nightshift.declaration.step import CUTOFF, UNIVERSAL_COUNTERS, Step
from nightshift.errors import DeclarationError

MEMBERS = (
    *("name", "counters", "changes", "parameters", "tables", "destructive"),
    *("fingerprint", "cutoff", "plan", "candidates", "apply"),
)
"""What every step must have: see `Step`."""


def check_step(job: str, step: Any) -> None:
    """Refuse a value that is not a step, or a step that a job cannot name and count.

    Raises:
        DeclarationError: with the remedy.
    """
    where = f"job {job}: steps must hold steps"
    if isinstance(step, type):
        raise DeclarationError(f"{where}; got {shown(step)}: write {step.__name__}(…)")
    if isinstance(step, tuple | list):
        raise DeclarationError(f"{where}; got a {type(step).__name__}: write * before it")
    missing = [member for member in MEMBERS if not hasattr(step, member)]
    if len(missing) == len(MEMBERS):
        raise DeclarationError(f"{where}; got {shown(step)}")
    if missing:
        raise DeclarationError(f"{where}; {type(step).__name__} has no {missing[0]}: see nightshift.declaration.Step")
    if not (isinstance(step.name, str) and KEBAB.fullmatch(step.name)):
        raise DeclarationError(f"job {job}: step name {step.name!r} must be kebab-case, like delete-orders")
    _check_counters(f"job {job}, step {step.name}:", step)


def _check_counters(where: str, step: Step) -> None:
    for what in ("counters", "changes", "tables"):
        must_be_names(f"{where} {what}", getattr(step, what))
    check_parameters(where, step.parameters)
    must_be_truth(f"{where} destructive", step.destructive)
    for counter in step.counters:
        must_be_snake(f"{where} counter", counter)
        if counter in (*UNIVERSAL_COUNTERS, CUTOFF):
            raise DeclarationError(f"{where} counter {counter!r} is already used by every run; choose another name")
        if step.counters.count(counter) > 1:
            raise DeclarationError(f"{where} two counters named {counter!r}; name them apart")
    for name in step.changes:
        if name not in step.counters:
            hint = nearest(name, step.counters)
            raise DeclarationError(f"{where} changes must be among its counters; got {name!r}{hint}")


def check_parameters(where: str, parameters: Any) -> None:
    """Refuse a value that is not a tuple of parameters."""
    fits = isinstance(parameters, tuple) and all(isinstance(each, Parameter) for each in parameters)
    must_be(fits, f"{where} parameters", "a tuple of parameters, like (Parameter(…),)", parameters)
