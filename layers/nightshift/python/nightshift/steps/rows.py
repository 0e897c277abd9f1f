"""Steps over the rows of one table: delete, update, or only count them."""

import datetime as dt
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

from sqlalchemy import (
    ColumnElement,
    Table,
    and_,
    delete,
    func,
    select,
    true,
    update,
)
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session

from nightshift.declaration import (
    SAMPLE_SIZE,
    Age,
    Execution,
    Parameter,
    Run,
    StepPlan,
    check_age,
    fingerprint_of,
    iso,
)
from nightshift.declaration.fields import must_be, must_be_truth
from nightshift.engine import Sweep, sweep
from nightshift.errors import DeclarationError
from nightshift.steps.conditions import check_column, check_condition, check_index, check_new_values

Condition = ColumnElement[bool]
FromRun = Callable[[Run], Condition]

SHARE_APPLIES_ABOVE = 10_000
"""With fewer candidates the share of the table does not matter, so that it does not stop jobs in small databases."""


@dataclass(frozen=True, kw_only=True)
class RowStep(ABC):
    """The common part of Delete, Update and Count: a condition and an age choose rows of one table.

    model: the table.
    where: a condition, or a function of the run that returns one (it may use `run.now` and `run.ago(…)`).
    older_than: how old a row must be. Its `measured_by` is strictly before the run's now minus this age.
    measured_by: the column (or expression) that says how old a row is. It must have an index.
    through: the index or key that serves the condition, if it is not an index on `measured_by`.
    counter: the counter of the rows.
    counting: more counters, each with a condition: it counts the rows that also match the condition.

    Raises:
        DeclarationError: when the step cannot work; the message holds the remedy.
    """

    model: type[DeclarativeBase]
    counter: str
    measured_by: InstrumentedAttribute[Any] | ColumnElement[Any]
    where: Condition | FromRun | None = None
    older_than: Age | None = None
    through: str | None = None
    name: str = ""
    counting: Mapping[str, Condition] = field(default_factory=dict)

    action: ClassVar[str] = "count"
    destructive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        mapped = isinstance(self.model, type) and hasattr(self.model, "__table__")
        must_be(mapped, f"step {self.name or self.action}: model", "a mapped class", self.model)
        if not self.name:
            words = re.sub(r"[^a-z0-9]+", "-", self.table.name.lower()).strip("-")
            object.__setattr__(self, "name", f"{self.action}-{words}")
        self._check_fields(f"step {self.name}:")
        if self.where is None and self.older_than is None:
            raise DeclarationError(f"step {self.name} would touch every row of {self.table}: give where or older_than")
        check_index(f"step {self.name}", self.table, self.age, self.through)

    def _check_fields(self, where: str) -> None:
        check_column(f"{where} measured_by", self.measured_by, self.table)
        if self.where is not None and not callable(self.where):
            check_condition(f"{where} where", self.where, self.table)
        if self.older_than is not None:
            check_age(f"{where} older_than", self.older_than)
        must_be(isinstance(self.counting, Mapping), f"{where} counting", "conditions by counter", self.counting)
        for name, condition in self.counting.items():
            check_condition(f"{where} counting {name}", condition, self.table)

    @property
    def table(self) -> Table:
        return cast(Table, self.model.__table__)

    @property
    def tables(self) -> tuple[str, ...]:
        return (self.table.fullname,)

    @property
    def counters(self) -> tuple[str, ...]:
        return (self.counter, *self.counting)

    @property
    def changes(self) -> tuple[str, ...]:
        return (self.counter,)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (self.older_than,) if isinstance(self.older_than, Parameter) else ()

    @property
    def age(self) -> ColumnElement[Any]:
        measure = self.measured_by
        return measure.expression if isinstance(measure, InstrumentedAttribute) else measure

    def predicate(self, run: Run) -> Condition:
        """The condition of this run. Plan, candidates and batches use the same one."""
        conditions = []
        if self.where is not None:
            condition = self.where(run) if callable(self.where) else self.where
            check_condition(f"step {self.name}: where", condition, self.table)
            conditions.append(condition)
        if (cutoff := self.cutoff(run)) is not None:
            conditions.append(self.age < cutoff)
        return and_(true(), *conditions)

    def fingerprint(self, run: Run) -> str:
        return fingerprint_of(select(self.age).where(self.predicate(run)))

    def cutoff(self, run: Run) -> dt.datetime | None:
        return run.ago(self.older_than) if self.older_than is not None else None

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        key = self.table.primary_key.columns
        first = select(*key).where(self.predicate(run)).order_by(self.age).limit(SAMPLE_SIZE)
        sample = tuple(",".join(map(str, row)) for row in session.execute(first))
        return [replace(plan, sample=sample) for plan in self.candidates(session, run)]

    def candidates(self, session: Session, run: Run) -> list[StepPlan]:
        """How many rows match. If there are so many that the share matters, also how many rows the table has."""
        predicate, of = self.predicate(run), None
        few = select(self.age).where(predicate).limit(SHARE_APPLIES_ABOVE + 1).subquery()
        rows = session.scalar(select(func.count()).select_from(few)) or 0
        if rows > SHARE_APPLIES_ABOVE:
            both = select(func.count().filter(predicate), func.count()).select_from(self.table)
            rows, of = session.execute(both).one()
        cutoff = self.cutoff(run)
        told = iso(cutoff) if cutoff is not None else None
        return [StepPlan(self.name, self.table.fullname, self.action, rows, of, told)]

    @abstractmethod
    def apply(self, execution: Execution) -> None:
        """Do the work in batches, starting at the execution's position."""


@dataclass(frozen=True, kw_only=True)
class Delete(RowStep):
    """Delete the rows. They are counted and compared with the cap before the first one is deleted."""

    counter: str = "deleted"

    action: ClassVar[str] = "delete"
    destructive: ClassVar[bool] = True

    def apply(self, execution: Execution) -> None:
        task = Sweep(self.table, self.predicate(execution.run), self.age, delete, self.counter, self.counting)
        sweep(execution, task, at_most=execution.candidates_of(self.name))


@dataclass(frozen=True, kw_only=True)
class Update(RowStep):
    """Update the rows. The condition must exclude rows that already have the new values, so that a resumed run ends.

    set: the new values by column, or a function of the run that returns them.
    irreversible: the old values cannot be restored (anonymisation), so the rows are counted and capped first.
    """

    set: Mapping[Any, Any] | Callable[[Run], Mapping[Any, Any]]
    irreversible: bool = False

    action: ClassVar[str] = "update"

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_truth(f"step {self.name}: irreversible", self.irreversible)
        if not callable(self.set):
            check_new_values(f"step {self.name}: set", self.set, self.table)

    @property
    def destructive(self) -> bool:  # type: ignore[override]
        return self.irreversible

    def fingerprint(self, run: Run) -> str:
        return fingerprint_of(select(self.age).where(self.predicate(run)), self._statement(run)(self.table))

    def apply(self, execution: Execution) -> None:
        task = Sweep(
            self.table,
            self.predicate(execution.run),
            self.age,
            self._statement(execution.run),
            self.counter,
            self.counting,
        )
        sweep(execution, task, at_most=execution.candidates_of(self.name))

    def _statement(self, run: Run) -> Callable[[Table], Any]:
        given = self.set(run) if callable(self.set) else self.set
        check_new_values(f"step {self.name}: set", given, self.table)
        values = {column.expression.key: value for column, value in given.items()}
        return lambda table: update(table).values(values)


@dataclass(frozen=True, kw_only=True)
class Count(RowStep):
    """Count rows that the job does not change, to show the number to operators."""

    @property
    def changes(self) -> tuple[str, ...]:
        return ()

    @property
    def tables(self) -> tuple[str, ...]:
        return ()

    def apply(self, execution: Execution) -> None:
        if execution.position is not None:
            return
        with execution.batch() as batch:
            found = select(func.count()).select_from(self.table).where(self.predicate(execution.run))
            batch.count(**{self.counter: batch.session.scalar(found) or 0})
            batch.position = {"done": True}
