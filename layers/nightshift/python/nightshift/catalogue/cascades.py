"""What goes, or changes, because a row goes: found by following the foreign keys, and counted before anything is done.

PostgreSQL's own cascade does the work later; this only says beforehand how much that will be.
"""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Table,
    Text,
    and_,
    cast,
    column,
    func,
    literal,
    literal_column,
    or_,
    select,
    table,
    tuple_,
    union,
    union_all,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import AliasedReturnsRows

from nightshift.catalogue.ages import TID
from nightshift.catalogue.reading import find, read
from nightshift.catalogue.table import Reference, TableFacts, name_of
from nightshift.database.quoting import quoted

SHARE_APPLIES_ABOVE = 10_000
"""Up to this many rows the share of the table does not matter, so small databases are not stopped by it."""
ALL = 100
"""Percent."""
MOST_PATHS = 24
"""So many ways through the foreign keys are written out; where there are more, rows are followed one by one."""

TIMES = ("timestamptz", "timestamp", "date")
USUAL_AGES = (
    *(
        "created_at",
        "created_on",
        "created",
        "createdat",
        "inserted_at",
        "occurred_at",
        "logged_at",
        "timestamp",
        "time",
    ),
    *("at", "date", "updated_at"),
)
"""Columns that tell a row's age where nothing else says which does."""


class Cascade(NamedTuple):
    """What a deletion takes with it in one table."""

    table: str
    action: str
    """`delete`, or `update` where a reference is only emptied."""
    rows: int
    youngest: str | None = None
    """The latest time in the rows' own age column, as the database writes it; None without such a column."""
    through: str = ""
    """The table from which the foreign key leads here."""
    of: int | None = None
    """The table's rows, where so many go that the share matters."""
    about: int | None = None
    """The table's rows by the planner's estimate, where they were not counted."""
    bytes: int | None = None
    """What the rows take, about."""

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in self._asdict().items() if value is not None}


class Closure(NamedTuple):
    """A table, and every table that a deletion in it can reach."""

    root: TableFacts
    reached: Mapping[int, TableFacts]
    edges: tuple[tuple[int, Reference], ...]
    """By the oid of the table that is referred to."""

    @property
    def following(self) -> bool:
        return bool(self.edges)

    @property
    def deferrable(self) -> tuple[Reference, ...]:
        """Foreign keys whose check may wait for the commit, where no savepoint catches it."""
        every = (self.root, *self.reached.values())
        return tuple({each.name: each for facts in every for each in facts.references if each.deferrable}.values())

    @property
    def followed(self) -> tuple[tuple[TableFacts, Reference], ...]:
        """Every foreign key that PostgreSQL looks along for each row that goes, by the table that it refers to."""
        tables = [self.facts(oid) for oid in dict.fromkeys((self.root.oid, *self.gone))]
        return tuple((facts, reference) for facts in tables for reference in facts.references)

    @property
    def unindexed(self) -> tuple[tuple[Reference, TableFacts], ...]:
        """Foreign keys without an index on the referring side, and the tables that are read for each row, with as many
        rows as are read."""
        found = (reference for _, reference in self.followed if not reference.indexed)
        return tuple((each, self.facts(each.child).alone.read_in(each.bare)) for each in found)

    @property
    def gone(self) -> tuple[int, ...]:
        """The tables whose rows are deleted by cascade, this one among them if it refers to itself."""
        return tuple(dict.fromkeys(each.child for _, each in self.edges if each.on_delete == "cascade"))

    def facts(self, oid: int) -> TableFacts:
        """Of this table, or of one that was reached."""
        return self.root if oid == self.root.oid else self.reached[oid]


def closure(session: Session, root: TableFacts) -> Closure:
    """Follow every foreign key that leads from a deletion on, in the caller's transaction."""
    known = {root.oid: root}
    edges: list[tuple[int, Reference]] = []
    open_tables, opened = [root], {root.oid}
    while open_tables:
        facts = open_tables.pop()
        for reference in facts.references:
            oid = reference.child
            if oid not in known:
                known[oid] = read(session, oid)
            if reference.follows:
                edges.append((facts.oid, reference))
            # It may be known already, by a reference that is only emptied.
            if reference.on_delete == "cascade" and oid not in opened:
                opened.add(oid)
                open_tables.append(known[oid])
    del known[root.oid]
    return Closure(root, known, tuple(edges))


def going(session: Session, target: Table, condition: ColumnElement[bool]) -> tuple[int, list[Cascade]]:
    """How many rows of a table the condition means, and what would go with them: for a step that deletes by itself."""
    rows = session.scalar(select(func.count()).select_from(target).where(condition)) or 0
    if not rows:
        return 0, []
    facts = read(session, find(session, name_of(target)))
    return rows, count(session, closure(session, facts), target, condition, None)


def count(
    session: Session,
    found: Closure,
    source: FromClause,
    condition: ColumnElement[bool],
    age: str | None,
    share: int | None = None,
) -> list[Cascade]:
    """What the deletion of the rows of `source` for which the condition holds would take with it, table by table.

    age: the name of the column that tells the age of the root's rows, where it is one: children often have the same.
    share: see `of_how_many`. With it nobody asks for the youngest either.
    """
    if not found.edges:
        return []
    order = few_paths([(parent, edge) for parent, edge in found.edges if edge.on_delete == "cascade"])
    if order is None:
        gone = _gone_in_circles(found, source, condition)
    else:
        gone = _gone_without_circles(found, source, condition, [oid for oid in order if oid != found.root.oid])
    told = []
    for oid, (child, where) in gone.items():
        through = next(parent for parent, edge in found.edges if edge.child == oid and edge.on_delete == "cascade")
        told.append(_told(session, found, "delete", through, oid, child, where, age, share))
    for parent, reference in found.edges:
        if reference.on_delete != "cascade" and (parent == found.root.oid or parent in gone):
            child, where = _emptied(found, parent, reference, gone, source, condition)
            told.append(_told(session, found, "update", parent, reference.child, child, where, age, share))
    return told


def few_paths(edges: Sequence[tuple[int, Reference]]) -> list[int] | None:
    """The tables of some foreign keys, those that are referred to first, where the ways to none of them are many, and
    none goes in a circle. Otherwise None: a query must not write them all out."""
    graph: dict[int, set[int]] = {}
    for parent, edge in edges:
        graph.setdefault(edge.child, set()).add(parent)
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError:
        return None
    ways: dict[int, int] = {}
    for oid in order:
        ways[oid] = sum(ways[parent] for parent, edge in edges if edge.child == oid) or 1
    return order if sum(ways.values()) <= MOST_PATHS + len(ways) else None


def _told(
    session: Session,
    found: Closure,
    action: str,
    through: int,
    oid: int,
    child: FromClause,
    where: ColumnElement[bool],
    age: str | None,
    share: int | None,
) -> Cascade:
    rows, youngest = session.execute(_counted(found, oid, child, where, age, aged=share is None)).one()
    facts = found.facts(oid)
    of = of_how_many(session, facts, child, rows, share)
    about = facts.about if of is None else None
    size = facts.size_of(rows) if action == "delete" else None
    return Cascade(facts.fullname, action, rows, youngest, found.facts(through).fullname, of, about, size)


def of_how_many(
    session: Session, facts: TableFacts, source: FromClause, rows: int, share: int | None = None
) -> int | None:
    """How many rows the table has, where so many of them are meant that the share matters; otherwise None.

    share: the most that may be meant, in percent. It is then counted only until it is clear that these are no more; a
        table in which they are is counted whole.
    """
    if rows <= SHARE_APPLIES_ABOVE or share == ALL:
        return None
    every = select(func.count()).select_from(source)
    if share:
        enough = -(-rows * ALL // share)
        if enough < facts.rows / 2:  # beyond that it is quicker to count them all, in parallel
            some = select(literal_column("1")).select_from(source).limit(enough).subquery()
            every = select(func.count()).select_from(some)
    return session.scalar(every)


Gone = dict[int, tuple[FromClause, ColumnElement[bool]]]
"""By oid: the table to select from, and the condition on the rows that go by cascade."""


def from_clause(facts: TableFacts, name: str) -> FromClause:
    """The table, under another name, with all of its columns."""
    columns: list[Any] = [column(each) for each in facts.columns]
    return table(facts.name, *columns, schema=facts.schema).alias(name)


def _pairs(child: FromClause, reference: Reference, parent: FromClause) -> tuple[Any, Any]:
    """The referring columns, and the columns referred to, each as one value that can be compared."""
    theirs = [child.c[name] for name in reference.columns]
    ours = [_column(parent, name) for name in reference.parent_columns]
    return (theirs[0], ours[0]) if len(ours) == 1 else (tuple_(*theirs), tuple_(*ours))


def _column(source: FromClause, name: str) -> ColumnElement[Any]:
    """A column by its name in the database, which a model may know by another."""
    known = next((each for each in source.c if each.name == name), None)
    return literal_column(quoted(name)) if known is None else known


def system_column(source: FromClause, facts: TableFacts, name: str) -> Any:
    """`tableoid` or `ctid` of a row, also in the outer part of a subquery."""
    whole = quoted(source.name) if isinstance(source, AliasedReturnsRows) else facts.quoted
    return literal_column(f"{whole}.{name}", TID if name == "ctid" else None)


def can_be_meant(reference: Reference, parent: FromClause, facts: TableFacts) -> list[ColumnElement[bool]]:
    """That rows of the table referred to are in the relation that the key names."""
    leaves: list[Any] = [literal_column(str(oid)) for oid in reference.among]
    return [system_column(parent, facts, "tableoid").in_(leaves)] if leaves else []


def can_refer(reference: Reference, child: FromClause, facts: TableFacts) -> list[ColumnElement[bool]]:
    """That rows of the referring table are its own, and not of one that inherits."""
    return [system_column(child, facts, "tableoid") == literal_column(str(facts.oid))] if reference.alone else []


def _gone_without_circles(
    found: Closure, source: FromClause, condition: ColumnElement[bool], order: Sequence[int]
) -> Gone:
    gone: Gone = {}
    for oid in order:
        child = from_clause(found.facts(oid), f"gone_{oid}")
        ways = []
        for parent, reference in found.edges:
            if reference.child == oid and reference.on_delete == "cascade":
                theirs, where = (source, condition) if parent == found.root.oid else gone[parent]
                referring, referred = _referring(found, parent, reference, child, theirs, where)
                own = can_refer(reference, child, found.facts(oid))
                ways.append(and_(referring.in_(referred), *own))
        gone[oid] = (child, or_(*ways))
    return gone


def _referring(
    found: Closure,
    parent: int,
    reference: Reference,
    child: FromClause,
    theirs: FromClause,
    where: ColumnElement[bool],
) -> tuple[Any, Any]:
    """The referring columns, and a query for what those of the table referred to hold in some of its rows."""
    referring, referred = _pairs(child, reference, theirs)
    columns: list[Any] = list(referred) if hasattr(referred, "clauses") else [referred]
    meant = can_be_meant(reference, theirs, found.facts(parent))
    return referring, select(*columns).select_from(theirs).where(where, *meant)


def _gone_in_circles(found: Closure, source: FromClause, condition: ColumnElement[bool]) -> Gone:
    """The same where tables refer to themselves or to each other in a circle: row by row, until none is new."""
    place = [literal_column("tableoid").label("leaf"), literal_column("ctid", TID).label("tid")]
    first = select(literal(found.root.oid, BigInteger).label("rel"), *place).select_from(source).where(condition)
    reached = first.cte("reached", recursive=True)
    edges = [(parent, edge) for parent, edge in found.edges if edge.on_delete == "cascade"]
    beyond = one_further(found, edges, reached)
    again = select(beyond.c.rel, beyond.c.leaf, beyond.c.tid).select_from(reached.join(beyond, literal(True)))
    every = reached.union(again)
    gone: Gone = {}
    for oid in dict.fromkeys(edge.child for _, edge in found.edges if edge.on_delete == "cascade"):
        name = f"gone_{oid}"
        child = from_clause(found.facts(oid), name)
        here = tuple_(literal_column(f"{name}.tableoid"), literal_column(f"{name}.ctid", TID))
        theirs = select(every.c.leaf, every.c.tid).where(every.c.rel == oid)
        if oid == found.root.oid:  # the root's own candidates are no cascade
            own = select(*place).select_from(source).where(condition)
            theirs = theirs.except_(own)  # type: ignore[assignment]
        gone[oid] = (child, here.in_(theirs))
    return gone


def one_further(found: Closure, edges: Sequence[tuple[int, Reference]], reached: Any) -> Any:
    """The rows that refer to one of those that are reached, beside it: each with its table, leaf and place."""
    steps: list[Any] = []
    for number, (oid, reference) in enumerate(edges):
        facts, child_facts = found.facts(oid), found.facts(reference.child)
        child, parent = from_clause(child_facts, f"child_{number}"), from_clause(facts, f"parent_{number}")
        referring, referred = _pairs(child, reference, parent)
        steps.append(
            select(
                literal(reference.child, BigInteger).label("rel"),
                system_column(child, child_facts, "tableoid").label("leaf"),
                system_column(child, child_facts, "ctid").label("tid"),
            )
            .select_from(child.join(parent, referring == referred))
            .where(
                reached.c.rel == oid,
                system_column(parent, facts, "tableoid") == reached.c.leaf,
                system_column(parent, facts, "ctid") == reached.c.tid,
                *can_be_meant(reference, parent, facts),
                *can_refer(reference, child, child_facts),
            )
            .correlate(reached)
        )
    return union_all(*steps).lateral("beyond")


def _emptied(
    found: Closure, parent: int, reference: Reference, gone: Gone, source: FromClause, condition: ColumnElement[bool]
) -> tuple[FromClause, ColumnElement[bool]]:
    """The rows that lose a reference to rows that go, and stay themselves."""
    child = from_clause(found.facts(reference.child), f"emptied_{reference.child}")
    parts = [(source, condition)] if parent == found.root.oid else []
    parts += [gone[parent]] if parent in gone else []
    pairs: list[tuple[Any, Any]] = [
        _referring(found, parent, reference, child, theirs, where) for theirs, where in parts
    ]
    selects: list[Any] = [referred for _, referred in pairs]
    lost: Any = selects[0] if len(selects) == 1 else union(*selects)
    own = can_refer(reference, child, found.facts(reference.child))
    return child, and_(pairs[0][0].in_(lost), *own)


def _counted(
    found: Closure, oid: int, child: FromClause, where: ColumnElement[bool], age: str | None, *, aged: bool
) -> Any:
    facts = found.facts(oid)
    usual = [each for each in (age, *USUAL_AGES) if aged and each is not None and each in facts.columns]
    name = next((each for each in usual if facts.columns[each].base in TIMES), None)
    youngest = cast(func.max(child.c[name]), Text) if name else cast(None, Text)
    return select(func.count(), youngest).select_from(child).where(where)
