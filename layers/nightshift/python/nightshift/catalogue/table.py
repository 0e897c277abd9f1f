"""What the live database says of a table: read in a few statements, once a run and at every plan.

What the engine decides (which way, which rows stay, what a deletion takes with it, what it must refuse) it decides from
this, and never from what a model says.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple
from zlib import crc32

from sqlalchemy import Table, TextClause, text
from sqlalchemy.orm import Session

from nightshift.errors import PermanentError

OnDelete = Literal["no action", "restrict", "cascade", "set null", "set default"]

_ON_DELETE: Mapping[str, OnDelete] = {
    "a": "no action",
    "r": "restrict",
    "c": "cascade",
    "n": "set null",
    "d": "set default",
}
_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
    "I": "an index",
    "c": "a composite type",
}


class TableError(PermanentError):
    """The table is not there, or is of a kind that cannot be worked on. The message says what to do."""


class NoTableError(TableError):
    """The database has no table of this name, or this role may not use its schema."""


class Column(NamedTuple):
    """A column as the database has it."""

    name: str
    type: str
    """As SQL writes it: `timestamp(6) without time zone`, `character varying(40)`, `boss.job_state`."""
    base: str
    """The name of the type that stands behind it, a domain's and without length: `timestamptz`, `varchar`, `int8`."""
    sent_as: str
    """The same as SQL writes it. A value that is sent as this is compared and refused as it is: a cast to a type with a
    length would cut it off."""
    nullable: bool
    personal: bool
    """Whether its values may name somebody: text can be an address, and so can what holds text, bytes or hosts.
    Numbers, times, truth values, enums and uuids name nobody by themselves."""
    default: str | None = None
    """As SQL writes it."""
    generated: bool = False
    """Whether the database gives it its value, and takes no other."""


class Index(NamedTuple):
    """An index that can be used now: valid, and not being built."""

    name: str
    method: str
    keys: tuple[str, ...]
    """The key columns and expressions, as SQL writes them."""
    predicate: str | None
    """The condition of a partial index."""
    unique: bool


class Reference(NamedTuple):
    """A foreign key of another table (or of this one) to this table."""

    name: str
    schema: str
    """Of the constraint: that of the referring table."""
    child: int
    """The referring table's oid."""
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    on_delete: OnDelete
    deferrable: bool
    indexed: bool
    """Whether an index serves the look for the referring rows. Without one the table is read once for each row."""
    found_by: tuple[str, ...] = ()
    """Of a key over several columns those with which its best index begins, where these are not all of them."""
    bare: tuple[int, ...] = ()
    """By oid, the tables with rows that refer, and without an index that serves: the table itself, or partitions."""
    found: float | None = None
    """How many rows have the same values in `found_by` at the most. None: unknown, or there is no need to ask."""
    among: tuple[int, ...] = ()
    """The leaves whose rows can be referred to, where it is not the whole table: PostgreSQL looks for the referred row
    in the one relation that the key names, and in no other that inherits from it. Empty: any row."""
    alone: bool = False
    """Whether rows of tables that inherit from the referring one do not refer."""
    empties: tuple[str, ...] = ()
    """The referring columns that SET NULL and SET DEFAULT write: all of them, or those that the key names."""
    period: bool = False
    """Whether the last column is a period (PERIOD), which refers to all that it overlaps."""
    checks: tuple[str, ...] = ()
    """Conditions on the referring row, as SQL, that may refuse what SET NULL writes."""
    turn: str = ""
    """What is done at the deletion of a row is done in the order of this, key by key."""

    @property
    def follows(self) -> bool:
        """Whether the referring rows go or change with the row, in place of keeping it."""
        return self.on_delete in ("cascade", "set null", "set default")


class Trigger(NamedTuple):
    """A trigger of the application on deletion or update."""

    name: str
    before: bool
    each_row: bool
    on_delete: bool = True


class Rule(NamedTuple):
    """A rule that rewrites a DELETE or an UPDATE."""

    name: str
    event: Literal["delete", "update"]
    instead: bool
    """It does something in place of the statement; otherwise it does something as well."""
    conditional: bool
    """It does so for some of the rows only."""


class Keyed(NamedTuple):
    """A plain b-tree over columns, for all rows."""

    name: str
    """As SQL takes it, with its schema."""
    columns: tuple[str, ...]
    unique: bool


class Leaf(NamedTuple):
    """A table that holds rows itself: an ordinary one, a partition, or one that inherits."""

    oid: int
    name: str
    filenode: int
    blocks: int
    rows: float
    """The planner's idea of the number of rows. Negative: never analysed."""
    parent: int = 0
    """The oid of the table that it is a partition of, or inherits from; 0: of none."""
    keyed: tuple[Keyed, ...] = ()
    """Asked for only where there are several leaves."""


class Branch(NamedTuple):
    """A table that is partitioned: the named one, or a partition of it."""

    oid: int
    name: str
    parent: int
    keyed: tuple[Keyed, ...] = ()
    """Those as well that do not have a part on every partition yet."""


class Portion(NamedTuple):
    """Leaves that are walked together, and the condition by which the planner leaves all others aside.

    One partition by range or list, with its own bound; or all of a partitioning by hash, whose bounds prune nothing;
    or a table and those that inherit from it.
    """

    leaves: tuple[Leaf, ...]
    bound: str | None = None

    @property
    def name(self) -> str:
        return self.leaves[0].name

    @property
    def blocks(self) -> int:
        """As many as its longest leaf has."""
        return max(leaf.blocks for leaf in self.leaves)

    @property
    def rows(self) -> float:
        return -1.0 if any(leaf.rows < 0 for leaf in self.leaves) else sum(leaf.rows for leaf in self.leaves)


class Unidentified(NamedTuple):
    """A table whose changes PostgreSQL refuses: a publication is to tell them, and nothing identifies a row."""

    table: str
    """As SQL takes it."""
    publication: str
    events: tuple[str, ...]
    """`delete`, `update` or both."""


@dataclass(frozen=True)
class TableFacts:
    """A table as the live database has it, for the role that asks."""

    oid: int
    schema: str
    name: str
    kind: str
    """`r` for an ordinary table, `p` for a partitioned one; what else there is cannot be worked on."""
    columns: Mapping[str, Column]
    key: tuple[str, ...]
    """The columns of the primary key, or else of a unique index without nulls; empty where there is neither, and where
    other tables inherit."""
    indexes: tuple[Index, ...]
    references: tuple[Reference, ...]
    triggers: tuple[Trigger, ...]
    rules: tuple[Rule, ...]
    may: frozenset[str]
    """Which of select, delete and update this role may do."""
    filtered: bool
    """Whether row security hides rows from this role."""
    portions: tuple[Portion, ...] = ()
    bytes: int = 0
    rows: float = -1.0
    """The planner's idea of the number of rows. Negative: never analysed."""
    inherited: bool = False
    role: str = ""
    """Who asks."""
    reachable: bool = True
    """Whether this role may use the schema."""
    unidentified: tuple["Unidentified", ...] = ()
    branches: tuple[Branch, ...] = ()
    """What holds no rows itself: a partitioned table, and its partitions that are partitioned, from the top."""

    @property
    def alone(self) -> "TableFacts":
        """As a foreign key of it sees it: without the tables that inherit from it. Partitions belong to it."""
        if not self.inherited:
            return self
        own = tuple(leaf for leaf in self.leaves if leaf.oid == self.oid)
        return replace(self, portions=(Portion(own),), rows=own[0].rows, inherited=False)

    def read_in(self, leaves: Collection[int]) -> "TableFacts":
        """The same with the rows of these leaves alone, by oid: what is read of it where the others have an index."""
        some = [leaf for leaf in self.leaves if leaf.oid in leaves]
        return self if len(some) in (0, len(self.leaves)) else replace(self, rows=_rows_of(some, unknown=-1.0))

    @property
    def fullname(self) -> str:
        """With the schema, unless that is `public`."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every table that holds its rows."""
        return tuple(leaf for portion in self.portions for leaf in portion.leaves)

    @property
    def about(self) -> int | None:
        """How many rows it has by the planner's estimate; None where it was never analysed."""
        return round(self.rows) if self.rows >= 0 else None

    def size_of(self, rows: int) -> int | None:
        """How many bytes so many of the rows take, indexes included, by the planner's estimate; None without one."""
        return round(self.bytes * min(1.0, rows / self.rows)) if rows and self.rows > 0 else None

    @property
    def quoted(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def quoted_whole(name: str) -> str:
    """The name of a leaf, with its schema, as SQL takes it. A dot in the schema's own name is not told from the one
    behind it."""
    schema, _, table = name.partition(".")
    return f"{quoted(schema)}.{quoted(table)}"


def name_of(model: Table) -> str:
    """The name of a model's table, as `find` and SQL take it."""
    return f"{quoted(model.schema or 'public')}.{quoted(model.name)}"


def find(session: Session, name: str) -> int:
    """The oid of a table by its name as people write it: `orders`, `shop.orders`, `shop."Order"`.

    A name that is not there as SQL would read it is looked for letter by letter, so that `shop.Order` finds "Order".

    Raises:
        NoTableError: there is none.
    """
    schema, _, table = name.rpartition(".")
    exact = f"{quoted(schema or 'public')}.{quoted(table)}"
    looked_for = (name,) if '"' in name else (name, exact)
    for each in looked_for:
        oid = session.scalar(text("select cast(to_regclass(:name) as oid)"), {"name": each})
        if oid is not None:
            return int(oid)
    near = session.scalars(_NEAR, {"table": table.strip('"').lower()}).all()
    remedy = f"did you mean {', '.join(near)}?" if near else "is the name right, and the search path public?"
    raise NoTableError(
        f"the database has no table {name}, or this role may not use its schema: {remedy} (SQLSTATE 42P01)"
    )


def read(session: Session, oid: int) -> TableFacts:
    """All that is to be known of a table, in the caller's transaction.

    Raises:
        TableError: it is gone.
    """
    heads = _answers(session, oid, {"head": _HEAD})["head"]
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


class Obstacle(NamedTuple):
    """Why a table cannot be worked on rightly, what to do, and the SQL that does it where there is one."""

    what: str
    remedy: str
    sql: str | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


Action = Literal["delete", "update", "count"]

_RIGHTS: Mapping[Action, tuple[str, ...]] = {
    "delete": ("delete", "select"),
    "update": ("select", "update"),
    "count": ("select",),
}


def refuse_unworkable(facts: TableFacts, action: Action, *, visible: bool) -> None:
    """Refuse what the engine could not do rightly.

    visible: rows that row security hides from this role are not meant.

    Raises:
        TableError: the message says why, and what to do.
    """
    for obstacle in obstacles(facts, action, visible=visible):
        raise TableError(str(obstacle))


def obstacles(facts: TableFacts, action: Action, *, visible: bool) -> Iterator[Obstacle]:
    """All that keeps the engine from doing it rightly; see `refuse_unworkable`."""
    name = facts.fullname
    if facts.kind not in ("r", "p"):
        yield Obstacle(f"{name} is {_KINDS.get(facts.kind, 'no table')}", "name the table that holds the rows")
        return
    foreign = [leaf.name for leaf in facts.leaves if leaf.filenode == 0]
    if foreign:
        yield Obstacle(
            f"{name} has rows in the foreign table {foreign[0]}", "name the tables that are here, one by one"
        )
    for rule in facts.rules:
        if rule.event == action:
            one = f"{'an' if action == 'update' else 'a'} {action}"
            does = f"turns {one} into something else" if rule.instead else f"does something else with each {action}"
            # No SQL: to drop it would end what the application has it for, and rows would go that were to be kept.
            yield Obstacle(
                f"the rule {rule.name} on {name} {does}",
                "ask whoever looks after the application what it is for, and leave the table to it, or write a "
                "Function step that does what is meant",
            )
    for leaf in facts.unidentified:
        if action in leaf.events:
            sql = f"alter table {leaf.table} replica identity full"
            yield Obstacle(
                f"the publication {leaf.publication} tells each {action} in {leaf.table}, which has no key that would "
                f"identify the row, so PostgreSQL refuses it",
                f"{sql}, or give it a primary key",
                sql,
            )
    if facts.filtered and not visible:
        yield Obstacle(
            f"row security on {name} hides rows from this role",
            "give the role BYPASSRLS, or say visible_rows=True in the step, if only the rows that it sees are meant "
            "(with a policy that shows it every row, these are all)",
            f"alter role {quoted(facts.role)} bypassrls",
        )
    if not facts.reachable:
        sql = f"grant usage on schema {quoted(facts.schema)} to {quoted(facts.role)}"
        yield Obstacle(f"this role may not use the schema of {name}", f"{sql} (SQLSTATE 42501)", sql)
    if missing := [right for right in _RIGHTS[action] if right not in facts.may]:
        sql = f"grant {', '.join(missing)} on {facts.quoted} to {quoted(facts.role)}"
        yield Obstacle(f"this role may not {' or '.join(missing)} in {name}", f"{sql} (SQLSTATE 42501)", sql)


def create_index(facts: TableFacts, columns: Sequence[str]) -> str:
    """The SQL that makes an index while the application goes on, one statement after the other.

    Only those tables get one that hold rows and have none: of plain inheritance the table itself, or those that inherit
    from it. PostgreSQL builds none concurrently on a partitioned table. There the index is declared, built on each
    partition, and joined, which takes a moment for each.
    """
    keys = ", ".join(map(quoted, columns))
    leaves = [leaf for leaf in facts.leaves if leaf.filenode]
    without = [leaf for leaf in leaves if _found_on(leaf, columns) is None] or leaves
    if facts.kind != "p":
        return "; ".join(f"create index concurrently on {quoted_whole(leaf.name)} ({keys})" for leaf in without)
    declared, made = dict[int, str](), []
    for branch in facts.branches:
        known = next((each.name for each in branch.keyed if _joins(each, columns)), None)
        if known is None:
            made.append(
                f"create index {quoted(_index_name(branch, columns))} on only {quoted_whole(branch.name)} ({keys})"
            )
        declared[branch.oid] = known or _name_beside(branch, _index_name(branch, columns))
    joined = [
        f"alter index {declared[branch.parent]} attach partition {declared[branch.oid]}"
        for branch in facts.branches
        if branch.parent in declared
    ]
    for leaf in leaves:
        found = _found_on(leaf, columns)
        name = _name_beside(leaf, _index_name(leaf, columns)) if found is None else found.name
        if found is None:
            name_of_it = quoted(_index_name(leaf, columns))
            made.append(f"create index concurrently {name_of_it} on {quoted_whole(leaf.name)} ({keys})")
        if found is None or _joins(found, columns):
            joined.append(f"alter index {declared[leaf.parent]} attach partition {name}")
    return "; ".join([*made, *joined])


def _found_on(leaf: Leaf, columns: Sequence[str]) -> Keyed | None:
    """Its index that begins with these columns, in whatever order; one that can be joined before others."""
    fitting = [each for each in leaf.keyed if set(each.columns[: len(columns)]) == set(columns)]
    return min(fitting, key=lambda each: not _joins(each, columns), default=None)


def _joins(index: Keyed, columns: Sequence[str]) -> bool:
    """Whether it can be a part of an index on these columns of the table that its own is a partition of."""
    return index.columns == tuple(columns) and not index.unique


LONGEST_NAME = 63
"""Bytes of a name in PostgreSQL."""


def _index_name(table: Leaf | Branch, columns: Sequence[str]) -> str:
    """A name that is not one of those that PostgreSQL or a framework gives, and always the same."""
    whole = f"{table.name.partition('.')[2]}_{'_'.join(columns)}_lookup"
    if len(whole.encode()) <= LONGEST_NAME:
        return whole
    digest = f"_{crc32(whole.encode()):08x}_lookup"
    return whole.encode()[: LONGEST_NAME - len(digest)].decode(errors="ignore") + digest


def _name_beside(table: Leaf | Branch, index: str) -> str:
    return f"{quoted(table.name.partition('.')[0])}.{quoted(index)}"


def _questions_about(head: Any) -> dict[str, str]:
    """What is still to be asked of a table. To plan a question costs more than to answer it, and PostgreSQL marks every
    table that has triggers, rules or children. A foreign key is a trigger on both of its sides; on the one that is
    referred to, also one that fires when a row is deleted.
    """
    whole = head.kind != "r" or head.has_children
    asked = {"columns": _COLUMNS, "indexes": _INDEXES, "tree": _TREE if whole else _ALONE}
    asked |= {"references": _REFERENCES} if whole or head.has_references else {}
    asked |= {"triggers": _TRIGGERS} if whole or head.has_triggers else {}
    asked |= {"unidentified": _UNIDENTIFIED} if head.has_publications else {}
    return asked | ({"rules": _RULES} if whole or head.has_rules else {})


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
    for row in session.execute(_SHARED, asked):
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
    return float(head.rows) if head.kind == "r" and not head.inherited else _rows_of(leaves, unknown=head.rows)


def _rows_of(leaves: Sequence[Leaf], *, unknown: float) -> float:
    """The sum. A leaf that was never analysed is taken to be as full as the others are; `unknown` where none was."""
    known = [leaf for leaf in leaves if leaf.rows > 0 or not leaf.blocks]
    rows, blocks = sum(max(0.0, leaf.rows) for leaf in known), sum(leaf.blocks for leaf in known)
    more = sum(leaf.blocks for leaf in leaves) - blocks
    if not more:
        return rows
    return rows + more * rows / blocks if blocks else unknown


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


_NEAR: TextClause = text(
    """
    select format('%s.%s', nspname, relname) from pg_class join pg_namespace n on n.oid = relnamespace
     where lower(relname) = :table and relkind in ('r', 'p') and nspname !~ '^pg_' order by 1 limit 3
    """
)

_HEAD = """
    select c.oid::bigint, n.nspname as schema, c.relname as name, cast(c.relkind as text) as kind, c.reltuples as rows,
           has_table_privilege(c.oid, 'select') as may_select,
           has_table_privilege(c.oid, 'delete') as may_delete,
           has_any_column_privilege(c.oid, 'update') as may_update,
           row_security_active(c.oid) as filtered, cast(current_user as text) as role,
           has_schema_privilege(n.oid, 'usage') as reachable,
           c.relhastriggers as has_triggers, c.relhasrules as has_rules, c.relhassubclass as has_children,
           c.relhastriggers and exists (
                select from pg_trigger where tgrelid = c.oid and tgconstrrelid <> 0 and tgtype & 8 > 0
           ) as has_references,
           case when c.relkind <> 'p' and not c.relhassubclass then pg_total_relation_size(c.oid) else (
                with recursive tree (oid) as (
                    select c.oid union select inhrelid from tree join pg_inherits on inhparent = tree.oid
                ) select coalesce(sum(pg_total_relation_size(tree.oid)), 0)::bigint from tree) end as bytes,
           c.relkind = 'r' and c.relhassubclass and exists (
                select from pg_inherits where inhparent = c.oid) as inherited,
           exists (select from pg_publication where pubdelete or pubupdate) as has_publications
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid = :oid
"""

_UNIDENTIFIED = """
    with recursive tree (oid) as (
        select cast(:oid as oid) union select inhrelid from tree join pg_inherits on inhparent = tree.oid
    )
    select format('%I.%I', n.nspname, c.relname) as name, cast(p.pubname as text) as publication,
           array_remove(array[case when p.pubdelete then 'delete' end, case when p.pubupdate then 'update' end], null)
               as events
      from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace
      join pg_publication p on p.puballtables or exists (
               select from pg_publication_tables t
                where t.pubname = p.pubname
                  and to_regclass(format('%I.%I', t.schemaname, t.tablename)) in (select oid from tree))
     where c.relkind = 'r' and c.relpersistence = 'p'
       and (c.relreplident = 'n' or c.relreplident = 'd' and not exists (
               select from pg_index where indrelid = c.oid and indisprimary and indisvalid))
     order by 1, 2
"""

_COLUMNS = """
    select attname as name, format_type(atttypid, atttypmod) as type,
           attnotnull or (select typnotnull from pg_type where oid = atttypid) as required,
           cast(behind.typname as text) as base, format_type(behind.oid, -1) as sent_as,
           own.typcategory not in ('N', 'D', 'T', 'B', 'E') and own.typname not in ('uuid', 'xid8', 'pg_lsn')
               as personal,
           (select pg_get_expr(adbin, adrelid) from pg_attrdef
             where attgenerated = '' and adrelid = attrelid and adnum = attnum) as default,
           attgenerated <> '' or attidentity = 'a' as generated
      from pg_attribute join pg_type own on own.oid = atttypid
      join pg_type behind on behind.oid = case when own.typbasetype = 0 then own.oid else (
                with recursive domains (oid, basetype) as (
                    select own.oid, own.typbasetype
                    union all
                    select t.oid, t.typbasetype from domains join pg_type t on t.oid = basetype
                ) select domains.oid from domains where basetype = 0) end
     where attrelid = :oid and attnum > 0 and not attisdropped
     order by attnum
"""

_INDEXES = """
    select c.relname as name, am.amname as method, i.indisunique as unique,
           pg_get_expr(i.indpred, i.indrelid) as predicate,
           array(select pg_get_indexdef(i.indexrelid, k, true) from generate_series(1, i.indnkeyatts) k) as keys,
           array(select cast(a.attname as text) from unnest(i.indkey) with ordinality as key (number, place)
                   join pg_attribute a on a.attrelid = i.indrelid and a.attnum = key.number
                  where place <= i.indnkeyatts order by place) as columns,
           i.indisunique and i.indpred is null and i.indimmediate and not exists (
               select from unnest(i.indkey) with ordinality as key (number, place)
                 left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = key.number and a.attnotnull
                where place <= i.indnkeyatts and a.attnum is null) as is_key
      from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am am on am.oid = c.relam
     where i.indrelid = :oid and i.indisvalid and i.indisready and i.indislive
     order by i.indisprimary desc, i.indnkeyatts, c.relname
"""

# Of partitioned tables, on either side, the parent's constraint stands for all that PostgreSQL made of it; a key to one
# partition alone counts as one to the table.
_REFERENCES = """
    select o.conname as name, n.nspname as schema, o.conrelid::bigint as child,
           array(select cast(attname as text) from unnest(conkey) with ordinality as k (number, place)
                   join pg_attribute on attrelid = conrelid and attnum = number order by place) as columns,
           array(select cast(attname as text) from unnest(confkey) with ordinality as k (number, place)
                   join pg_attribute on attrelid = confrelid and attnum = number order by place) as parent_columns,
           cast(confdeltype as text) as on_delete, condeferrable as deferrable,
           -- A table with partitions is as well indexed as the worst of those that hold its rows.
           (with recursive tree (oid) as (
                select o.conrelid union all
                select inhrelid from tree join pg_inherits on inhparent = tree.oid where c.relkind = 'p'
            ) select json_agg(json_build_object('oid', leaf.oid::bigint, 'indexes', array(
                         select (select json_agg(case when i.indcollation[place - 1] in (0, a.attcollation)
                                                      then a.attname end order by place)
                                   from unnest(i.indkey) with ordinality as key (number, place)
                                   left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = key.number
                                  where place <= least(i.indnkeyatts, cardinality(o.conkey)))
                           from pg_index i join pg_class ic on ic.oid = i.indexrelid join pg_am am on am.oid = ic.relam
                          where i.indrelid = leaf.oid and i.indisvalid
                            and (am.amname = 'btree' or am.amname = 'hash' and cardinality(o.conkey) = 1)
                            -- One of all rows that refer at all finds them as well.
                            and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) in (
                                    select format('(%I IS NOT NULL)', attname) from pg_attribute
                                     where attrelid = o.conrelid and attnum = any (o.conkey))))))
              from tree join pg_class leaf on leaf.oid = tree.oid
             where leaf.relkind <> 'p' or not leaf.relhassubclass) as leaves,
           case when p.relkind = 'p' and p.oid = :oid or p.relkind <> 'p' and p.oid = :oid and not p.relhassubclass
                then array[]::bigint[]
                when p.relkind = 'p' then p.oid::bigint || array(
                     select cast(cast(relid as oid) as bigint) from pg_partition_tree(p.oid) where isleaf)
                else array[p.oid::bigint] end as among,
           c.relkind = 'r' and c.relhassubclass as alone,
           array(select cast(attname as text) from jsonb_array_elements_text(case
                     when jsonb_typeof(to_jsonb(o) -> 'confdelsetcols') = 'array' then to_jsonb(o) -> 'confdelsetcols'
                     else to_jsonb(o.conkey) end) as k (number)
                   join pg_attribute on attrelid = conrelid and attnum = cast(number as int)) as empties,
           coalesce(cast(to_jsonb(o) ->> 'conperiod' as boolean), false) as period,
           array(select pg_get_expr(k.conbin, k.conrelid) from pg_constraint k
                  where k.conrelid = o.conrelid and k.contype = 'c' and k.conkey && o.conkey and o.confdeltype = 'n'
                    and coalesce(cast(to_jsonb(k) ->> 'conenforced' as boolean), true) order by k.conname) as checks,
           (select min(cast(tgname as text) collate "C") from pg_trigger
             where tgconstraint = o.oid and tgrelid = o.confrelid and tgtype & 8 > 0) as turn
      from pg_constraint o join pg_class c on c.oid = o.conrelid join pg_namespace n on n.oid = c.relnamespace
      join pg_class p on p.oid = o.confrelid
     where o.contype = 'f' and o.conparentid = 0 and o.confrelid in (
               with recursive tree (oid) as (
                   select cast(:oid as oid) union all
                   select inhrelid from tree join pg_inherits on inhparent = tree.oid
               ) select oid from tree)
       and exists (select from pg_trigger
                    where tgconstraint = o.oid and tgrelid = o.confrelid and tgenabled in ('O', 'A'))
     order by n.nspname, c.relname, o.conname
"""

STATISTICS = """lateral (
          select * from pg_stats where schemaname = n.nspname and tablename = c.relname and not inherited offset 0
      ) s"""
"""The planner's statistics of the table `c` in the schema `n`. As a plain join they would be read of all tables of the
database, which takes longer with each of them: so they are looked up for this one."""

# Of how many rows a column's most frequent value is, or an average one where that is more.
_SHARED = text(
    f"""
    select c.oid::bigint as oid, cast(a.attname as text) as column, greatest(c.reltuples, 0) as rows,
           row_number() over (partition by c.oid order by a.attnum) = 1 as first,
           case when c.reltuples = 0 then 0 when s.n_distinct <> 0 and c.reltuples > 0 then greatest(
                coalesce(s.most_common_freqs[1], 0) * c.reltuples,
                case when s.n_distinct > 0 then c.reltuples / s.n_distinct else -1 / s.n_distinct end)
           end as shared
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attname = any (cast(:columns as text[]))
      left join {STATISTICS} on s.attname = a.attname
     where c.oid = any (cast(:oids as oid[]))
    """  # noqa: S608 - a constant of this module
)

_TRIGGERS = """
    select cast(tgname as text) as name, tgtype & 2 > 0 as before, tgtype & 1 > 0 as each_row,
           tgtype & 8 > 0 as on_delete
      from pg_trigger where tgrelid in (
               with recursive tree (oid) as (
                   select cast(:oid as oid) union all
                   select inhrelid from tree join pg_inherits on inhparent = tree.oid
               ) select oid from tree)
       and tgparentid = 0 and not tgisinternal and tgenabled in ('O', 'A') and tgtype & 24 > 0
     order by tgname
"""

_RULES = """
    select rulename as name, case ev_type when '4' then 'delete' else 'update' end as event, is_instead as instead,
           cast(ev_qual as text) <> '<>' as conditional
      from pg_rewrite
     where ev_class = :oid and ev_type in ('2', '4') and ev_enabled in ('O', 'A') order by 1
"""

# The root, its partitions at every level, and of plain inheritance all that inherit.
_TREE = """
    with recursive tree (oid, parent, depth) as (
        select cast(:oid as oid), cast(null as oid), 0
        union all
        select inhrelid, inhparent, depth + 1
          from tree join pg_inherits on inhparent = tree.oid where not inhdetachpending
    )
    select tree.oid::bigint, min(tree.parent::bigint) as parent, format('%s.%s', n.nspname, c.relname) as name,
           cast(c.relkind as text) as kind, cast(p.partstrat as text) as strategy,
           pg_get_partition_constraintdef(c.oid) as bound, pg_relation_filenode(c.oid)::bigint as filenode,
           case when c.relkind = 'r' then pg_relation_size(c.oid) / current_setting('block_size')::int end as blocks,
           c.reltuples as rows,
           (select json_agg(json_build_object('name', format('%I.%I', inn.nspname, ic.relname),
                       'unique', i.indisunique, 'columns', array(
                       select cast(attname as text) from unnest(i.indkey) with ordinality as key (number, place)
                         join pg_attribute on attrelid = i.indrelid and attnum = number order by place))
                   order by i.indnkeyatts, ic.relname)
              from pg_index i join pg_class ic on ic.oid = i.indexrelid join pg_am am on am.oid = ic.relam
              join pg_namespace inn on inn.oid = ic.relnamespace
             where i.indrelid = c.oid and am.amname = 'btree' and (i.indisvalid or c.relkind = 'p') and i.indisready
               and i.indislive and i.indpred is null and i.indexprs is null and i.indnatts = i.indnkeyatts) as keyed
      from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace
      left join pg_partitioned_table p on p.partrelid = c.oid
     group by tree.oid, n.nspname, c.relname, c.relkind, p.partstrat, c.oid, c.reltuples
     order by min(tree.depth), n.nspname, c.relname
"""

# The same of an ordinary table without children.
_ALONE = """
    select c.oid::bigint, null as parent, format('%s.%s', n.nspname, c.relname) as name,
           cast(c.relkind as text) as kind, null as strategy,
           pg_get_partition_constraintdef(c.oid) as bound, pg_relation_filenode(c.oid)::bigint as filenode,
           pg_relation_size(c.oid) / current_setting('block_size')::int as blocks, c.reltuples as rows,
           null as keyed
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid = :oid
"""
