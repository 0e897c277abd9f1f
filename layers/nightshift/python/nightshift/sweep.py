"""The batch engine's way through a table: every row that a predicate matches, once, in short transactions.

Two ways, chosen from the planner's estimate of the share of rows that match. Many: consecutive heap blocks by TID
range, which reads and writes each block once. Few: ranges over the age column, through its index. The size of a batch
follows time. A batch that a row makes fail is halved down to the row, and the row is quarantined.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, Executable, MetaData, Table, Text, and_, cast, func, literal_column, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Delete, Update
from sqlalchemy.sql.expression import ClauseElement, ColumnClause, Select
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import UserDefinedType

from nightshift.execution import Batch, Execution, describe, is_passing, is_row_error

TARGET_SECONDS = 0.1
"""What one transaction should take."""

DENSE_SHARE = 0.05
"""From this share of matching rows on, going through the heap is faster than going through an index."""

PASSING_ERRORS_IN_A_ROW = 5
TIES_FACTOR = 4

Clause = TypeVar("Clause", bound=ClauseElement)


@dataclass(frozen=True)
class Sweep:
    """What to do with every row of `table` that matches: a DELETE or UPDATE, built for the leaf it is aimed at."""

    table: Table
    predicate: ColumnElement[bool]
    age: ColumnElement[Any]
    statement: Callable[[Table], Delete | Update]
    counter: str
    extra_counts: Mapping[str, ColumnElement[bool]]
    """Counters of the rows that also match a condition before they are changed."""


@dataclass(frozen=True)
class Leaf:
    """A table that holds rows itself: an ordinary table, or one partition of a partitioned one."""

    table: Table
    root: Table
    name: str
    filenode: int
    blocks: int
    rows: float
    """The planner's idea of the number of rows; negative when the table was never analysed."""

    def onto(self, clause: Clause) -> Clause:
        """The clause with the root table's columns replaced by this leaf's."""
        if self.table is self.root:
            return clause

        def replace(element: Any, **_: Any) -> Any:
            if isinstance(element, ColumnClause) and getattr(element, "table", None) is not None:
                return self.table.c[element.name] if element.table == self.root else None
            return None

        return replacement_traverse(clause, {}, replace)  # type: ignore[return-value]


@dataclass(frozen=True)
class Window:
    """The rows of one batch, and the cursor that stands behind them. None as `after` means the leaf is done."""

    condition: ColumnElement[bool] | None
    after: dict[str, Any] | None


class Walk(Protocol):
    """A way through one leaf."""

    way: str
    smallest: int
    largest: int
    first: int

    def window(self, session: Session, cursor: Mapping[str, Any], size: int) -> Window | None:
        """The next rows behind the cursor, about `size` of the walk's units; None when this way does not work."""


class _Tid(UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "tid"


class HeapWalk:
    """Consecutive heap blocks: each is read and written once, however many of its rows match."""

    way = "heap"
    smallest, first, largest = 4, 64, 65_536

    def __init__(self, leaf: Leaf) -> None:
        self._leaf = leaf

    def window(self, session: Session, cursor: Mapping[str, Any], size: int) -> Window | None:
        # Frozen when the walk begins: rows that arrive later are younger than the cut-off, and a row that an UPDATE
        # moves to the end has been done.
        end = cursor.get("end", self._leaf.blocks)
        block = cursor.get("block", 0)
        upto = min(end, block + size)
        ctid: ColumnElement[str] = literal_column("ctid", _Tid())
        condition = and_(ctid >= cast(f"({block},0)", _Tid()), ctid < cast(f"({upto},0)", _Tid()))
        return Window(condition, {"block": upto, "end": end} if upto < end else None)


class RangeWalk:
    """Ranges over the age column, oldest first, through the index that serves the predicate."""

    way = "range"
    smallest, first, largest = 64, 2_000, 100_000

    def __init__(
        self, leaf: Leaf, predicate: ColumnElement[bool], age: ColumnElement[Any], at_most: int | None
    ) -> None:
        self._leaf, self._predicate, self._age, self._at_most = leaf, predicate, age, at_most

    def window(self, session: Session, cursor: Mapping[str, Any], size: int) -> Window | None:
        behind = self._behind(cursor)
        if self._at_most is not None and self._at_most <= size:
            return Window(behind, None)
        rows = select(cast(self._age, Text)).select_from(self._leaf.table).where(self._predicate)
        ahead = rows if behind is None else rows.where(behind)
        last = session.scalar(ahead.order_by(self._age).offset(size - 1).limit(1))
        if last is None:
            return Window(behind, None)
        boundary = cast(last, self._age.type)
        ties = rows.where(self._age == boundary).limit(TIES_FACTOR * size).subquery()
        if session.scalar(select(func.count()).select_from(ties)) == TIES_FACTOR * size:
            return None  # one instant holds more rows than a batch may: only the heap can divide them
        upto = self._age <= boundary
        return Window(upto if behind is None else and_(behind, upto), {"after": last})

    def _behind(self, cursor: Mapping[str, Any]) -> ColumnElement[bool] | None:
        after = cursor.get("after")
        return None if after is None else self._age > cast(after, self._age.type)


def sweep(execution: Execution, task: Sweep, *, at_most: int | None = None) -> None:
    """Do the task to every matching row. `at_most` is the number of matching rows where it has been counted before.

    The walk ends with so many rows: what no longer matches needs no look, and a row that matches only since the count
    was not announced. It is the next run's.

    Raises:
        Interrupted, Fenced, ErrorBudgetExceededError: see `Execution.batch`.
        DBAPIError: an error that is neither a row's nor passing.
    """
    with execution.session.begin():
        leaves = _leaves(execution.session, task.table)
    for leaf in leaves:
        if execution.position is not None and execution.position["table"] > leaf.name:
            continue
        _sweep_leaf(execution, task, leaf, at_most if len(leaves) == 1 else None)


def _sweep_leaf(execution: Execution, task: Sweep, leaf: Leaf, at_most: int | None) -> None:
    predicate, age = leaf.onto(task.predicate), leaf.onto(task.age)
    cursor = _cursor(execution, leaf)
    walks: dict[str, Walk] = {"heap": HeapWalk(leaf), "range": RangeWalk(leaf, predicate, age, at_most)}
    way = cursor["way"] if cursor else _choose(execution.session, leaf, predicate, at_most)
    walk = walks[way]
    size, alone, passing = walk.first, False, 0
    while not (cursor and cursor.get("done")):
        place = {"table": leaf.name, "filenode": leaf.filenode, "way": walk.way}
        try:
            with execution.batch(may_be_lost=True) as batch:
                window = walk.window(batch.session, cursor or {}, size)
                if window is None:
                    walk = walks["heap"]
                    size, cursor = walk.first, None
                    continue
                conditions = [predicate] if window.condition is None else [predicate, window.condition]
                if alone:
                    _one_by_one(batch, task, leaf, conditions)
                else:
                    _all_at_once(batch, task, leaf, conditions)
                rows = (cursor or {}).get("rows", 0) + batch.counts[task.counter]
                whole = window.after is None or (at_most is not None and rows >= at_most)
                batch.position = place | ({"done": True} if whole else {**(window.after or {}), "rows": rows})
        except DBAPIError as error:
            if is_passing(error) and passing < PASSING_ERRORS_IN_A_ROW:
                passing += 1
                size = max(walk.smallest, size // 4)
                execution.log("batch.retried", error=describe(error), size=size)
            elif is_row_error(error) and not alone:
                alone = size <= walk.smallest
                size = max(walk.smallest, size // 2)
            else:
                raise
        else:
            cursor, alone, passing = dict(execution.position or {}), False, 0
            size = paced(size, execution.last_batch_seconds, walk.smallest, walk.largest)


def paced(size: int, seconds: float, smallest: int, largest: int) -> int:
    """The size of the next batch, after one of `size` that took so many seconds."""
    pace = min(4.0, max(0.25, TARGET_SECONDS / max(seconds, 0.001)))
    return int(min(largest, max(smallest, size * pace)))


def _cursor(execution: Execution, leaf: Leaf) -> dict[str, Any] | None:
    """The saved place in this leaf, unless the table has been rewritten since: then its blocks have moved."""
    saved = execution.position
    if saved is None or saved["table"] != leaf.name:
        return None
    if saved["filenode"] != leaf.filenode:
        execution.log("cursor.refused", table=leaf.name, remedy="the table was rewritten; its walk starts over")
        return None
    return dict(saved)


def _all_at_once(batch: Batch, task: Sweep, leaf: Leaf, conditions: list[ColumnElement[bool]]) -> None:
    if task.extra_counts:
        wanted = [func.count().filter(leaf.onto(condition)) for condition in task.extra_counts.values()]
        counted = batch.session.execute(select(*wanted).select_from(leaf.table).where(*conditions)).one()
        batch.count(**dict(zip(task.extra_counts, counted, strict=True)))
    result = batch.session.execute(leaf.onto(task.statement(leaf.table)).where(*conditions))
    batch.count(**{task.counter: result.rowcount})  # type: ignore[attr-defined]


def _one_by_one(batch: Batch, task: Sweep, leaf: Leaf, conditions: list[ColumnElement[bool]]) -> None:
    """Each row under its own savepoint. The one that fails is quarantined: left as it was, and written down."""
    key = leaf.table.primary_key.columns
    for row in batch.session.execute(select(*key).where(*conditions)).all():
        this = [column == value for column, value in zip(key, row, strict=True)]
        kept = batch.counts.copy()
        try:
            with batch.session.begin_nested():
                _all_at_once(batch, task, leaf, [*conditions, *this])
        except DBAPIError as error:
            if not is_row_error(error):
                raise
            batch.counts = kept
            batch.quarantine(f"{leaf.name}:{','.join(map(str, row))}", describe(error))


def _leaves(session: Session, table: Table) -> list[Leaf]:
    """The table itself, or the leaves of its partition tree, in the order of their names."""
    assert session.bind is not None
    name = session.bind.dialect.identifier_preparer.format_table(table)
    found = session.execute(
        text(
            """
            select n.nspname, c.relname, pg_relation_filenode(c.oid),
                   pg_relation_size(c.oid) / current_setting('block_size')::int, c.reltuples
              from (select relid from pg_partition_tree(cast(:name as regclass)) where isleaf
                    union select cast(:name as regclass)) tree
              join pg_class c on c.oid = tree.relid and c.relkind = 'r'
              join pg_namespace n on n.oid = c.relnamespace
             order by n.nspname, c.relname
            """
        ),
        {"name": name},
    ).all()
    ordinary = len(found) == 1 and found[0].relname == table.name
    return [
        Leaf(
            table if ordinary else table.to_metadata(MetaData(), schema=schema, name=relation),
            table,
            f"{schema}.{relation}",
            filenode,
            blocks,
            rows,
        )
        for schema, relation, filenode, blocks, rows in found
    ]


class _Explain(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement


@compiles(_Explain)
def _compile_explain(element: _Explain, compiler: SQLCompiler, **keywords: Any) -> str:
    return "EXPLAIN (FORMAT JSON) " + compiler.process(element.statement, **keywords)


def _choose(session: Session, leaf: Leaf, predicate: ColumnElement[bool], at_most: int | None) -> str:
    """The way through a leaf: from the number of matching rows where it is known, else from the planner's estimate."""
    if at_most is not None and at_most <= RangeWalk.first:
        return "range"
    if leaf.rows < 0:
        return "heap"  # never analysed: nothing is known
    with session.begin():
        explained = session.execute(_Explain(select(literal_column("1")).select_from(leaf.table).where(predicate)))
        estimate = explained.scalar_one()[0]["Plan"]["Plan Rows"]
    return "heap" if estimate > DENSE_SHARE * leaf.rows else "range"
