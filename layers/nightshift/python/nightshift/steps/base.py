"""What every kind of step is: a named piece of work that can be planned, applied in batches, and resumed."""

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ClauseElement

from nightshift.execution import Execution
from nightshift.parameters import Parameter
from nightshift.run import Run

SAMPLE_SIZE = 5


@dataclass(frozen=True)
class StepPlan:
    """What a step would do: how many rows of which table, the cut-off, and the keys of a few of them."""

    step: str
    table: str
    action: str
    rows: int
    of: int | None = None
    """The table's rows, where the share matters."""
    cutoff: str | None = None
    sample: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if value is not None} | {"sample": list(self.sample)}


class Step(Protocol):
    """One step of a job. Kinds of step are dataclasses that fit this."""

    @property
    def name(self) -> str:
        """Unique in its job; part of the cursor."""

    @property
    def counters(self) -> tuple[str, ...]:
        """The counters that the step adds to, in the order in which they are shown."""

    @property
    def changes(self) -> tuple[str, ...]:
        """Those of the counters that count rows which were changed."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The job parameters that the step itself declares."""

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that the step writes."""

    @property
    def destructive(self) -> bool:
        """Whether what it does cannot be undone, so that it is counted and capped first."""

    def fingerprint(self, run: Run) -> str:
        """Changes with the step's query: a cursor that another query earned is refused."""

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        """What the step would do. Reads only."""

    def apply(self, execution: Execution) -> None:
        """Do it, in batches, from the execution's position on."""


def fingerprint_of(*clauses: ClauseElement) -> str:
    """A digest of the statements' SQL text without their values: those are frozen on the run."""
    text = "\n".join(str(clause.compile(dialect=postgresql.dialect())) for clause in clauses)  # type: ignore[no-untyped-call]
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def iso(instant: Any) -> str:
    """An instant as results show it: ISO 8601 in UTC with Z."""
    return f"{instant:%Y-%m-%dT%H:%M:%S}" + (f".{instant:%f}" if instant.microsecond else "") + "Z"
