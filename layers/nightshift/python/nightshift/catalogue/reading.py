"""A table read from the live database: in a few statements, once a run and at every plan."""

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from types import SimpleNamespace
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift.catalogue.questions import (
    ALONE,
    COLUMNS,
    EVERY_TABLE,
    HEAD,
    INDEXES,
    NEAR,
    REFERENCES,
    RULES,
    SHARED,
    TREE,
    TRIGGERS,
    UNIDENTIFIED,
)
from nightshift.catalogue.table import (
    Branch,
    Column,
    Index,
    Keyed,
    Leaf,
    NoTableError,
    OnDelete,
    Portion,
    Reference,
    Rule,
    TableError,
    TableFacts,
    Trigger,
    Unidentified,
    rows_of,
)
from nightshift.database.quoting import quoted

_ON_DELETE: Mapping[str, OnDelete] = {
    "a": "no action",
    "r": "restrict",
    "c": "cascade",
    "n": "set null",
    "d": "set default",
}

_PART = r'(?:[^\W\d][\w$]*|"(?:[^"]|"")+")'
_AS_SQL = re.compile(rf"{_PART}(?:\.{_PART})?")
"""A name as SQL reads it. Up to version 15 PostgreSQL takes any other for an error, and not for an unknown table."""


def find(session: Session, name: str) -> int:
    """The oid of a table by its name as people write it: `orders`, `shop.orders`, `shop."Order"`.

    A name that is not there as SQL would read it is looked for letter by letter, so that `shop.Order` finds "Order".

    Raises:
        NoTableError: there is none.
    """
    schema, _, table = name.rpartition(".")
    exact = f"{quoted(schema or 'public')}.{quoted(table)}"
    looked_for = [name] if _AS_SQL.fullmatch(name) else []
    for each in looked_for if '"' in name else [*looked_for, exact]:
        oid = session.scalar(text("select cast(to_regclass(:name) as oid)"), {"name": each})
        if oid is not None:
            return int(oid)
    near = session.scalars(NEAR, {"table": table.strip('"').lower()}).all() or _similar(session, table)
    remedy = f"did you mean {', '.join(near)}?" if near else "is the name right, and the search path public?"
    raise NoTableError(
        f"the database has no table {name}, or this role may not use its schema: {remedy} (SQLSTATE 42P01)"
    )


def _similar(session: Session, table: str) -> list[str]:
    """The table whose name is the most like it, if any is."""
    import difflib  # imported only when something is refused

    known = {row.relname: row.name for row in session.execute(EVERY_TABLE)}
    return [known[name] for name in difflib.get_close_matches(table.strip('"').lower(), known, n=1, cutoff=0.75)]


def read(session: Session, oid: int) -> TableFacts:
    """All that is to be known of a table, in the caller's transaction.

    Raises:
        TableError: it is gone.
    """
    heads = _answers(session, oid, {"head": HEAD})["head"]
    if not heads:
        raise TableError("the table has been dropped in the meantime")
    (head,) = heads
    known = _answers(session, oid, _questions_about(head))
    columns = {
        row.name: Column(
            row.name, row.type, row.base, row.sent_as, not row.required, row.personal, row.default, row.generated
        )
        for row in known["columns"]
    }
    keyed = [row for row in known["indexes"] if row.is_key]
    portions = _portions(head, known["tree"])
    return TableFacts(
        oid=oid,
        schema=head.schema,
        name=head.name,
        kind=head.kind,
        columns=columns,
        # A key holds in one table, and tells nothing of rows of those that inherit from it.
        key=tuple(keyed[0].columns) if keyed and not head.inherited else (),
        indexes=tuple(
            Index(row.name, row.method, tuple(row.keys), row.predicate, row.unique) for row in known["indexes"]
        ),
        references=_references(session, known["references"]),
        triggers=tuple(Trigger(row.name, row.before, row.each_row, row.on_delete) for row in known["triggers"]),
        rules=tuple(Rule(row.name, row.event, row.instead, row.conditional) for row in known["rules"]),
        may=frozenset(right for right in ("select", "delete", "update") if getattr(head, f"may_{right}")),
        filtered=head.filtered,
        portions=portions,
        bytes=head.bytes,
        rows=_rows(head, [leaf for portion in portions for leaf in portion.leaves]),
        inherited=head.inherited,
        role=head.role,
        reachable=head.reachable,
        unidentified=tuple(Unidentified(row.name, row.publication, tuple(row.events)) for row in known["unidentified"]),
        branches=tuple(
            Branch(row.oid, row.name, row.parent or 0, _keyed(row)) for row in known["tree"] if row.kind == "p"
        ),
    )


def _questions_about(head: Any) -> dict[str, str]:
    """What is still to be asked of a table. To plan a question costs more than to answer it, and PostgreSQL marks every
    table that has triggers, rules or children. A foreign key is a trigger on both of its sides; on the one that is
    referred to, also one that fires when a row is deleted.
    """
    whole = head.kind != "r" or head.has_children
    asked = {"columns": COLUMNS, "indexes": INDEXES, "tree": TREE if whole else ALONE}
    asked |= {"references": REFERENCES} if whole or head.has_references else {}
    asked |= {"triggers": TRIGGERS} if whole or head.has_triggers else {}
    asked |= {"unidentified": UNIDENTIFIED} if head.has_publications else {}
    return asked | ({"rules": RULES} if whole or head.has_rules else {})


def _answers(session: Session, oid: int, questions: Mapping[str, str]) -> dict[str, list[Any]]:
    """All answers about a table, in one turn: each turn costs more than what it asks. What is not asked has none."""
    asked = ", ".join(
        f"'{what}', (select json_agg(found) from ({question}) found)"  # noqa: S608 - constants of this module
        for what, question in questions.items()
    )
    statement = f"select json_build_object({asked})".replace(":oid", str(int(oid)))
    answers = session.connection().exec_driver_sql(statement).scalar_one()
    found = {what: [SimpleNamespace(**row) for row in rows or ()] for what, rows in answers.items()}
    nothing: dict[str, list[Any]] = {"references": [], "triggers": [], "rules": [], "unidentified": []}
    return nothing | found


FEW_ROWS, FEW_OF = 1_000, 0.1
"""An index that begins with some columns of a key serves where it finds no more rows, and no larger part of them."""


def _references(session: Session, rows: Sequence[Any]) -> tuple[Reference, ...]:
    """The foreign keys, each with whether an index serves it in every table that holds rows which refer."""
    found = []
    for row in rows:
        reference = Reference(
            row.name,
            row.schema,
            row.child,
            tuple(row.columns),
            tuple(row.parent_columns),
            _ON_DELETE[row.on_delete],
            row.deferrable,
            indexed=True,
            among=tuple(row.among),
            alone=row.alone,
            empties=tuple(row.empties),
            period=row.period,
            checks=tuple(row.checks),
            turn=row.turn or "",
        )
        begins = {leaf["oid"]: _begins(leaf["indexes"], row.columns) for leaf in row.leaves or ()}
        bare = tuple(oid for oid, names in begins.items() if len(names) < len(row.columns))
        if bare:
            reference = _served_by_part(session, reference._replace(bare=bare), begins)
        found.append(reference)
    return tuple(found)


def _begins(indexes: Sequence[Sequence[str | None]], key: Sequence[str]) -> tuple[str, ...]:
    """Of a key's columns, in whatever order, those with which the best of the indexes begins."""
    every = [tuple(takewhile(key.__contains__, names)) for names in indexes]
    return max(every, key=len, default=())  # type: ignore[arg-type]


def _served_by_part(session: Session, reference: Reference, begins: Mapping[int, tuple[str, ...]]) -> Reference:
    """Whether few rows share what an index begins with, as the statistics have it: all of them are read each time."""
    least = min(begins.values(), key=len)
    if not least:
        return reference._replace(indexed=False)
    asked = {"oids": list(begins), "columns": list(reference.columns)}
    rows, shared = 0.0, dict[tuple[int, str], float | None]()
    for row in session.execute(SHARED, asked):
        rows += row.rows if row.first else 0.0
        shared[row.oid, row.column] = row.shared
    known = [[shared.get((oid, name)) for name in names] for oid, names in begins.items()]
    most = [min((each for each in some if each is not None), default=None) for some in known]
    if None in most:
        return reference._replace(indexed=False, found_by=least)
    found = sum(each for each in most if each is not None)
    return reference._replace(indexed=found <= min(FEW_ROWS, rows * FEW_OF), found_by=least, found=found)


def _keyed(row: Any) -> tuple[Keyed, ...]:
    return tuple(Keyed(each["name"], tuple(each["columns"]), each["unique"]) for each in row.keyed or ())


def _leaf(row: Any) -> Leaf:
    return Leaf(row.oid, row.name, row.filenode or 0, row.blocks or 0, row.rows, row.parent or 0, _keyed(row))


def _rows(head: Any, leaves: Sequence[Leaf]) -> float:
    """How many rows there are: of a table with partitions or heirs the sum, as autovacuum never analyses it whole."""
    return float(head.rows) if head.kind == "r" and not head.inherited else rows_of(leaves, unknown=head.rows)


def _portions(head: Any, rows: list[Any]) -> tuple[Portion, ...]:
    """The parts of the table that are walked one after the other, in the order of their names."""
    leaves = {row.oid: _leaf(row) for row in rows}
    if head.kind != "p":
        return (Portion(tuple(leaves[row.oid] for row in rows)),)
    children: dict[int, list[Any]] = {}
    for row in rows:
        if row.parent is not None:
            children.setdefault(row.parent, []).append(row)
    found: list[Portion] = []

    def leaves_under(row: Any) -> list[Leaf]:
        if row.kind != "p":
            return [leaves[row.oid]]
        return [leaf for child in children.get(row.oid, ()) for leaf in leaves_under(child)]

    def walk(row: Any) -> None:
        if row.kind != "p":
            found.append(Portion((leaves[row.oid],), row.bound))
        elif row.strategy == "h":
            if under := leaves_under(row):
                found.append(Portion(tuple(under), row.bound))
        else:
            for child in children.get(row.oid, ()):
                walk(child)

    walk(next(row for row in rows if row.oid == head.oid))
    return tuple(sorted(found, key=lambda portion: portion.name))
