"""A step that corrects a stored figure, only in the rows where it differs from the computed one."""

import uuid
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from sqlalchemy import ColumnElement, Select, Table, delete, func, insert, literal, literal_column, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session

from nightshift.database import describe, is_passing, is_row_error
from nightshift.declaration import SAMPLE_SIZE, Batch, Execution, Parameter, Run, StepDefaults, StepPlan, fingerprint_of
from nightshift.declaration.fields import must_be
from nightshift.engine import paced
from nightshift.engine.sweeping import PASSING_ERRORS_IN_A_ROW
from nightshift.steps.conditions import check_column, check_condition
from nightshift.steps.tables import Difference

SMALLEST, FIRST, LARGEST = 1, 2_000, 100_000


@dataclass(frozen=True, kw_only=True)
class Recompute(StepDefaults):
    """Compute all figures once, list the rows that differ, then correct them in short transactions.

    One statement that only reads computes the figures: a database aggregates everything at once much faster than part
    by part. The rows that differ are listed in `nightshift.differences`, in the order in which they lie in their table.
    If a figure has changed since it was listed, its row is left alone: the newer value is more likely to be right.

    name: unique among the Recompute steps of all jobs.
    model: the table. Its primary key is one uuid.
    column: the stored figure, a whole number.
    to: a query with the columns `key` and `value`. A row without such a key has the figure 0.
    where: which rows have a figure at all.
    seen: the counter of all rows. counter: of the changed rows. total: the sum of all changes, without signs.
    failed: the counter of rows that could not be changed. They are in quarantine.

    Raises:
        DeclarationError: when the step cannot work; the message holds the remedy.
    """

    name: str
    model: type[DeclarativeBase]
    column: InstrumentedAttribute[int]
    to: Select[uuid.UUID, int]
    where: ColumnElement[bool]
    seen: str = "seen"
    counter: str = "changed"
    total: str = "total_change"
    failed: str = "failed"

    parameters: ClassVar[tuple[Parameter, ...]] = ()
    destructive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        where = f"step {self.name}:"
        key = isinstance(self.model, type) and len(self.model.__mapper__.primary_key) == 1
        must_be(key, f"{where} model", "a mapped class with one column as its key", self.model)
        check_column(f"{where} column", self.column, self.table)
        query = isinstance(self.to, Select) and {"key", "value"} <= set(self.to.selected_columns.keys())
        must_be(query, f"{where} to", "a query with the columns key and value", self.to)
        check_condition(f"{where} where", self.where, self.table)

    @property
    def table(self) -> Table:
        return cast(Table, self.model.__table__)

    @property
    def tables(self) -> tuple[str, ...]:
        return (self.table.fullname,)

    @property
    def counters(self) -> tuple[str, ...]:
        return (self.seen, self.counter, self.failed, self.total)

    @property
    def changes(self) -> tuple[str, ...]:
        return (self.counter,)

    def fingerprint(self, run: Run) -> str:
        return fingerprint_of(self._differing())

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        differing = self._differing().subquery()
        rows = session.scalar(select(func.count()).select_from(differing)) or 0
        sample = session.scalars(select(differing.c.key).order_by(differing.c.key).limit(SAMPLE_SIZE))
        return [StepPlan(self.name, self.table.fullname, "update", rows, sample=tuple(map(str, sample)))]

    def apply(self, execution: Execution) -> None:
        if execution.position is None:
            with execution.batch() as batch:
                batch.count(**{self.seen: self._rows(batch.session)})
                batch.position = {"after": 0, "last": self._note_differences(batch.session)}
        size, passing = FIRST, 0
        while (place := execution.position or {}) and place["after"] < place["last"]:
            try:
                with execution.batch() as batch:
                    self._write(batch, place, size)
            except DBAPIError as error:
                if is_passing(error) and passing < PASSING_ERRORS_IN_A_ROW:
                    passing += 1
                    size = max(SMALLEST, size // 4)
                elif is_row_error(error) and size > SMALLEST:
                    size //= 2
                elif is_row_error(error):
                    self._quarantine(execution, place, error)
                else:
                    raise
            else:
                passing = 0
                size = paced(size, execution.last_batch_seconds, SMALLEST, LARGEST)
        if execution.position != {"after": 0, "last": 0}:
            with execution.batch() as batch:
                batch.session.execute(delete(Difference).where(Difference.step == self.name))
                batch.position = {"after": 0, "last": 0}

    @property
    def _key(self) -> ColumnElement[Any]:
        (key,) = self.table.primary_key.columns
        return key

    def _differing(self) -> Select[Any]:
        """The rows to change, numbered in the order in which they lie in the table."""
        computed = self.to.subquery()
        value = func.coalesce(computed.c.value, 0)
        number = func.row_number().over(order_by=literal_column(f"{self.table.name}.ctid"))
        return (
            select(
                number.label("position"),
                self._key.label("key"),
                self.column.label("found"),
                value.label("computed"),
            )
            .select_from(self.table.outerjoin(computed, computed.c.key == self._key))
            .where(self.where, self.column != value)
        )

    def _rows(self, session: Session) -> int:
        return session.scalar(select(func.count()).select_from(self.table).where(self.where)) or 0

    def _note_differences(self, session: Session) -> int:
        """Write the list again from the start. Returns its length."""
        session.execute(delete(Difference).where(Difference.step == self.name))
        differing = self._differing().subquery()
        noted = insert(Difference).from_select(
            ["step", "position", "key", "found", "computed"], select(literal(self.name), *differing.c)
        )
        return cast(int, session.execute(noted).rowcount)  # type: ignore[attr-defined]

    def _write(self, batch: Batch, place: Any, size: int) -> None:
        upto = min(place["last"], place["after"] + size)
        # The rows are found by key. The list has no statistics, so the planner would prefer to read whole tables.
        batch.session.execute(
            select(*(func.set_config(f"enable_{join}", "off", True) for join in ("hashjoin", "mergejoin")))
        )
        changed = (
            update(self.table)
            .values({self.column.key: Difference.computed})
            .where(
                Difference.step == self.name,
                Difference.position > place["after"],
                Difference.position <= upto,
                self._key == Difference.key,
                self.column == Difference.found,
                self.where,
            )
            .returning(func.abs(Difference.computed - Difference.found).label("change"))
            .cte("changed")
        )
        written = select(func.count(), func.coalesce(func.sum(changed.c.change), 0)).select_from(changed)
        rows, total = batch.session.execute(written).one()
        batch.count(**{self.counter: rows, self.total: int(total)})
        batch.position = {**place, "after": upto}

    def _quarantine(self, execution: Execution, place: Any, error: DBAPIError) -> None:
        """Leave the next row of the list unchanged, and record why."""
        this = (Difference.step == self.name) & (Difference.position == place["after"] + 1)
        with execution.batch() as batch:
            key = batch.session.scalar(select(Difference.key).where(this))
            batch.quarantine(f"{self.table.fullname}:{key}", describe(error))
            batch.count(**{self.failed: 1})
            batch.position = {**place, "after": place["after"] + 1}
