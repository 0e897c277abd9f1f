"""A step that corrects a stored figure, only in the rows where it differs from the computed one."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Numeric,
    Select,
    Table,
    Text,
    TextClause,
    and_,
    any_,
    bindparam,
    cast as as_type,
    column as named,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.types import NullType

from nightshift.catalogue import TableError
from nightshift.catalogue.ages import SqlType
from nightshift.catalogue.table import Column
from nightshift.database import by_halves, describe, is_locked, is_passing, is_row_error
from nightshift.database.quoting import quoted
from nightshift.declaration import SAMPLE_SIZE, Batch, Execution, Parameter, Run, StepDefaults, StepPlan, fingerprint_of
from nightshift.declaration.fields import must_be
from nightshift.engine import CAREFUL, Subject, carefully, left_out, paced
from nightshift.engine.odd_rows import MOST_ODD
from nightshift.engine.sweeping import LOCK_SECONDS, LOCKED, PASSING_ERRORS_IN_A_ROW, ROW_LOCK_MILLISECONDS
from nightshift.errors import PermanentError
from nightshift.steps.conditions import check_column
from nightshift.steps.count import Count
from nightshift.steps.rows import FromRun, TableLike
from nightshift.steps.tables import Difference

if TYPE_CHECKING:
    from nightshift.engine.checking import Finding

SMALLEST, FIRST, LARGEST = 1, 2_000, 100_000

VALUE = "value"
KEY = "key"
"""The column of `to` that may stand for the key where that is one column."""

LARGEST_CHANGE = 10**18
"""A change of so much, without end, or to or from what is no number, is left out of the sum of all changes."""

WHAT_TOTAL_LACKS = "{total}: changes of 10^18 and more, and of figures that are no number, are left out of the sum"

SCALES = {"int2": 0, "int4": 0, "int8": 0}
"""Digits after the point, by type. Of `numeric` the column says it."""

Query = Select[*tuple[Any, ...]] | Callable[[Run], Select[*tuple[Any, ...]]] | str


@dataclass(frozen=True, kw_only=True)
class Recompute(StepDefaults):
    """Compute all figures once, list the rows that differ, then correct them in short transactions.

    One statement that only reads computes the figures: a database aggregates everything at once much faster than part
    by part. The rows that differ are listed in `nightshift.differences`, in the order in which they lie in their table.
    If a figure has changed since it was listed, its row is left alone: the newer value is more likely to be right.

    name: unique among the Recompute steps of all jobs.
    target: the table, with a key of any columns: a mapped class, a SQLAlchemy Table, or its name.
    column: the stored figure, an integer or a `numeric`; a name will do.
    to: a query, a function of the run that gives one, or SQL, whose `:names` are bound to `values`. It gives each row's
        key, in columns named as in the table (`key` will do where it is one), and its figure as `value`, at most once a
        row. A row without one has the figure 0.
    where: which rows have a figure at all; see `Delete`. Without it, all have.
    seen: the counter of all rows. counter: of the changed rows. total: the sum of all changes, without signs, in whole
        units. failed: the counter of rows that could not be changed. They are in quarantine.
    visible_rows, sample_keys: see `Delete`.
    """

    target: TableLike = field(kw_only=False)
    name: str
    column: InstrumentedAttribute[Any] | str
    to: Query
    where: ColumnElement[bool] | FromRun | str = "true"
    values: Mapping[str, Any] = field(default_factory=dict)
    seen: str = "seen"
    counter: str = "changed"
    total: str = "total_change"
    failed: str = "failed"
    visible_rows: bool = False
    sample_keys: bool = False

    parameters: ClassVar[tuple[Parameter, ...]] = ()
    destructive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        where = f"step {self.name}:"
        must_be(self.where is not None, f"{where} where", "a condition, or left out for all rows", self.where)
        if self._rows.table is not None:
            check_column(f"{where} column", self.column, self._rows.table)
        query = isinstance(self.to, str) or callable(self.to)
        if isinstance(self.to, Select):
            query = VALUE in self.to.selected_columns
        must_be(query, f"{where} to", f"a query with the columns {KEY} and {VALUE}", self.to)

    @cached_property
    def _rows(self) -> Count:
        """The step over rows that knows which of the table are meant."""
        return Count(
            self.target,
            name=self.name,
            counter=self.counter,
            where=self.where,
            values=_of_text(self.where, self.values) if isinstance(self.where, str) else {},
            visible_rows=self.visible_rows,
            sample_keys=self.sample_keys,
        )

    @property
    def tables(self) -> tuple[str, ...]:
        return (self._rows.table_name,)

    @property
    def counters(self) -> tuple[str, ...]:
        return (self.seen, self.counter, self.failed, self.total)

    @property
    def changes(self) -> tuple[str, ...]:
        return (self.counter,)

    def fingerprint(self, run: Run) -> str:
        figures = f"{self._rows.fingerprint(run)} {self._column_name}"
        return fingerprint_of(text(figures.replace(":", r"\:")), self._query(run))

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        figures = self._figures(session, run)
        differing = figures.differing().subquery()
        rows = session.scalar(select(func.count()).select_from(differing)) or 0
        sample: tuple[str, ...] = ()
        if figures.keys_shown:
            found = session.scalars(select(differing.c.key).order_by(differing.c.position).limit(SAMPLE_SIZE))
            sample = tuple(",".join(key) for key in found)
        return [StepPlan(self.name, figures.subject.facts.fullname, "update", rows, sample=sample)]

    def check(self, session: Session, run: Run) -> "list[Finding]":
        """What the step will meet in the live database. Only a check imports what does it."""
        from nightshift.steps.checking import check_figures

        return list(check_figures(self._rows, session, run, self._column_name, self.explained))

    def explained(self, session: Session, run: Run) -> Any:
        """The statement that finds what differs, for the planner to look at.

        Raises:
            TableError: the table, the column or the query is not what the step needs.
        """
        return self._figures(session, run).differing()

    def apply(self, execution: Execution) -> None:
        with execution.session.begin():
            figures = self._figures(execution.session, execution.run)
        if execution.position is None:
            try:
                self._list(execution, figures)
            except DBAPIError as error:
                if not is_row_error(error):
                    raise
                figures = self._list_the_sound(execution)
        size, passing, patience = FIRST, 0, LOCK_SECONDS
        while (place := execution.position or {}) and place["after"] < place["last"]:
            try:
                with execution.batch(lock_seconds=patience) as batch:
                    self._write(batch, place, execution.at_most(size), figures)
            except DBAPIError as error:
                if is_locked(error):
                    patience = ROW_LOCK_MILLISECONDS / 1000
                    if size <= SMALLEST:
                        self._leave_locked(execution, place)
                    size = max(SMALLEST, size // 4)
                elif is_passing(error) and passing < PASSING_ERRORS_IN_A_ROW:
                    passing += 1
                    size = max(SMALLEST, size // 4)
                elif is_row_error(error) and size > SMALLEST:
                    size //= 2
                elif is_row_error(error):
                    self._quarantine(execution, figures, place, error)
                else:
                    raise
            else:
                passing = 0
                size = paced(size, execution.last_batch_seconds, SMALLEST, LARGEST, execution.batch_seconds)
        if execution.position != {"after": 0, "last": 0}:
            with execution.batch() as batch:
                batch.session.execute(delete(Difference).where(Difference.step == self.name))
                batch.position = {"after": 0, "last": 0}

    def _list(self, execution: Execution, figures: "_Figures") -> None:
        odd = figures.subject.odd
        with execution.batch() as batch:
            figures.subject.prepare(batch.session)
            for name, error in odd:
                batch.quarantine(name, error)
            batch.count(**{self.seen: figures.subject.count(batch.session) + len(odd), self.failed: len(odd)})
            batch.position = {"after": 0, "last": self._note_differences(batch.session, figures)}

    def _list_the_sound(self, execution: Execution) -> "_Figures":
        """The same, without the rows over which the condition fails, or whose figures cannot be computed."""
        with execution.session.begin(), carefully(execution.session):
            figures = self._figures(execution.session, execution.run)
        self._list(execution, figures)
        return figures

    @property
    def _column_name(self) -> str:
        return self.column if isinstance(self.column, str) else cast(str, self.column.expression.name)

    def _query(self, run: Run) -> Select[Any] | TextClause:
        if isinstance(self.to, str):
            return self._bound(self.to)
        return self.to if isinstance(self.to, Select) else self.to(run)

    def _bound(self, sql: str) -> TextClause:
        bound = _of_text(sql, self.values)
        return text(sql).bindparams(*(bindparam(name, value, NullType()) for name, value in bound.items()))

    def _columns_of(self, session: Session, query: Select[Any] | TextClause) -> list[str]:
        """The names of the columns that the query gives."""
        if isinstance(query, Select):
            return list(query.selected_columns.keys())
        nothing = self._bound(f"select * from ({self.to}) as given limit 0")  # noqa: S608 - the job's own SQL
        return list(session.execute(nothing).keys())

    def _figures(self, session: Session, run: Run) -> "_Figures":
        """What is stored and what is computed, as the live database has the table.

        Raises:
            TableError: the table, the column or the query is not what the step needs.
        """
        subject = self._rows.subject(session, run)
        facts = subject.facts
        if not facts.key:
            raise TableError(f"{facts.fullname} has no key by which a row is found again: give it a primary key")
        stored = self._rows.column_of(subject, self._column_name)
        known = facts.columns[self._column_name]
        if known.base not in (*SCALES, "numeric"):
            raise TableError(f"{facts.fullname}.{known.name} is {known.type}: a figure is an integer or a numeric")
        query = self._query(run)
        names = self._columns_of(session, query)
        keys = facts.key if set(facts.key) <= set(names) - {VALUE} or len(facts.key) > 1 else (KEY,)
        if missing := [name for name in (*keys, VALUE) if name not in names]:
            wanted = f"{', '.join(facts.key)} and {VALUE}"
            raise TableError(
                f"step {self.name} computes {', '.join(names)}; it lacks {missing[0]}. The key of {facts.fullname} is "
                f"{', '.join(facts.key)}: let the query give {wanted}"
            )
        given = query.columns(*map(named, names)) if isinstance(query, TextClause) else query
        figures = _Figures(
            subject,
            stored,
            known,
            _renamed(given.subquery("given"), dict(zip(keys, _key_names(len(keys)), strict=True)) | {VALUE: COMPUTED}),
            self.sample_keys or not subject.personal(),
        )
        return figures.without_odd(session) if session.info.get(CAREFUL) else figures

    def _note_differences(self, session: Session, figures: "_Figures") -> int:
        """Write the list anew. Returns how long it is."""
        session.execute(delete(Difference).where(Difference.step == self.name))
        differing = figures.differing().subquery()
        noted = insert(Difference).from_select(
            ["step", "position", "key", "found", "computed"], select(literal(self.name), *differing.c)
        )
        return cast(int, session.execute(noted).rowcount)  # type: ignore[attr-defined]

    def _write(self, batch: Batch, place: Any, size: int, figures: "_Figures") -> None:
        upto = min(place["last"], place["after"] + size)
        figures.subject.prepare(batch.session)
        # The rows are found by their keys. Without statistics on the list, the planner would rather read whole tables.
        batch.session.execute(
            select(*(func.set_config(f"enable_{join}", "off", True) for join in ("hashjoin", "mergejoin")))
        )
        listed = self._listed(place["after"], upto)
        new, old = listed.c[COMPUTED], listed.c[FOUND]
        changed = (
            update(cast(Table, figures.subject.table))
            .values({figures.stored: as_type(new, SqlType(figures.known.type))})
            .where(
                *figures.found_by(listed),
                as_type(figures.stored, Numeric).is_not_distinct_from(old),
                figures.subject.condition,
            )
            .returning(func.abs(new - func.coalesce(old, 0)).label("change"))
            .cte("changed")
        )
        countable = changed.c.change < LARGEST_CHANGE
        written = select(
            func.count(),
            func.coalesce(func.sum(changed.c.change).filter(countable), 0),
            func.count().filter(~countable),
        ).select_from(changed)
        rows, total, beyond = batch.session.execute(written).one()
        batch.count(**{self.counter: rows, self.total: int(total)})
        if beyond:
            batch.note(WHAT_TOTAL_LACKS.format(total=self.total))
        batch.position = {**place, "after": upto}

    def _listed(self, after: int, upto: int) -> FromClause:
        """A part of the list. Its columns have names that no condition of the step means."""
        row = Difference
        return (
            select(row.key.label(LISTED_KEY), row.found.label(FOUND), row.computed.label(COMPUTED))
            .where(row.step == self.name, row.position > after, row.position <= upto)
            .subquery("listed")
        )

    @staticmethod
    def _leave_locked(execution: Execution, place: Any) -> None:
        """Leave the next row of the list to the next run: somebody else is at it."""
        with execution.batch() as batch:
            batch.count(**{LOCKED: 1})
            batch.position = {**place, "after": place["after"] + 1}

    def _quarantine(self, execution: Execution, figures: "_Figures", place: Any, error: DBAPIError) -> None:
        """Leave the next row of the list as it is, and write down why."""
        subject, listed = figures.subject, self._listed(place["after"], place["after"] + 1)
        key = subject.key_columns(shown=figures.keys_shown)
        with execution.batch() as batch:
            subject.prepare(batch.session)
            found = batch.session.execute(subject.rows(*key).select_from(listed).where(*figures.found_by(listed)))
            name = ",".join(map(str, found.first() or ("gone",)))
            batch.quarantine(f"{subject.facts.fullname}:{name}", describe(error))
            batch.count(**{self.failed: 1})
            batch.position = {**place, "after": place["after"] + 1}


LISTED_KEY, FOUND, COMPUTED = "nightshift_key", "nightshift_found", "nightshift_computed"


@dataclass(frozen=True)
class _Figures:
    """Stored and computed figures of one table."""

    subject: Subject
    stored: ColumnElement[Any]
    known: Column
    computed: FromClause
    keys_shown: bool

    def differing(self) -> Select[Any]:
        """The rows to change, numbered in the order in which they lie in the table."""
        facts, table = self.subject.facts, self.subject.table
        keys = [_column_of(table, facts.quoted, name) for name in facts.key]
        texts: ColumnElement[Any] = literal_column(
            f"array[{', '.join(f'{facts.quoted}.{quoted(name)}::text' for name in facts.key)}]"
        )
        number = func.row_number().over(
            order_by=[literal_column(f"{facts.quoted}.{name}") for name in ("tableoid", "ctid")]
        )
        value = func.coalesce(as_type(self.computed.c[COMPUTED], Numeric), 0)
        scale = _scale(self.known)
        # Rounded as the column would round it, and not cast: a figure that is too large is that row's error alone.
        figure = value if scale is None else func.round(value, scale)
        found = as_type(self.stored, Numeric)
        theirs = (self.computed.c[name] for name in _key_names(len(keys)))
        same = [ours == their for ours, their in zip(keys, theirs, strict=True)]
        return (
            select(number.label("position"), texts.label("key"), found.label("found"), figure.label("computed"))
            .select_from(table.outerjoin(self.computed, and_(*same)))
            .where(self.subject.condition, found.is_distinct_from(figure))
        )

    def without_odd(self, session: Session) -> "_Figures":
        """Without the rows whose figures cannot be computed: those that have the same first column of their key.

        The database computes the figures of a part of the keys from that part of the rows.
        """
        facts = self.subject.facts
        held = _column_of(self.subject.table, facts.quoted, facts.key[0])
        its_type = SqlType(facts.columns[facts.key[0]].type)
        theirs = self.computed.c[_key_names(1)[0]]
        odd = dict[str, str]()

        def of(keys: Sequence[str]) -> ColumnElement[Any]:
            return any_(as_type(list(keys), ARRAY(its_type)))

        def compute(keys: Sequence[str]) -> None:
            value = func.round(as_type(self.computed.c[COMPUTED], Numeric), _scale(self.known) or 0)
            session.execute(select(func.count(value)).where(theirs == of(keys)))

        def leave(key: str, error: str) -> None:
            odd[key] = error
            if len(odd) > MOST_ODD:
                raise PermanentError(
                    f"the figures of more than {MOST_ODD} rows of {facts.fullname} cannot be computed: {error}"
                )

        rows = self.subject.rows(as_type(held, Text)).where(self.subject.condition).distinct()
        by_halves(session, session.scalars(rows.order_by(as_type(held, Text))).all(), compute, leave)
        if not odd:
            return self
        columns = self.subject.key_columns(shown=self.keys_shown)
        meant = and_(self.subject.condition, held == of(list(odd)))
        found = session.execute(self.subject.rows(as_type(held, Text), *columns).where(meant)).all()
        names = [(self.subject.key_of(name), odd[key]) for key, *name in found]
        computed = select(self.computed).where(~(theirs == of(list(odd)))).subquery("computed")
        return replace(self, subject=left_out(self.subject, held == of(list(odd)), names), computed=computed)

    def found_by(self, listed: FromClause) -> list[ColumnElement[bool]]:
        """That a row is the one of a listed key."""
        facts = self.subject.facts
        return [
            _column_of(self.subject.table, facts.quoted, name)
            == as_type(listed.c[LISTED_KEY][place], SqlType(facts.columns[name].type))
            for place, name in enumerate(facts.key, 1)
        ]


def _column_of(table: FromClause, its_name: str, name: str) -> ColumnElement[Any]:
    """A column of the table, which a model may lack."""
    known = next((each for each in table.c if each.name == name), None)
    return literal_column(f"{its_name}.{quoted(name)}") if known is None else known


def _key_names(number: int) -> list[str]:
    return [f"{LISTED_KEY}_{place}" for place in range(1, number + 1)]


def _renamed(given: FromClause, names: Mapping[str, str]) -> FromClause:
    """The query's columns under names that no condition of the step means."""
    return select(*(given.c[old].label(new) for old, new in names.items())).subquery("computed")


def _of_text(sql: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that SQL names."""
    return {name: value for name, value in values.items() if name in text(sql).compile().params}


def _scale(column: Column) -> int | None:
    """How many digits a column keeps after the point; None: all."""
    declared = re.fullmatch(r"numeric\(\d+,(-?\d+)\)", column.type)
    return int(declared[1]) if declared else SCALES.get(column.base)
