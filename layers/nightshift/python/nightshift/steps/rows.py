"""What the steps have in common that go over the rows of one table: which rows, how many, and how they are walked."""

import datetime as dt
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Table,
    Text,
    TextClause,
    and_,
    bindparam,
    case,
    column,
    func,
    null,
    select,
    table,
    text,
    true,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session
from sqlalchemy.sql.dml import Delete as DeleteStatement, Update as UpdateStatement
from sqlalchemy.sql.elements import ColumnClause, Grouping
from sqlalchemy.types import NullType

from nightshift.catalogue import Closure, Measure, TableError, TableFacts, closure, find, older_than, read
from nightshift.catalogue.ages import MEASURES, Snowflake, SqlType
from nightshift.catalogue.cascades import ALL, TIMES, of_how_many
from nightshift.catalogue.indexing import create_index
from nightshift.catalogue.obstacles import refuse_unworkable
from nightshift.catalogue.table import Column, Reference, name_of
from nightshift.database import describe, sqlstate
from nightshift.declaration import (
    MAX_SHARE,
    SAMPLE_SIZE,
    UNINDEXED_ROWS,
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
from nightshift.engine import (
    CAREFUL,
    Subject,
    Sweep,
    carefully,
    choose,
    keys_written,
    sweep,
    without_odd_rows,
    write_keys,
)
from nightshift.errors import DeclarationError
from nightshift.ledger import quarantined
from nightshift.steps.conditions import as_in_python, check_column, check_condition, check_text, typed
from nightshift.zones import zone_names

if TYPE_CHECKING:
    from nightshift.engine.checking import Finding

SYNTAX_ERROR = "42601"
"""The SQLSTATE of a text that is no SQL."""

Condition = ColumnElement[bool]
FromRun = Callable[[Run], Condition | TextClause]
TableLike = str | type[DeclarativeBase] | Table

UTC = "UTC"
"""The zone of most tables. A cold start need not read the list of all zones for it."""

NO_AGE = null().cast(Text)

KNOWN_FOR_SECONDS = 5.0
"""So long after the candidates were counted the first batch may rely on what the catalogue said then."""


@dataclass(frozen=True, kw_only=True)
class RowStep(ABC):
    """What Delete, Update and Count have in common: which rows of one table, told by a condition and an age.

    target: the table: a mapped class, a SQLAlchemy Table, or its name: `"orders"`, `"shop.webhook_deliveries"`.
    where: a condition, or a function of the run that gives one (it may use `run.now`, `run.ago(…)`), or SQL, whose
        `:names` are bound to `values`.
    older_than: how old a row must be: strictly older than this before the run's now.
    measured_by: the column (or expression) that tells a row's age; a name will do.
    measured_in: what a column that holds no time measures: "seconds", "milliseconds", "microseconds" or "nanoseconds"
        since 1970, "uuid7", or a `Snowflake`.
    zone: the time zone of a `timestamp` or a `date`, which say none themselves.
    visible_rows: where row security hides rows from this role, only those that it sees are meant.
    sample_keys: show keys of text in plans and errors. They may be addresses, so by default they are not shown.
    counter: what the rows are counted as.
    """

    target: TableLike = field(kw_only=False)
    counter: str
    measured_by: InstrumentedAttribute[Any] | ColumnElement[Any] | str | None = None
    measured_in: Measure | None = None
    zone: str = UTC
    where: Condition | FromRun | str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    older_than: Age | None = None
    visible_rows: bool = False
    sample_keys: bool = False
    name: str = ""
    counting: Mapping[str, Condition] = field(default_factory=dict)

    action: ClassVar[Any] = "count"
    destructive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        fits = isinstance(self.target, str | Table) or (
            isinstance(self.target, type) and hasattr(self.target, "__table__")
        )
        must_be(fits, f"step {self.name or self.action}: its table", "a mapped class, a Table or a name", self.target)
        if isinstance(self.target, str) and not self.target.strip():
            raise DeclarationError('a step needs a table: name it, like "shop.orders"')
        if not self.name:
            words = re.sub(r"[^a-z0-9]+", "-", self.table_name.rpartition(".")[2].lower()).strip("-")
            object.__setattr__(self, "name", f"{self.action}-{words or 'rows'}")  # a name may have no Latin letter
        if self.where is None and self.older_than is None:
            raise DeclarationError(
                f"step {self.name} would touch every row of {self.table_name}: give where or older_than"
            )
        if self.older_than is not None and self.measured_by is None:
            raise DeclarationError(
                f"step {self.name} says how old a row must be: say by which column, with measured_by="
            )
        self._check_fields(f"step {self.name}:")

    def _check_fields(self, where: str) -> None:
        if self.older_than is not None:
            check_age(f"{where} older_than", self.older_than)
        must_be(isinstance(self.counting, Mapping), f"{where} counting", "conditions by counter", self.counting)
        fits = self.measured_in is None or isinstance(self.measured_in, Snowflake) or self.measured_in in MEASURES
        which = f"{', '.join(map(repr, MEASURES))} or Snowflake(epoch=…)"
        must_be(fits, f"{where} measured_in", which, self.measured_in)
        must_be(isinstance(self.values, Mapping), f"{where} values", "values by name", self.values)
        for name in ("visible_rows", "sample_keys"):
            must_be_truth(f"{where} {name}", getattr(self, name))
        if self.zone != UTC and self.zone not in zone_names():
            raise DeclarationError(f"{where} zone is no time zone: {self.zone!r}; write it like Europe/Berlin")
        if self.measured_by is not None:
            check_column(f"{where} measured_by", self.measured_by, self.table)
        if isinstance(self.where, str):
            check_text(f"{where} where", self.where, self.values)
        elif self.where is not None and not callable(self.where):
            check_condition(f"{where} where", self.where, self.table)
        for name, condition in self.counting.items():
            check_condition(f"{where} counting {name}", condition, self.table)

    @property
    def table(self) -> Table | None:
        """The table as a model knows it; None for a table by name."""
        if isinstance(self.target, str):
            return None
        return self.target if isinstance(self.target, Table) else cast(Table, self.target.__table__)

    @property
    def table_name(self) -> str:
        return self.target if isinstance(self.target, str) else cast(Table, self.table).fullname

    @property
    def sql_name(self) -> str:
        """The table's name as the catalogue is asked for it."""
        return self.table_name if self.table is None else name_of(self.table)

    @property
    def tables(self) -> tuple[str, ...]:
        return (self.table_name.replace('"', ""),)

    @property
    def counters(self) -> tuple[str, ...]:
        return (self.counter, *self.counting)

    @property
    def changes(self) -> tuple[str, ...]:
        return (self.counter,)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (self.older_than,) if isinstance(self.older_than, Parameter) else ()

    def cutoff(self, run: Run) -> dt.datetime | None:
        return run.ago(self.older_than) if self.older_than is not None else None

    def fingerprint(self, run: Run) -> str:
        age = self.measured_by.expression if isinstance(self.measured_by, InstrumentedAttribute) else self.measured_by
        told = text(age.replace(":", r"\:")) if isinstance(age, str) else age
        where = self.condition(run)
        return fingerprint_of(
            select(text(self.table_name.replace(":", r"\:"))),
            *([] if told is None else [cast("ColumnElement[Any]", told)]),
            *([] if where is None else [where]),
            text(f"{self.older_than!r} {self.measured_in!r} {self.zone}".replace(":", r"\:")),
        )

    def subject(self, session: Session, run: Run) -> Subject:
        """Which rows, for this run, as the live database has their table: the same for plan, count and batches.

        Raises:
            TableError: the table, or a column, is not there, or cannot be worked on rightly.
        """
        if self.visible_rows:
            session.execute(text("set local row_security to on"))
        facts = read(session, find(session, self.sql_name))
        self._refuse_unworkable(facts)
        reached = self.reach(session, facts)
        for child in reached.reached.values():
            refuse_unworkable(child, "count", visible=False)
        return self.subject_in(session, run, reached)

    def _refuse_unworkable(self, facts: TableFacts) -> None:
        refuse_unworkable(facts, self.action, visible=self.visible_rows)

    def reach(self, session: Session, facts: TableFacts) -> Closure:
        """What a deletion can reach. Nothing is looked up in the referring tables for an update or a count."""
        return closure(session, facts) if self.action == "delete" else Closure(replace(facts, references=()), {}, ())

    def subject_in(self, session: Session, run: Run, reached: Closure) -> Subject:
        """The rows of a table that can be worked on.

        Raises:
            TableError: a column is not there, or tells no age.
        """
        facts = reached.root
        source = _source(facts) if self.table is None else self.table
        conditions = []
        if isinstance(said := self._said(run), TextClause):
            said = self._as_understood(session, said, source)
        if said is not None:
            conditions.append(typed(_in_parentheses(said), facts))
        age = self._age(facts, source)
        if (cutoff := self.cutoff(run)) is not None and age is not None:
            known = self._age_column(session, facts, source, age)
            # First, so that the condition is not even looked at for rows that are too young.
            conditions.insert(0, older_than(age, known, cutoff, zone=self.zone, measure=self.measured_in))
        elif isinstance(age, ColumnClause) and age.name in facts.columns and facts.columns[age.name].nullable:
            age = None  # rows without an age are meant as well: they are in no range
        subject = Subject(reached, source, and_(true(), *conditions), age, self.action, self.visible_rows)
        return without_odd_rows(session, subject) if session.info.get(CAREFUL) else subject

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        return [self._plan_of(session, run, self.subject(session, run))]

    def _plan_of(self, session: Session, run: Run, subject: Subject) -> StepPlan:
        sample: tuple[str, ...] = ()
        if self.sample_keys or not subject.personal():
            ages = [] if subject.age is None else [subject.age]
            first = subject.rows(*subject.key_columns()).where(subject.workable).order_by(*ages).limit(SAMPLE_SIZE)
            sample = tuple(",".join(map(str, row)) for row in session.execute(first))
        with session.begin_nested():
            ways = {choose(session, subject, portion, None) for portion in subject.portions}
        way = "keys" if self._keys_first(session, subject) else " and ".join(sorted(ways))
        told = self._counted(session, run, subject, _time(subject))
        referenced = subject.count_referenced(session)
        kept = tuple(_keeps(*each) for each in subject.kept_by_key(session)) if referenced else ()
        going = tuple(_elsewhere(session, subject)) if told.rows and self.action == "delete" else ()
        return replace(
            told, sample=sample, way=way, missing=_missing(subject), referenced=referenced, notes=(*kept, *going)
        )

    def check(self, session: Session, run: Run) -> "list[Finding]":
        """What the step will meet in the live database, told from its catalogue. Only a check imports what does it."""
        from nightshift.steps.checking import check_rows

        return list(check_rows(self, session, run))

    def explained(self, run: Run, subject: Subject) -> Any:
        """The statement that the batches are made of, for the planner to look at. It is never executed."""
        counted = [func.count().filter(typed(each, subject.facts)) for each in self.counting.values()]
        return subject.rows(func.count(), *counted).where(subject.workable)

    def candidates(self, session: Session, run: Run) -> list[StepPlan]:
        """How many rows match; and of how many rows in the table, when there are so many that the share matters."""
        return [self._candidates_of(session, run, self.subject(session, run))]

    def _candidates_of(self, session: Session, run: Run, subject: Subject) -> StepPlan:
        share = share_of(run)
        plan = self._counted(session, run, subject, NO_AGE, share)
        if subject.referenced is not None:
            every = session.scalar(subject.rows(func.count()).where(subject.condition)) or 0
            plan = replace(plan, referenced=max(0, every - plan.rows))
        self._refuse_unindexed(run, subject, plan)
        session.info[run.id, self.name] = time.monotonic(), subject, self._keys_first(session, subject)
        return plan

    def write_down(self, session: Session, run: Run, emptied: Set[str]) -> None:
        """The keys, if the step looks into one of the tables: at what refers to its rows, or by its condition.

        emptied: tables that earlier steps delete from or change.
        """
        at, subject, keys_first = session.info.get((run.id, self.name), (0.0, None, False))
        if subject is None or not emptied:
            return
        looks_at = {facts.fullname for facts in (subject.facts, *subject.closure.reached.values())}
        meant = self.where is not None and subject.facts.fullname in emptied
        if keys_first or meant or (subject.referenced is not None and looks_at & emptied):
            write_keys(session, subject, run.id, self.name)
            session.info[run.id, self.name] = at, subject, True

    def _counted(
        self, session: Session, run: Run, subject: Subject, age: ColumnElement[Any], share: int | None = None
    ) -> StepPlan:
        """share: the cap, where nothing else is wanted of the number of rows that stay."""
        latest = NO_AGE if age is NO_AGE else func.max(age).cast(Text)
        rows, youngest = session.execute(subject.rows(func.count(), latest).where(subject.workable)).one()
        of = of_how_many(session, subject.facts, subject.table, rows, share)
        cutoff, facts = self.cutoff(run), subject.facts
        return StepPlan(
            self.name,
            facts.fullname,
            self.action,
            rows,
            of,
            iso(cutoff) if cutoff is not None else None,
            cascades=tuple(subject.cascades(session, share)) if rows else (),
            bytes=facts.size_of(rows) if self.action == "delete" else None,
            about=facts.about if of is None else None,
            youngest=youngest,
        )

    def _refuse_unindexed(self, run: Run, subject: Subject, plan: StepPlan) -> None:
        """Without an index PostgreSQL reads a referring table once for every row: that can take for ever."""
        most = (run.parameters or {}).get(UNINDEXED_ROWS.name, UNINDEXED_ROWS.default)
        for (_, child), statement in zip(subject.closure.unindexed, _missing(subject), strict=True):
            if most is not None and plan.rows and child.rows > most:
                raise TableError(
                    f"{child.fullname} refers to {subject.facts.fullname}, has about {child.rows:.0f} rows and no "
                    f"index to find them by, so it would be read whole for each of {plan.rows} rows. Raise "
                    f"{UNINDEXED_ROWS.name}, if that is meant, or make the index: {statement}"
                )

    def column_of(self, subject: Subject, name: str) -> ColumnElement[Any]:
        """A column of the table.

        Raises:
            TableError: it has none of this name.
        """
        return _column(subject.facts, subject.table, name)

    @abstractmethod
    def apply(self, execution: Execution) -> None:
        """Do it, in batches, from the execution's position on."""

    def _sweep(self, execution: Execution, statement: Callable[[Subject], DeleteStatement | UpdateStatement]) -> None:
        self._sweep_over(execution, *self._known(execution), statement)

    def _sweep_over(
        self,
        execution: Execution,
        subject: Subject,
        keys_first: bool,
        statement: Callable[[Subject], DeleteStatement | UpdateStatement],
    ) -> None:
        counting = {name: typed(condition, subject.facts) for name, condition in self.counting.items()}
        task = Sweep(subject, self.name, statement(subject), self.counter, counting, self.sample_keys, keys_first)
        sweep(execution, task)

    def _known(self, execution: Execution) -> tuple[Subject, bool]:
        """The subject, and whether its keys come first: as the candidates were counted with them, if that was now."""
        session, run = execution.session, execution.run
        at, subject, keys_first = session.info.pop((run.id, self.name), (-math.inf, None, False))
        if subject is not None and time.monotonic() - at < KNOWN_FOR_SECONDS:
            return subject, keys_first
        with session.begin():
            # Where an attempt before has left rows out, this one need not find out by failing.
            left_some = execution.position is not None and quarantined(session, run.id, self.name)
            with carefully(session) if left_some else nullcontext():
                subject = self.subject(session, run)
            written = keys_written(session, run.id, self.name) > 0
            return subject, written or self._keys_first(session, subject)

    def _keys_first(self, session: Session, subject: Subject) -> bool:
        """Whether a batch may change what the condition means for the next one."""
        if self.action == "count":
            return False
        if subject.frees_itself or self._only_an_age(subject):
            return subject.frees_itself
        return (self.where is not None and subject.changes_itself) or subject.reads_others(session)

    def _only_an_age(self, subject: Subject) -> bool:
        """Whether the condition is nothing but a comparison of a row's own column with the cut-off."""
        bare = isinstance(subject.age, ColumnClause) and subject.age.name in subject.facts.columns
        return self.where is None and bare and not self.visible_rows

    def condition(self, run: Run) -> ColumnElement[bool] | None:
        """The step's own condition for this run, without the age. What is SQL stands in parentheses."""
        said = self._said(run)
        return None if said is None else _in_parentheses(said)

    def _said(self, run: Run) -> ColumnElement[bool] | TextClause | None:
        where = self.where
        if isinstance(where, str):
            values = (bindparam(key, value, NullType()) for key, value in self.values.items())
            return text(f"{where}\n").bindparams(*values)  # with an end of the line, where it ends in a comment
        if not callable(where):
            return where
        found = where(run)
        check_condition(f"step {self.name}: where", found, self.table)
        return found

    def _as_understood(self, session: Session, said: TextClause, source: FromClause) -> TextClause:
        """The SQL with its values as PostgreSQL understands them: of the types that it tells from the statement, or
        else, as beside a range, of Python's.

        Raises:
            TableError: it is none, or ends its own parentheses, like `a) or (b`: it would hold beside the age, and not
                with it.
        """
        own = as_in_python(self.values)
        try:
            self._ask(session, said, source)
        except DBAPIError as error:
            if sqlstate(error) == SYNTAX_ERROR:
                raise TableError(f"step {self.name}: where is no condition in SQL: {describe(error)}") from None
            if not own:
                raise
            said = said.bindparams(*own)
            self._ask(session, said, source)
        return said

    @staticmethod
    def _ask(session: Session, said: TextClause, source: FromClause) -> None:
        with session.begin_nested():
            session.execute(select(case((said, true()))).select_from(source).limit(0))

    def _age(self, facts: TableFacts, source: FromClause) -> ColumnElement[Any] | None:
        measure = self.measured_by
        if isinstance(measure, InstrumentedAttribute):
            return measure.expression
        if not isinstance(measure, str):
            return measure
        return _column(facts, source, measure)

    def _age_column(self, session: Session, facts: TableFacts, source: FromClause, age: ColumnElement[Any]) -> Column:
        """The type of the age, as the database has it, also where it is an expression."""
        if isinstance(age, ColumnClause) and age.name in facts.columns:
            return facts.columns[age.name]
        shape = session.connection().execute(select(age).select_from(source).limit(0))
        oid = shape.cursor.description[0][1]
        named = text("select cast(typname as text), format_type(oid, -1) from pg_type where oid = :oid")
        base, full = session.execute(named, {"oid": oid}).one()
        return Column("the age", full, base, full, nullable=True, personal=False)


def _elsewhere(session: Session, subject: Subject) -> Iterator[str]:
    """That triggers delete what no plan can count: the first batch would be rolled back."""
    reached = [facts for facts in (subject.facts, *subject.closure.reached.values()) if facts.triggers]
    if not reached:
        return
    from nightshift.catalogue.access import access  # only a plan asks what triggers are made of

    known = access(session, [facts.oid for facts in reached])
    for facts in reached:
        for trigger in known[facts.oid].triggers:
            if trigger.deleting and trigger.deletes_elsewhere:
                yield f"{facts.fullname}: {trigger.deletion}"


def _keeps(key: Reference, child: TableFacts, rows: int) -> str:
    """Which foreign key keeps rows, as the plan tells it."""
    told = "1 row is" if rows == 1 else f"{rows:,} rows are"
    return f"{told} kept by the foreign key {key.name} of {child.fullname}"


def share_of(run: Run) -> int:
    """The cap on the share, in percent."""
    return (run.parameters or {}).get(MAX_SHARE.name, ALL)


def _in_parentheses(said: ColumnElement[bool] | TextClause) -> ColumnElement[bool]:
    """What is SQL, so that it holds with the age and not beside it."""
    return Grouping(said) if isinstance(said, TextClause) else said


def _source(facts: TableFacts) -> FromClause:
    """A table by name, as SQL expressions need it."""
    columns = (column(each.name, SqlType(each.sent_as)) for each in facts.columns.values())
    return table(facts.name, *columns, schema=facts.schema)


def _missing(subject: Subject) -> tuple[str, ...]:
    """What would make the step fast, as SQL that makes it."""
    if subject.action != "delete":
        return ()
    return tuple(create_index(child, reference.columns) for reference, child in subject.closure.unindexed)


def _time(subject: Subject) -> ColumnElement[Any]:
    """The age of a row where it is a column of times, which have a latest; otherwise null."""
    known = subject.age_column
    return NO_AGE if subject.age is None or known is None or known.base not in TIMES else subject.age


def _column(facts: TableFacts, source: FromClause, name: str) -> ColumnElement[Any]:
    known = next((each for each in source.c if each.name == name), None)
    if known is None or name not in facts.columns:
        raise TableError(f"{facts.fullname} has no column {name}{_nearest(name, facts.columns)}")
    return known


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    import difflib  # imported only when something is refused

    close = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {close[0]}?" if close else f"; it has {', '.join(known)}"
