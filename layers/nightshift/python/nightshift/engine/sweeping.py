"""The batch engine's way through a table: every row that a predicate matches, once, in short transactions.

Two ways, chosen from the planner's estimate of the share of rows that match. Many: consecutive heap blocks by TID
range, which reads and writes each block once. Few: ranges over the age column, through its index. The size of a batch
follows time. A batch that a row makes fail is halved down to the row, and the row is quarantined.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import Delete, Update

from nightshift.database import describe, is_passing, is_row_error
from nightshift.declaration import Batch, Execution
from nightshift.engine.ways import HeapWalk, Leaf, RangeWalk, Walk, choose, leaves_of

TARGET_SECONDS = 0.1
"""What one transaction should take."""

PASSING_ERRORS_IN_A_ROW = 5


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


def sweep(execution: Execution, task: Sweep, *, at_most: int | None = None) -> None:
    """Do the task to every matching row. `at_most` is the number of matching rows where it has been counted before.

    The walk ends with so many rows: what no longer matches needs no look, and a row that matches only since the count
    was not announced. It is the next run's.

    Raises:
        Interrupted, Fenced, ErrorBudgetExceededError: see `Execution.batch`.
        DBAPIError: an error that is neither a row's nor passing.
    """
    with execution.session.begin():
        leaves = leaves_of(execution.session, task.table)
    for leaf in leaves:
        if execution.position is not None and execution.position["table"] > leaf.name:
            continue
        _sweep_leaf(execution, task, leaf, at_most if len(leaves) == 1 else None)


def _sweep_leaf(execution: Execution, task: Sweep, leaf: Leaf, at_most: int | None) -> None:
    predicate, age = leaf.onto(task.predicate), leaf.onto(task.age)
    cursor = _cursor(execution, leaf)
    walks: dict[str, Walk] = {"heap": HeapWalk(leaf), "range": RangeWalk(leaf, predicate, age, at_most)}
    way = cursor["way"] if cursor else choose(execution.session, leaf, predicate, at_most)
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
