"""Partitions that are entirely older than the cut-off go as a whole: found, counted, and taken away, some in a batch.

Whether a partition can hold a row that is not old enough is proved by the planner, from the bounds alone: it finds
that a bound and the opposite of the condition contradict each other. No table is read for that.

A batch locks its partitions so that nobody writes to them, proves and counts again, and only then asks for the table
above them, for which it waits a moment. Those who read the table are held up for that moment and for the statements
themselves.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Executable, and_, literal_column, not_, or_, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement

from nightshift.catalogue.partitions import Partition, Partitions, against_whole, around, tree_of
from nightshift.catalogue.table import Column, TableError, TableFacts, quoted_whole
from nightshift.database.failures import describe, is_passing, sqlstate
from nightshift.database.quoting import quoted
from nightshift.declaration.partitions import (
    PARTITION_BYTES,
    PARTITIONS_KEPT,
    ROWS_KEPT,
    GoingPartition,
    StayingPartition,
    Whole,
)
from nightshift.declaration.step import Batch, Execution
from nightshift.engine.subject import Explain, Subject, nodes
from nightshift.engine.sweeping import paced

LOCK_SECONDS = 0.2
"""How long a batch waits for its locks, all of them together, and how long its statement may take with them."""
PAUSES = (0.5, 1.0, 2.0)
"""Seconds before those that were locked are tried again, all others first."""
COUNT_SECONDS = 10.0
"""How long a partition is counted under its lock. Meanwhile others read it, and wait if they write to it."""
TOGETHER_SECONDS, MOST_TOGETHER = 0.08, 16
"""How long the table above them is locked for partitions that go in one transaction, and how many these are at most."""
_EXCLUDE = "set local constraint_exclusion to on"
"""What lets the planner compare a bound with a condition."""
_OTHER_BOUNDS = "somebody else has attached it with other bounds: it may hold rows that are not old enough"
_GONE = "somebody else has detached or dropped it since it was counted"

PROVED_AT_ONCE = 200
"""So many bounds are looked at in one statement."""

WHOLE = "whole"
"""In a saved position: how far the partitions are done. It is not there any more once the rows are begun."""

_REFUSALS = {
    "23503": "rows of another table refer to its rows",
    "42P01": _GONE,
    "3F000": "its schema is gone",
    "2BP01": "another object depends on it",
    "42501": "this role may not take it away",
    "42P07": "the schema in which it would be kept has a table of its name",
    "55006": "this session still uses it",
    "55000": "somebody else detaches it now",
}
"""What PostgreSQL may refuse, by SQLSTATE: the partition then stays, and the run goes on."""


class Age(NamedTuple):
    """The age by which partitions are divided: a column, its type, and the comparison with the cut-off."""

    column: Column
    older: ColumnElement[bool]
    """Without the table's name, so that it can be asked of any relation with such a column."""

    @property
    def younger(self) -> ColumnElement[bool]:
        """Or of no age."""
        return or_(literal_column(quoted(self.column.name)).is_(None), not_(self.older))


class Divided(NamedTuple):
    """A step's table in two: partitions that go as a whole, and the rows that are deleted one batch after another."""

    going: tuple[Partition, ...]
    staying: tuple[StayingPartition, ...]
    """Those that are old enough, and cannot go as a whole."""
    rest: Subject | None
    """None: nothing is to be done row by row."""
    tree: Partitions

    def counted(self, session: Session, setting: Whole) -> tuple[GoingPartition, ...]:
        """The partitions that go, with their rows."""
        by_size = setting.counted == "by size"
        rows = {each.oid: each.most_rows for each in self.going} if by_size else _rows(session, self.going)
        return tuple(GoingPartition(each.name, rows[each.oid], each.bytes, by_size) for each in self.going)


def divide(session: Session, subject: Subject, age: Age, setting: Whole) -> Divided:
    """Which partitions go as a whole, and what is left for the rows.

    Raises:
        TableError: none of this table could ever go as a whole; the message says why, and what to do.
    """
    facts = subject.facts
    if against := against_whole(session, facts, to_schema=setting.schema):
        raise TableError("; ".join(against))
    if age.column.base == "uuid" and setting.counted == "by size":
        raise TableError(
            f"{facts.fullname}: {age.column.name} is a uuid, and only those of version 7 have an age: its rows are "
            'looked at to know, so say counted="exactly"'
        )
    tree = tree_of(session, facts, to_schema=setting.schema)
    bounds = {str(each.oid): each.bound for each in tree.every if not _takes_any(each)}
    old = _contradicted(session, facts, bounds, age.younger)
    candidates = _topmost(tree, facts.oid, old)
    reasons = {each.oid: each.against for each in candidates}
    reasons |= _referred(session, subject, [each for each in candidates if each.against is None])
    reasons |= {each.oid: _odd(session, age, each) for each in candidates if reasons[each.oid] is None}
    going = tuple(each for each in candidates if reasons[each.oid] is None)
    staying = tuple(StayingPartition(each.name, str(reasons[each.oid])) for each in candidates if reasons[each.oid])
    rest = subject if setting.rest == "delete" else None
    if rest is not None:
        rest = _without(session, subject, {leaf for each in going for leaf in each.leaves}, age)
    return Divided(going, staying, rest, tree)


class Taking(NamedTuple):
    """What to take away, for one step of a run."""

    step: str
    facts: TableFacts
    age: Age
    setting: Whole
    counter: str


def take_away(execution: Execution, task: Taking, stated: Mapping[str, int]) -> None:
    """Take away the partitions that were stated, some in a batch. Each that stays is told with its reason.

    stated: by name, the most rows that each may have.

    Raises:
        Interrupted, Fenced: see `Execution.batch`.
        DBAPIError: an error that neither a lock nor the partition explains.
    """
    if not stated or (execution.position is not None and WHOLE not in execution.position):
        return
    with execution.session.begin():
        watched = not around(execution.session, task.facts).watched
    _Taking(execution, task, stated, watched=watched).go_through()


class _Taking:
    """One attempt at the partitions of a step."""

    def __init__(self, execution: Execution, task: Taking, stated: Mapping[str, int], *, watched: bool) -> None:
        self.execution, self.task, self.stated, self._watched = execution, task, stated, watched
        self._together = 1

    def go_through(self) -> None:
        """All of them, those that are locked at the end once more, after pauses."""
        saved: dict[str, Any] = dict((self.execution.position or {}).get(WHOLE, {}))
        after, locked = str(saved.get("after", "")), list(saved.get("locked", ()))
        self._round([name for name in sorted(self.stated) if name > after], locked, new=True)
        for pause in PAUSES:
            if not locked:
                break
            self.execution.stop_if_late()
            time.sleep(pause)
            again, locked[:] = list(locked), []
            self._round(again, locked, new=False)
        for name in list(locked):
            locked.remove(name)
            self._stays(
                name,
                locked,
                "another session had it, the table above it, or one that it refers to, locked all the while",
            )

    def _round(self, names: Sequence[str], locked: list[str], *, new: bool) -> None:
        """Each of the names once, several in one transaction as long as that is short. Those that are locked are added
        to `locked`."""
        done = 0
        while some := names[done : done + self._together]:
            still = [*locked, *([] if new else names[done + len(some) :])]
            try:
                self._some(some, still, new=new)
            except (_LockedError, DBAPIError) as error:
                if isinstance(error, DBAPIError) and sqlstate(error) not in _REFUSALS:
                    raise
                if isinstance(error, _LockedError) and error.above:  # so it is for all, and others queue at every wait
                    self.execution.log("partition.locked", partition=some[0], above=True)
                    locked += names[done:]
                    return
                if len(some) > 1:
                    self._together = 1  # each alone: then it shows which of them it is
                    continue
                if isinstance(error, DBAPIError):
                    reason = f"{_REFUSALS[str(sqlstate(error))]} ({describe(error)})"
                    self._stays(some[0], still, reason, new=new)
                else:
                    self.execution.log("partition.locked", partition=some[0], above=False)
                    locked.append(some[0])
            done += len(some)

    def _some(self, names: Sequence[str], locked: Sequence[str], *, new: bool) -> None:
        """Some partitions, in one transaction."""
        with self.execution.batch(lock_seconds=LOCK_SECONDS, watched=self._watched) as batch:
            self._place(batch, names[-1], locked, new=new)
            session = batch.session
            limit = session.scalar(text("select current_setting('statement_timeout')"))
            with _briefly(above=False):  # the batch's own lock_timeout bounds this one
                lock = f"lock table {', '.join(map(quoted_whole, names))} in share mode"
                _run(session, f"{lock}; {_limited(COUNT_SECONDS)}; {_EXCLUDE}")
            going, reasons = self._checked(session, names)
            for name, reason in reasons.items():
                self._kept(batch, name, reason)
            started = time.monotonic()
            if going:
                self._take(session, list(going), limit)
            for each, rows in going.items():
                batch.count(**{self.task.counter: rows, self.task.setting.counter: 1, PARTITION_BYTES: each.bytes})
        self._together = paced(len(names), time.monotonic() - started, 1, MOST_TOGETHER, TOGETHER_SECONDS)
        for each, rows in going.items():
            self.execution.log("partition.gone", partition=each.name, rows=rows, bytes=each.bytes)

    def _checked(self, session: Session, names: Sequence[str]) -> tuple[dict[Partition, int], dict[str, str]]:
        """Under their locks: how many rows those have that may go, and why the others must stay after all."""
        task, by_size = self.task, self.task.setting.counted == "by size"
        tree = tree_of(session, task.facts, to_schema=task.setting.schema, only=[quoted_whole(name) for name in names])
        there = {each.name: each for each in tree.every if each.name in names}
        proved = _proved(session, task.facts, {name: there[name].bound for name in there}, task.age.younger)
        reasons: dict[str, str] = {}
        for name in names:
            found = there.get(name)
            if found is None:
                reasons[name] = _GONE
            elif found.against:
                reasons[name] = found.against
            elif name not in proved:
                reasons[name] = _OTHER_BOUNDS
            elif odd := _odd(session, task.age, found):
                reasons[name] = odd
        going = [there[name] for name in names if name not in reasons]
        counted = {each.oid: each.about for each in going} if by_size else _rows(session, going)
        for each in going:
            if (each.most_rows if by_size else counted[each.oid]) > self.stated[each.name]:
                now = "is larger now" if by_size else f"has {counted[each.oid]} now"
                reasons[each.name] = (
                    f"at most {self.stated[each.name]} rows were counted in it, and it {now}: the next run counts again"
                )
        return {each: counted[each.oid] for each in going if each.name not in reasons}, reasons

    def _take(self, session: Session, going: Sequence[Partition], limit: str) -> None:
        """Behind the locks, in the order in which readers take theirs: first the tables above them."""
        started = time.monotonic()
        _run(session, _limited(LOCK_SECONDS))
        above = ", ".join(dict.fromkeys(f"only {each.parent}" for each in going))
        with _briefly(above=True):
            _run(session, f"lock table {above} in access exclusive mode")
        left = max(0.01, LOCK_SECONDS - (time.monotonic() - started))
        _run(session, _limited(left))
        own = ", ".join(each.quoted for each in going)
        with _briefly(above=False):
            _run(session, f"lock table {own} in access exclusive mode; {_limited(LOCK_SECONDS)}")
        schema = self.task.setting.schema
        statements = []
        for each in going:
            goes = f"drop table {each.quoted}"
            if schema is not None:
                goes = f"alter table {each.quoted} set schema {quoted(schema)}"
            statements += [f"alter table {each.parent} detach partition {each.quoted}", goes]
        with _briefly(above=True):
            _run(session, "; ".join([*statements, f"set local statement_timeout to '{limit}'"]))

    def _stays(self, name: str, locked: Sequence[str], reason: str, *, new: bool = False) -> None:
        with self.execution.batch(watched=self._watched) as batch:
            self._place(batch, name, locked, new=new)
            self._kept(batch, name, reason)

    def _kept(self, batch: Batch, name: str, reason: str) -> None:
        batch.count(**{PARTITIONS_KEPT: 1, ROWS_KEPT: self.stated[name]})
        batch.note(f"step {self.task.step}: the partition {name} stays: {reason}")

    def _place(self, batch: Batch, name: str, locked: Sequence[str], *, new: bool) -> None:
        before = (self.execution.position or {}).get(WHOLE, {}).get("after", "")
        first_round = name if new else before
        batch.position = {WHOLE: {"after": first_round, "locked": list(locked)}}


class _LockedError(Exception):
    """Another session holds a lock. above: on the table that the partition is attached to."""

    def __init__(self, *, above: bool) -> None:
        super().__init__()
        self.above = above


@contextmanager
def _briefly(*, above: bool) -> Iterator[None]:
    """A statement that others may queue behind: it ends after a moment, and then nothing of the batch is kept."""
    try:
        yield
    except DBAPIError as error:
        if is_passing(error):
            raise _LockedError(above=above) from None
        raise


def _run(session: Session, statements: str) -> None:
    """Statements without values, in one turn."""
    session.connection().exec_driver_sql(statements)


def _limited(seconds: float) -> str:
    return f"set local statement_timeout to {int(seconds * 1000)}"


def _takes_any(partition: Partition) -> bool:
    """Whether what it may hold changes when others come and go, as with a default partition."""
    return partition.bound.startswith("(NOT ") or partition.bound == "true"


def _topmost(tree: Partitions, oid: int, old: set[str]) -> list[Partition]:
    """The largest whole parts: a partition that is itself partitioned goes with all that is below it."""
    found = []
    for each in tree.children.get(oid, ()):
        if str(each.oid) in old and (each.against is None or not tree.children.get(each.oid)):
            found.append(each)
        else:
            found += _topmost(tree, each.oid, old)
    return found


def _contradicted(
    session: Session, facts: TableFacts, bounds: Mapping[str, str], condition: ColumnElement[bool]
) -> set[str]:
    """Under which of these bounds no row can fulfil the condition, as far as the planner can prove it.

    It is asked about an invented relation with the table's columns: what rows there are does not matter.
    """
    with session.begin_nested() as own:
        _run(session, _EXCLUDE)
        found = _proved(session, facts, bounds, condition)
        own.rollback()
    return found


def _proved(session: Session, facts: TableFacts, bounds: Mapping[str, str], condition: ColumnElement[bool]) -> set[str]:
    """The same, in a transaction in which the planner may compare them."""
    columns = ", ".join(f"{quoted(each.name)} {each.type}" for each in facts.columns.values())
    names, found = list(bounds), set(bounds)
    for first in range(0, len(names), PROVED_AT_ONCE):
        some = names[first : first + PROVED_AT_ONCE]
        explained = session.scalar(Explain(_Arms(columns, [bounds[name] for name in some], first, condition)))
        for node in nodes(explained[0]["Plan"]):
            if "Alias" in node:
                found.discard(names[int(node["Alias"].removeprefix("bound_"))])
    return found


class _Arms(Executable, ClauseElement):
    """Of each bound, a SELECT of what fulfils it and a condition, from an invented relation: `bound_<number>`.

    Written as one piece, because SQLAlchemy takes longer for a hundred of them than PostgreSQL does.
    """

    inherit_cache = False

    def __init__(self, columns: str, bounds: Sequence[str], first: int, condition: ColumnElement[bool]) -> None:
        self.columns, self.bounds, self.first, self.condition = columns, bounds, first, condition


@compiles(_Arms)
def _compile_arms(element: _Arms, compiler: SQLCompiler, **keywords: Any) -> str:
    asked = compiler.process(element.condition, **keywords)
    columns, *bounds = map(compiler.escape_literal_column, (element.columns, *element.bounds))
    return " UNION ALL ".join(
        f"SELECT 1 FROM json_to_record('{{}}') AS bound_{number} ({columns}) WHERE ({bound}) AND ({asked})"  # noqa: S608 - PostgreSQL wrote the bounds
        for number, bound in enumerate(bounds, element.first)
    )


def _referred(session: Session, subject: Subject, partitions: Sequence[Partition]) -> dict[int, str]:
    """By oid: that rows of another table, or of the same one, refer to rows of a partition."""
    found: dict[int, str] = {}
    for reference in subject.facts.references:
        child = subject.closure.facts(reference.child)
        names = zip(reference.columns, reference.parent_columns, strict=True)
        joined = " and ".join(f"referring.{quoted(one)} = referred.{quoted(other)}" for one, other in names)
        for first in range(0, len(partitions), PROVED_AT_ONCE):
            some = partitions[first : first + PROVED_AT_ONCE]
            looks = [
                f"exists (select from {child.quoted} referring join {each.quoted} referred on {joined})"
                for each in some
            ]
            answers = session.connection().exec_driver_sql(f"select {', '.join(looks)}").one()
            for each, is_referred in zip(some, answers, strict=True):
                if is_referred:
                    found[each.oid] = f"rows of {child.fullname} refer to its rows (foreign key {reference.name})"
    return found


def _odd(session: Session, age: Age, partition: Partition) -> str | None:
    """That some of its keys have no time in them, although their bound has: uuids of another version than 7."""
    if age.column.base != "uuid":
        return None
    key = quoted(age.column.name)
    asked = f"select 1 from {partition.quoted} where substr({key}::text, 15, 1) <> '7' limit 1"  # noqa: S608
    odd = session.connection().exec_driver_sql(asked).scalar()
    return None if odd is None else "some of its rows have uuids that are not of version 7, and no age"


def _rows(session: Session, some: Sequence[Partition]) -> dict[int, int]:
    """By oid, how many rows each has now."""
    found: dict[int, int] = {}
    for first in range(0, len(some), PROVED_AT_ONCE):
        arms = [
            f"select {each.oid}, count(*) from {each.quoted}"  # noqa: S608 - quoted
            for each in some[first : first + PROVED_AT_ONCE]
        ]
        counted = session.connection().exec_driver_sql(" union all ".join(arms))
        found |= {row[0]: row[1] for row in counted}
    return found


def without(session: Session, subject: Subject, names: Iterable[str], age: Age) -> Subject | None:
    """The rows outside of these partitions; None if the bounds leave no partition that can have any."""
    wanted = set(names)
    tree = tree_of(session, subject.facts).every if wanted else ()
    return _without(session, subject, {leaf for each in tree if each.name in wanted for leaf in each.leaves}, age)


def _without(session: Session, subject: Subject, leaves: set[int], age: Age) -> Subject | None:
    kept = [each for each in subject.portions if not {leaf.oid for leaf in each.leaves} <= leaves]
    bounds = {each.name: each.bound for each in kept if each.bound}
    young = _contradicted(session, subject.facts, bounds, age.older)
    portions = [each for each in kept if each.name not in young]
    if not portions:
        return None
    condition = subject.condition
    if leaves and all(each.bound for each in portions):
        condition = and_(condition, or_(*(literal_column(f"({each.bound})") for each in portions)))
    return replace(subject, condition=condition, among=tuple(portions))
