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


@dataclass
class Batch:
    """One transaction of a run. What is noted here is committed with the effects, or not at all."""

    session: Session
    position: Mapping[str, Any] | None
    counts: Counter[str] = field(default_factory=Counter)
    quarantined: list[tuple[str, str]] = field(default_factory=list)

    def count(self, **counts: int) -> None:
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

    def stated(self, step: str) -> dict[str, int]:
        """What a destructive step has stated that it will touch: its own rows under its name, and under `name > table`
        the rows that go with them there. Empty where nothing was stated."""

    def stop_if_late(self) -> None:
        """For steps that do something outside the database before a batch, which no rollback takes back.

        Raises:
            Interrupted: the batch behind it would not begin any more.
            Fenced: another attempt has taken the run over; it would be a zombie's deed.
        """

    def batch(
        self, *, snapshot: bool = False, may_be_lost: bool = False, lock_seconds: float | None = None
    ) -> AbstractContextManager[Batch]:
        """One transaction, with the run's cursor and counters written at its end.

        snapshot: every statement sees the database as the first one did (REPEATABLE READ), for work whose statements
            must fit together. A row that somebody else changes meanwhile then makes the attempt fail.
        may_be_lost: do not wait until the commit is on the disk. Should the server crash in that moment, effects and
            cursor are lost together, so the run goes on from the batch before; its end is always waited for. Not for
            batches that also do something outside the database.
        lock_seconds: how long a statement waits for a lock; by default ten seconds.

        Raises:
            Interrupted: the deadline is near. The first batch of an attempt is always tried, so that every attempt
                makes progress.
            Fenced: another attempt has taken the run over; the transaction is rolled back.
            ErrorBudgetExceededError: too many items have been quarantined; this batch is committed.
        """


SAMPLE_SIZE = 5


class Cascaded(Protocol):
    """What a deletion takes with it in one table; see `nightshift.catalogue.Cascade`."""

    @property
    def table(self) -> str: ...

    @property
    def action(self) -> str: ...

    @property
    def rows(self) -> int: ...

    @property
    def of(self) -> int | None: ...

    def as_json(self) -> dict[str, Any]: ...


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
    cascades: tuple["Cascaded", ...] = ()
    """What goes, or changes, in other tables because these rows go."""
    referenced: int = 0
    """Rows that are old enough and stay, because others refer to them."""
    way: str | None = None
    """How batches go through the table: heap, range or keys."""
    bytes: int | None = None
    """What the rows take, about, as the table's own size says."""
    missing: tuple[str, ...] = ()
    """What would make it fast, as SQL that makes it."""

    @property
    def all_rows(self) -> int:
        """With everything that goes or changes by cascade: what the cap on rows is held against."""
        return self.rows + sum(each.rows for each in self.cascades)

    def as_json(self) -> dict[str, Any]:
        told = {key: value for key, value in vars(self).items() if value is not None and value not in ((), 0)}
        told |= {"rows": self.rows, "sample": list(self.sample)}
        if self.cascades:
            told["cascades"] = [each.as_json() for each in self.cascades]
        if self.missing:
            told["missing"] = list(self.missing)
        return told


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
    return f"{instant:%Y-%m-%dT%H:%M:%S}" + (f".{instant:%f}" if instant.microsecond else "") + "Z"
