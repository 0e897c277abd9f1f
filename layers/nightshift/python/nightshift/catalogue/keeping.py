"""Which rows cannot go, because others refer to them: by what PostgreSQL would do with each alone, or with several that
refer to each other.

PostgreSQL deletes generation by generation: first what refers to the row by CASCADE, then what refers to that. The keys
to a row are looked at when it has gone, one after the other, before those of the next generation. Whatever still refers
to it then, by a key that does not let go, refuses the whole.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    and_,
    case,
    exists,
    false,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
    tuple_,
)

from nightshift.catalogue.cascades import (
    Closure,
    can_be_meant,
    can_refer,
    few_paths,
    from_clause,
    one_further,
    system_column,
)
from nightshift.catalogue.table import Reference, TableFacts
from nightshift.database.quoting import quoted

DEEPEST = 100
"""So many generations are looked at where it matters which of two rows goes first."""

_CALLS = re.compile(r"\w\s*\(")
_TYPE = re.compile(r"::[\w .\"]+(\([\d, ]+\))?")


PLACE = ("tableoid", "ctid")
"""Where a row stands: the columns by which it is the same one."""


class Row(NamedTuple):
    """A row of a statement: its table, and what the statement calls it."""

    facts: TableFacts
    source: FromClause


def going_together(
    found: Closure,
    source: FromClause,
    condition: ColumnElement[bool],
    *,
    few: bool = False,
    own: Sequence[tuple[TableFacts, Reference]] | None = None,
) -> ColumnElement[bool]:
    """That a row of the root, as `source` has it, goes where one statement deletes those that the condition means, of
    these all that PostgreSQL lets go: a row that only others of them refer to goes with them, however they do.

    few: they fit into memory, however many PostgreSQL expects.
    own: by which keys they refer to each other, in place of all of these.
    """
    every = among_themselves(found)
    others = kept_by(found, source, condition, [each for each in keeping(found) if each not in every])
    keys = [reference for _, reference in (every if own is None else own)]
    names = dict.fromkeys(name for each in keys for name in (*each.columns, *each.parent_columns))
    columns: list[Any] = [
        literal_column(f"{found.root.quoted}.{quoted(name)}").label(name) for name in (*PLACE, *names)
    ]
    meant = select(*columns).select_from(source).where(condition, *([] if others is None else [~others]))
    mine = Row(found.root, meant.correlate(None).cte("meant_together"))
    ways = []
    for number, reference in enumerate(keys):
        child = Row(found.root, from_clause(found.root, f"refers_{number}"))
        if few:  # in a hash table: expecting one row, PostgreSQL would compare each with each
            places = select(*(mine.source.c[name] for name in PLACE)).correlate(None)
            goes_too: Any = tuple_(*(system_column(child.source, child.facts, name) for name in PLACE)).in_(places)
        else:
            other = Row(found.root, mine.source.alias(f"goes_too_{number}"))
            goes_too = _there_is(other, _same(child, other))
        ways.append(_there_is(child, refers(child, reference, mine), ~goes_too))
    staying = Row(found.root, select(mine.source).where(or_(*ways)).cte("staying", recursive=True))
    above = Row(found.root, mine.source.alias("above"))
    kept_so = or_(*(refers(staying, reference, above) for reference in keys))
    further = select(above.source).join_from(staying.source, above.source, kept_so)
    held = Row(found.root, staying.source.union(further))  # type: ignore[attr-defined]
    goes = Row(found.root, select(mine.source).where(~_there_is(held, _same(mine, held))).cte("going_together"))
    return _there_is(goes, _same(goes, Row(found.root, source)))


def among_themselves(found: Closure) -> tuple[tuple[TableFacts, Reference], ...]:
    """The foreign keys by which rows of the root keep each other: they are looked at when a statement is done, and a
    row that has gone with it keeps none. Where some go by cascade as well, each is judged alone."""
    root = found.root.oid
    own = [each for each in keeping(found) if each[0].oid == each[1].child == root and not each[1].follows]
    return () if root in found.gone or any(reference.period for _, reference in own) else tuple(own)


def kept_by(
    found: Closure, source: FromClause, condition: ColumnElement[bool], keys: Sequence[tuple[TableFacts, Reference]]
) -> ColumnElement[bool] | None:
    """That a row of the root, as `source` has it, cannot go alone, by some of the foreign keys that can keep one; None:
    there are none.

    condition: that others of them are to go.
    """
    if not keys:
        return None
    holding: dict[int, list[Reference]] = {}
    for facts, reference in keys:
        holding.setdefault(facts.oid, []).append(reference)
    root = Row(found.root, source)
    following = _Keeping(found, holding, root, condition)
    needed = following.needed_by_default()
    if few_paths(following.leading) is None:
        return or_(following.by_following(root), *needed)
    return or_(*following.along_paths((root,)), *needed)


def keeping(found: Closure) -> tuple[tuple[TableFacts, Reference], ...]:
    """The foreign keys that can keep a row, because they refer to it or to what would go with it; each with the table
    that it refers to."""
    return tuple((facts, each) for facts, each in found.followed if holds(found, each))


def holds(found: Closure, reference: Reference) -> bool:
    """Whether a foreign key can keep a row: always, or because what it would write is refused."""
    if reference.on_delete in ("restrict", "no action"):
        return True
    if reference.on_delete == "cascade":
        return False
    child = found.facts(reference.child)
    if _always_refused(reference, child):
        return True
    return bool(reference.checks) or _row_by_default(reference, _written(reference, child))


def _written(reference: Reference, child: TableFacts) -> Mapping[str, str | None]:
    """What SET NULL and SET DEFAULT write, by column."""
    defaults = reference.on_delete == "set default"
    return {name: child.columns[name].default if defaults else None for name in reference.empties}


def _always_refused(reference: Reference, child: TableFacts) -> bool:
    """Whether what SET NULL and SET DEFAULT write is refused in whatever row."""
    return any(value is None and not child.columns[name].nullable for name, value in _written(reference, child).items())


def _violated(reference: Reference, child: Row, emptied: Mapping[str, ColumnElement[bool]]) -> ColumnElement[bool]:
    """That a condition of the table refuses the row as SET NULL would leave it.

    emptied: that other keys have emptied their columns before, by column.
    """
    columns = []
    for name, each in child.facts.columns.items():
        value: ColumnElement[Any] = child.source.c[name]
        nothing: ColumnElement[Any] = literal_column(f"cast(null as {each.type})")
        if name in reference.empties:
            value = nothing
        elif name in emptied:
            value = case((emptied[name], nothing), else_=value)
        columns.append(value.label(name))
    left = select(*columns).correlate(child.source).lateral("left_behind")
    checks = " and ".join(f"({each})" for each in reference.checks)
    return exists().select_from(left).where(literal_column(f"not ({checks})", Boolean)).correlate(child.source)


def _row_by_default(reference: Reference, written: Mapping[str, str | None]) -> bool:
    """Whether the defaults name another row, which must be there. What a function would give nobody knows before."""
    return all(value is not None and not _CALLS.search(_TYPE.sub("", value)) for value in written.values())


def refers(child: Row, reference: Reference, parent: Row) -> ColumnElement[bool]:
    """That the one row refers to the other."""
    pairs = list(zip(reference.columns, reference.parent_columns, strict=True))
    last = len(pairs) - 1
    return and_(
        *(
            child.source.c[theirs].op("&&" if reference.period and place == last else "=", is_comparison=True)(
                _column(parent, ours)
            )
            for place, (theirs, ours) in enumerate(pairs)
        ),
        *can_refer(reference, child.source, child.facts),
        *can_be_meant(reference, parent.source, parent.facts),
    )


def _column(row: Row, name: str) -> ColumnElement[Any]:
    """A column, also where it stands in a subquery's outer part. A model may know it by another name, or not at all."""
    known = next((each for each in row.source.c if each.name == name), None)
    return literal_column(f"{row.facts.quoted}.{quoted(name)}") if known is None else known


def _same(one: Row, other: Row) -> ColumnElement[bool]:
    return and_(
        *(
            system_column(one.source, one.facts, name) == system_column(other.source, other.facts, name)
            for name in PLACE
        )
    )


def _there_is(row: Row, *where: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whatever else the condition names stands further out."""
    return exists().select_from(row.source).where(*where).correlate_except(row.source)


def _values(reference: Reference, child: TableFacts) -> dict[str, ColumnElement[Any]]:
    """The defaults that a key writes."""
    written = _written(reference, child)
    return {name: literal_column(f"({value})") for name, value in written.items() if value is not None}


class _Keeping:
    """The foreign keys of a closure, as far as they lead to rows that keep others."""

    def __init__(
        self,
        found: Closure,
        holding: Mapping[int, Sequence[Reference]],
        root: Row,
        condition: ColumnElement[bool],
    ) -> None:
        """holding: by the oid of the table that is referred to.
        condition: that others of the root's rows are to go.
        """
        self._found, self._holding, self._root, self._condition = found, holding, root, condition
        self._cascades = [(oid, edge) for oid, edge in found.edges if edge.on_delete == "cascade"]
        leading = set(holding)
        while more := {oid for oid, edge in self._cascades if edge.child in leading} - leading:
            leading |= more
        self.leading = [(oid, edge) for oid, edge in self._cascades if edge.child in leading]

    def along_paths(self, path: tuple[Row, ...], name: str = "keeps") -> Iterator[ColumnElement[bool]]:
        """That the last row of a path that starts at the root is referred to in a way that keeps it, at first hand or
        through rows that would go with it."""
        here = path[-1]
        for place, reference in enumerate(self._holding.get(here.facts.oid, ())):
            child = self._row(reference.child, f"{name}_{place}")
            refused = self._refused(reference, child, here)
            stays = self._stays(
                reference, child, here, [self._gone_before(child, path, each) for each in (reference, None)]
            )
            yield _there_is(child, refers(child, reference, here), *refused, *stays)
        for place, (oid, edge) in enumerate(self.leading):
            if oid == here.facts.oid:
                child = self._row(edge.child, f"{name}_c{place}")
                deeper = or_(false(), *self.along_paths((*path, child), f"{name}_c{place}"))
                yield _there_is(child, refers(child, edge, here), deeper)

    @staticmethod
    def _looks_for_default(reference: Reference, child: TableFacts) -> bool:
        """Whether a key that holds lets go if there is a row that its default names."""
        return reference.on_delete == "set default" and not _always_refused(reference, child)

    def _row(self, oid: int, name: str) -> Row:
        facts = self._found.facts(oid)
        return Row(facts, from_clause(facts, name))

    def _refused(self, reference: Reference, child: Row, parent: Row) -> list[ColumnElement[bool]]:
        """That what a key would write into a referring row is refused. Nothing: it always is, or it never lets go."""
        if reference.checks and reference.on_delete == "set null" and not _always_refused(reference, child.facts):
            return [_violated(reference, child, self._emptied_before(reference, child, parent))]
        if not self._looks_for_default(reference, child.facts):
            return []
        other = self._row(parent.facts.oid, f"{child.source.name}_default")  # type: ignore[attr-defined]
        values = _values(reference, child.facts)
        its_key = and_(
            *(
                _column(other, ours) == values.get(theirs, child.source.c[theirs])
                for theirs, ours in zip(reference.columns, reference.parent_columns, strict=True)
            ),
            *can_be_meant(reference, other.source, other.facts),
            not_(_same(other, parent)),
        )
        return [*(each.is_not(None) for each in values.values()), ~_there_is(other, its_key)]

    def _emptied_before(self, reference: Reference, child: Row, parent: Row) -> dict[str, ColumnElement[bool]]:
        """That a row of the root that is to go, and stands before the one that a key refers to or is the same, empties
        columns of the referring row by another key: of two by which a condition wants one, the later one stays."""
        root = self._root
        before: dict[str, ColumnElement[bool]] = {}
        for oid, other in self._found.edges:
            beside = other.child == reference.child and other.name != reference.name and other.on_delete == "set null"
            if not beside or not oid == parent.facts.oid == root.facts.oid:
                continue
            ours = tuple_(*(_column(root, name) for name in reference.parent_columns))
            theirs = tuple_(*(child.source.c[name] for name in reference.columns))
            # The root a second time, under its own name: the condition knows no other.
            goes = exists().select_from(root.source).where(refers(child, other, root), ours <= theirs, self._condition)
            before |= {name: goes.correlate(child.source) for name in other.empties}
        return before

    def needed_by_default(self) -> Iterator[ColumnElement[bool]]:
        """That a row is the one to which SET DEFAULT turns those that refer to others that are to go."""
        root, condition = self._root, self._condition
        for place, reference in enumerate(self._holding.get(root.facts.oid, ())):
            child = self._row(reference.child, f"turned_{place}")
            values = _values(reference, child.facts)
            if not self._looks_for_default(reference, child.facts) or len(values) < len(reference.columns):
                continue
            pairs = list(zip(reference.columns, reference.parent_columns, strict=True))
            itself = and_(
                # A unique column may hold nulls, and an unknown here would be neither kept nor not.
                *((_column(root, ours) == values[theirs]).is_(true()) for theirs, ours in pairs),
                *can_be_meant(reference, root.source, root.facts),
            )
            another = or_(*(child.source.c[theirs] != values[theirs] for theirs, _ in pairs))
            # The root a second time, under its own name: the condition knows no other.
            goes = exists().select_from(root.source).where(refers(child, reference, root), condition)
            yield and_(itself, _there_is(child, another, goes.correlate(child.source)))

    def _stays(
        self, reference: Reference, child: Row, parent: Row, gone: Sequence[list[ColumnElement[bool]]]
    ) -> list[ColumnElement[bool]]:
        """That a referring row has not gone itself when it is looked at.

        gone: that it has when the keys to the row are looked at; and that it has a generation later: only then it is
            looked for the row that a default names, if that is another.
        """
        at_once, later = (or_(*each).is_not(true()) if each else true() for each in gone)
        if not self._looks_for_default(reference, child.facts):
            return [at_once]
        values = _values(reference, child.facts)
        itself = and_(
            *(
                _column(parent, ours) == values.get(theirs, child.source.c[theirs])
                for theirs, ours in zip(reference.columns, reference.parent_columns, strict=True)
            )
        )
        return [or_(later, and_(itself, at_once))]

    def _gone_before(self, row: Row, path: tuple[Row, ...], reference: Reference | None) -> list[ColumnElement[bool]]:
        """That a row goes with the root before a key to the last row of the path is looked at; None: before what that
        key has written is looked at, a generation later."""
        gone = list(self._gone_by(row, len(path) - (reference is not None), path, "g"))
        gone += [_same(row, each) for each in path if each.facts.oid == row.facts.oid]
        if reference is not None:
            here = path[-1]
            gone += [refers(row, edge, here) for edge in self._earlier(here.facts.oid, reference)]
        return gone

    def _gone_by(self, row: Row, generation: int, path: tuple[Row, ...], name: str) -> Iterator[ColumnElement[bool]]:
        """That a row goes with the root, in this generation at the latest."""
        for place, (oid, edge) in enumerate(self._cascades):
            if edge.child != row.facts.oid or generation < 1:
                continue
            yield from (refers(row, edge, each) for each in path[:generation] if each.facts.oid == oid)
            between = self._row(oid, f"{path[-1].source.name}_{name}{place}")  # type: ignore[attr-defined]
            if before := list(self._gone_by(between, generation - 1, path, f"{name}{place}_")):
                yield _there_is(between, refers(row, edge, between), or_(*before))

    def _earlier(self, oid: int, reference: Reference) -> list[Reference]:
        """The keys by which the referring row itself goes with the row, before this key is looked at."""
        return [
            edge
            for parent, edge in self._cascades
            if parent == oid and edge.child == reference.child and edge.turn < reference.turn
        ]

    def by_following(self, root: Row) -> ColumnElement[bool]:
        """The same row by row, where tables refer to themselves or to each other in a circle."""
        timed = any(
            reference.child in {self._found.root.oid, *self._found.gone}
            for references in self._holding.values()
            for reference in references
        )
        place = [system_column(root.source, root.facts, name) for name in ("tableoid", "ctid")]
        first = select(
            literal(root.facts.oid, BigInteger).label("rel"),
            place[0].label("leaf"),
            place[1].label("tid"),
            literal_column("0").label("generation"),
        )
        going = first.cte("going", recursive=True, nesting=True)
        edges = self._cascades if timed else self.leading
        beyond = one_further(self._found, edges, going)
        generation: ColumnElement[Any] = going.c.generation + literal_column("1") if timed else literal_column("0")
        again = select(beyond.c.rel, beyond.c.leaf, beyond.c.tid, generation).select_from(going.join(beyond, true()))
        every = going.union(again.where(going.c.generation < literal_column(str(DEEPEST))))
        ways = [
            self._held(every, oid, reference, f"kept_{number}_{place}")
            for number, (oid, references) in enumerate(self._holding.items())
            for place, reference in enumerate(references)
        ]
        return exists().select_from(every).where(or_(*ways))

    def _held(self, going: Any, oid: int, reference: Reference, name: str) -> ColumnElement[bool]:
        """That one of the rows that go is kept by a key."""
        here, child = self._row(oid, name), self._row(reference.child, f"{name}_by")
        gone = going.alias(f"{name}_gone")
        before = [
            exists()
            .select_from(gone)
            .where(
                gone.c.rel == literal_column(str(child.facts.oid)),
                gone.c.leaf == system_column(child.source, child.facts, "tableoid"),
                # Were it an equality, PostgreSQL would keep one hash table for all rows of the root.
                gone.c.tid.is_not_distinct_from(system_column(child.source, child.facts, "ctid")),
                gone.c.generation <= at,
            )
            .correlate_except(gone)
            for at in (going.c.generation, going.c.generation + literal_column("1"))
        ]
        goes_too = child.facts.oid in {self._found.root.oid, *self._found.gone}
        earlier = [refers(child, edge, here) for edge in self._earlier(oid, reference)]
        ways: list[list[ColumnElement[bool]]] = [[before[0], *earlier], [before[1]]] if goes_too else [[], []]
        held = (
            exists()
            .select_from(here.source.join(child.source, refers(child, reference, here)))
            .where(
                going.c.rel == literal_column(str(oid)),
                going.c.leaf == system_column(here.source, here.facts, "tableoid"),
                going.c.tid == system_column(here.source, here.facts, "ctid"),
                *self._refused(reference, child, here),
                *self._stays(reference, child, here, ways),
            )
            .correlate_except(here.source, child.source)
        )
        return held if reference.indexed else and_(self._referred_to(going, oid, reference, f"{name}_any"), held)

    def _referred_to(self, going: Any, oid: int, reference: Reference, name: str) -> ColumnElement[bool]:
        """That a row is among those that a key without an index refers to: they are found at once, by reading the
        referring table a single time."""
        here, child = self._row(oid, name), self._row(reference.child, f"{name}_by")
        place = [system_column(here.source, here.facts, column) for column in ("tableoid", "ctid")]
        every = select(*place).select_from(here.source.join(child.source, refers(child, reference, here)))
        # As a truth value, or PostgreSQL would join, and read the table for each row of the root.
        return tuple_(going.c.leaf, going.c.tid).in_(every.correlate(None)).is_(true())
