"""The contract of every kind of step: named work that can be planned, done in batches, and resumed."""

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Mapping, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ClauseElement

from nightshift.deadline import Deadline
from nightshift.declaration.parameters import Parameter
from nightshift.declaration.partitions import GoingPartition, StayingPartition
from nightshift.declaration.run import Run
from nightshift.errors import printable

BATCHES = "batches"
QUARANTINED = "quarantined"
UNIVERSAL_COUNTERS = (BATCHES, QUARANTINED)
CUTOFF = "cutoff"
"""A run's result shows the cut-off under this name, among the counters."""


@dataclass
class Batch:
    """One transaction of a run. Position, counts and quarantine are committed with the effects, or not at all."""

    session: Session
    position: Mapping[str, Any] | None
    counts: Counter[str] = field(default_factory=Counter)
    quarantined: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, /, **counts: int) -> None:
        """Add to counters by name: `batch.count(deleted=3)`."""
        self.counts.update(counts)

    def quarantine(self, item: str, error: str) -> None:
        """Leave an item unchanged and continue. `item` is its table and key. Neither text contains personal data.

        Both are kept as `nightshift.errors.printable` makes them: in one line, 2 kB at most.
        """
        self.quarantined.append((printable(item), printable(error)))
        self.counts[QUARANTINED] += 1

    def note(self, words: str) -> None:
        """Something that whoever looks at the run should read, in one line. No personal data."""
        self.notes.append(printable(words))

    def leave_locked(self, words: str, items: int = 1) -> None:
        """Leave items to the next run that somebody else has locked: nobody's failure. `words` say so, as a note."""
        self.count(locked=items)
        self.note(words)


class EventLog(Protocol):
    """The log of the run: an event has a stable key such as `batch.committed`, and fields. No personal data."""

    def __call__(self, event: str, /, **fields: Any) -> None: ...


class Resources(Protocol):
    """What a step can use besides the database, if its job declares the need. See `nightshift.store`."""

    @property
    def files(self) -> Any:
        """The file store: `nightshift.store.FileStore`."""

    @property
    def keys(self) -> Any:
        """The key that opens the data keys: `nightshift.store.KeyService`."""

    @property
    def snapshots(self) -> Any:
        """The database's snapshots: `nightshift.store.Snapshots`, or None if the database is not on RDS."""


class Execution(Protocol):
    """One attempt at a run, as a step sees it."""

    session: Session
    position: Mapping[str, Any] | None
    """The step's place in the run's cursor: what the last batch stored, or None at the start."""
    last_batch_seconds: float
    counters: Counter[str]
    """The run's counters after the last batch."""

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

    def stated_partitions(self, step: str) -> dict[str, int]:
        """The partitions that a step has stated it will take away as a whole, and the most rows each may have."""

    @property
    def batch_seconds(self) -> float:
        """What the next batch should take: less while others are at work."""

    def at_most(self, size: int, rows_each: float = 1.0, *, least: int = 1) -> int:
        """Ask this in a batch that does as much as one wants: how large it may be, at most `size`, as an operator has
        it now. rows_each: how many rows a unit of that size is about."""

    def stop_if_late(self) -> None:
        """Call this before a step does something outside the database, which no rollback can undo.

        Raises:
            Interrupted: there is no time left for the batch that follows.
            Fenced: another attempt has taken over the run.
        """

    def batch(
        self,
        *,
        snapshot: bool = False,
        may_be_lost: bool = False,
        lock_seconds: float | None = None,
        watched: bool = False,
    ) -> AbstractContextManager[Batch]:
        """One transaction. It writes the run's cursor and counters at its end.

        snapshot: every statement sees the database as the first one did (REPEATABLE READ), for statements whose
            results must agree. The attempt then fails if somebody else changes one of its rows in the meantime.
        may_be_lost: one of many short batches. Do not wait until the commit is on disk: if the server crashes at that
            moment, effects and cursor are lost together, and the run continues from the batch before. The run's end
            always waits for the disk. Between two of them the run is held for 90 seconds only, so that a dead attempt
            costs little. Not for batches that also do something outside the database.
        lock_seconds: how long a statement waits for a lock; by default ten seconds.
        watched: the step itself compares all that the transaction deletes with its plan. Otherwise that is done here.

        Raises:
            PassedPlanError: the application's rows were deleted, and not by plan; the transaction is rolled back.
            Interrupted: the deadline is near. The first batch of an attempt is always tried, so that every attempt
                makes progress.
            Fenced: another attempt has taken over the run; the transaction is rolled back.
            ErrorBudgetExceededError: too many items are in quarantine; this batch is committed.
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
    """What a step would do: how many rows of which table, the cut-off, and the keys of some of them."""

    step: str
    table: str
    action: str
    rows: int
    of: int | None = None
    """How many rows the table has, if the share matters."""
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
    about: int | None = None
    """How many rows the table has by the planner's estimate, where they were not counted."""
    youngest: str | None = None
    """The latest time in the age column of these rows, as the database writes it."""
    partitions: tuple[GoingPartition, ...] = ()
    """Partitions that go as a whole. Their rows are among `rows`."""
    staying: tuple[StayingPartition, ...] = ()
    """Partitions that are old enough and cannot go as a whole."""
    notes: tuple[str, ...] = ()
    """What else there is to know, in words."""

    @property
    def row_by_row(self) -> int:
        """The rows that do not go with a partition."""
        return self.rows - sum(each.rows for each in self.partitions)

    @property
    def all_rows(self) -> int:
        """With everything that goes or changes by cascade: what the cap on rows is held against."""
        return self.rows + sum(each.rows for each in self.cascades)

    def as_json(self) -> dict[str, Any]:
        told = {key: value for key, value in vars(self).items() if value not in (None, (), 0)}
        told |= {"rows": self.rows, "sample": list(self.sample)}
        if self.cascades:
            told["cascades"] = [each.as_json() for each in self.cascades]
        for name in ("partitions", "staying"):
            if some := getattr(self, name):
                told[name] = [each.as_json() for each in some]
        for name in ("missing", "notes"):
            if some := getattr(self, name):
                told[name] = list(some)
        return told


class Step(Protocol):
    """One step of a job. Every kind of step is a dataclass with these members."""

    @property
    def name(self) -> str:
        """Kebab-case, and unique in its job. It is part of the cursor."""

    @property
    def counters(self) -> tuple[str, ...]:
        """The counters that the step adds to, in snake_case and in display order."""

    @property
    def changes(self) -> tuple[str, ...]:
        """The counters that count changed rows."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The job parameters that the step declares."""

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that the step writes."""

    @property
    def destructive(self) -> bool:
        """Whether the step does something that cannot be undone. It is then counted and capped first."""

    def fingerprint(self, run: Run) -> str:
        """A digest that changes with the step's query. A cursor of another query is refused."""

    def cutoff(self, run: Run) -> dt.datetime | None:
        """The instant before which rows are old enough, in UTC. None if age does not matter."""

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        """What the step would do. It only reads."""

    def candidates(self, session: Session, run: Run) -> list[StepPlan]:
        """The numbers of the plan, without a sample. The caps of a destructive step are compared with them."""

    def write_down(self, session: Session, run: Run, emptied: Set[str]) -> None:
        """Write down which rows the candidates are, where the step's condition would mean others once rows of these
        tables are gone. Earlier steps of the run delete them. In the transaction that counts."""

    def apply(self, execution: Execution) -> None:
        """Do the work in batches, starting at the execution's position."""


class StepDefaults:
    """The defaults of most kinds of step: age does not matter, and the caps are compared with the plan itself."""

    def cutoff(self, run: Run) -> dt.datetime | None:
        return None

    def candidates(self: Step, session: Session, run: Run) -> list[StepPlan]:
        return self.plan(session, run)

    def write_down(self, session: Session, run: Run, emptied: Set[str]) -> None:
        """Nothing: the step names its rows itself."""


def fingerprint_of(*clauses: ClauseElement) -> str:
    """A digest of the statements' SQL text. The values are left out, because they are frozen on the run."""
    text = "\n".join(str(clause.compile(dialect=postgresql.dialect())) for clause in clauses)  # type: ignore[no-untyped-call]
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def iso(instant: Any) -> str:
    """A UTC instant as results show it: ISO 8601 with Z. One that Python cannot hold is a text, and stays it."""
    if isinstance(instant, str):
        return instant
    return f"{instant.replace(tzinfo=None).isoformat()}Z"
