"""What every kind of step is: a named piece of work that can be planned, applied in batches, and resumed."""

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ClauseElement

from nightshift.deadline import Deadline
from nightshift.declaration.parameters import Parameter
from nightshift.declaration.run import Run

BATCHES = "batches"
QUARANTINED = "quarantined"
UNIVERSAL_COUNTERS = (BATCHES, QUARANTINED)
CUTOFF = "cutoff"
"""Stands beside the counters in a run's result."""


@dataclass
class Batch:
    """One transaction of a run. What is noted here is committed with the effects, or not at all."""

    session: Session
    position: Mapping[str, Any] | None
    counts: Counter[str] = field(default_factory=Counter)
    quarantined: list[tuple[str, str]] = field(default_factory=list)

    def count(self, /, **counts: int) -> None:
        """Add to counters by name: `batch.count(deleted=3)`."""
        self.counts.update(counts)

    def quarantine(self, item: str, error: str) -> None:
        """Leave an item as it is and go on. `item` names it by table and key; neither text holds its content."""
        self.quarantined.append((item, error))
        self.counts[QUARANTINED] += 1


class EventLog(Protocol):
    """Where events go: a stable key such as `batch.committed`, then fields. No personal data."""

    def __call__(self, event: str, /, **fields: Any) -> None: ...


class Resources(Protocol):
    """What a step reaches besides the database, where its job declares that it needs it. See `nightshift.store`."""

    @property
    def files(self) -> Any:
        """The file store: `nightshift.store.FileStore`."""

    @property
    def keys(self) -> Any:
        """The key that opens the data keys: `nightshift.store.KeyService`."""

    @property
    def snapshots(self) -> Any:
        """Those of the database, where it is one of RDS: `nightshift.store.Snapshots`, or None."""


class Execution(Protocol):
    """What a step works with: one attempt at a run."""

    session: Session
    position: Mapping[str, Any] | None
    """The step's place in the run's cursor: what the last batch left there, and None at the start."""
    last_batch_seconds: float
    counters: Counter[str]
    """The run's counters up to the last batch."""

    @property
    def run(self) -> Run:
        """The run's frozen facts."""

    @property
    def resources(self) -> Resources: ...

    @property
    def log(self) -> EventLog: ...

    @property
    def deadline(self) -> Deadline: ...

    def candidates_of(self, step: str) -> int | None:
        """How many rows a destructive step has stated that it will touch."""

    def stop_if_late(self) -> None:
        """For steps that do something outside the database before a batch, which no rollback takes back.

        Raises:
            Interrupted: the batch behind it would not begin any more.
            Fenced: another attempt has taken the run over; it would be a zombie's deed.
        """

    def batch(self, *, snapshot: bool = False, may_be_lost: bool = False) -> AbstractContextManager[Batch]:
        """One transaction, with the run's cursor and counters written at its end.

        snapshot: every statement sees the database as the first one did (REPEATABLE READ), for work whose statements
            must fit together. A row that somebody else changes meanwhile then makes the attempt fail.
        may_be_lost: do not wait until the commit is on the disk. Should the server crash in that moment, effects and
            cursor are lost together, so the run goes on from the batch before; its end is always waited for. Not for
            batches that also do something outside the database.

        Raises:
            Interrupted: the deadline is near. The first batch of an attempt is always tried, so that every attempt
                makes progress.
            Fenced: another attempt has taken the run over; the transaction is rolled back.
            ErrorBudgetExceededError: too many items have been quarantined; this batch is committed.
        """


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
        """Kebab-case, and unique in its job; part of the cursor."""

    @property
    def counters(self) -> tuple[str, ...]:
        """The counters that the step adds to, in snake_case, in the order in which they are shown."""

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

    def cutoff(self, run: Run) -> dt.datetime | None:
        """The instant before which its rows are old enough, in UTC; None where no age decides."""

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        """What the step would do. Reads only."""

    def candidates(self, session: Session, run: Run) -> list[StepPlan]:
        """The numbers of its plan, without a sample: what the caps of a destructive step are held against."""

    def apply(self, execution: Execution) -> None:
        """Do it, in batches, from the execution's position on."""


class StepDefaults:
    """What most kinds of step answer: no age decides, and the caps are held against the plan itself."""

    def cutoff(self, run: Run) -> dt.datetime | None:
        return None

    def candidates(self: Step, session: Session, run: Run) -> list[StepPlan]:
        return self.plan(session, run)


def fingerprint_of(*clauses: ClauseElement) -> str:
    """A digest of the statements' SQL text without their values: those are frozen on the run."""
    text = "\n".join(str(clause.compile(dialect=postgresql.dialect())) for clause in clauses)  # type: ignore[no-untyped-call]
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def iso(instant: Any) -> str:
    """An instant as results show it: ISO 8601 in UTC with Z."""
    return f"{instant.replace(tzinfo=None).isoformat()}Z"
