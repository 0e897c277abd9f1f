"""The ways through a table: consecutive heap blocks, or ranges over the age through an index."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, Executable, MetaData, Table, Text, and_, cast, func, literal_column, select, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement, ColumnClause, Select
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import UserDefinedType

DENSE_SHARE = 0.05
"""From this share of matching rows on, going through the heap is faster than going through an index."""
TIES_FACTOR = 4

Clause = TypeVar("Clause", bound=ClauseElement)


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


def leaves_of(session: Session, table: Table) -> list[Leaf]:
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


class Explain(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement


@compiles(Explain)
def _compile_explain(element: Explain, compiler: SQLCompiler, **keywords: Any) -> str:
    return "EXPLAIN (FORMAT JSON) " + compiler.process(element.statement, **keywords)


def choose(session: Session, leaf: Leaf, predicate: ColumnElement[bool], at_most: int | None) -> str:
    """The way through a leaf: from the number of matching rows where it is known, else from the planner's estimate."""
    if at_most is not None and at_most <= RangeWalk.first:
        return "range"
    if leaf.rows < 0:
        return "heap"  # never analysed: nothing is known
    with session.begin():
        explained = session.execute(Explain(select(literal_column("1")).select_from(leaf.table).where(predicate)))
        estimate = explained.scalar_one()[0]["Plan"]["Plan Rows"]
    return "heap" if estimate > DENSE_SHARE * leaf.rows else "range"
