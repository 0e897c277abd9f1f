"""What the live database says of a table: read in a few statements, once a run and at every plan.

What the engine decides (which way, which rows stay, what a deletion takes with it, what it must refuse) it decides from
this, and never from what a model says.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

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
    nullable: bool
    text_like: bool
    default: str | None = None
    """As SQL writes it."""


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
    among: tuple[int, ...] = ()
    """The leaves whose rows can be referred to, where it is not the whole table: PostgreSQL looks for the referred row
    in the one relation that the key names, and in no other that inherits from it. Empty: any row."""
    alone: bool = False
    """Whether rows of tables that inherit from the referring one do not refer."""
    empties: tuple[str, ...] = ()
    """The referring columns that SET NULL and SET DEFAULT write: all of them, or those that the key names."""
    period: bool = False
    """Whether the last column is a period (PERIOD), which refers to all that it overlaps."""
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


class Leaf(NamedTuple):
    """A table that holds rows itself: an ordinary one, a partition, or one that inherits."""

    oid: int
    name: str
    filenode: int
    blocks: int
    rows: float
    """The planner's idea of the number of rows. Negative: never analysed."""


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
    rules: tuple[str, ...]
    """Rules that rewrite a DELETE or UPDATE into something else."""
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
        row.name: Column(row.name, row.type, row.base, not row.required, row.text_like, row.default)
        for row in known["columns"]
    }
    keyed = [row for row in known["indexes"] if row.is_key]
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
        references=tuple(_reference(row) for row in known["references"]),
        triggers=tuple(Trigger(row.name, row.before, row.each_row, row.on_delete) for row in known["triggers"]),
        rules=tuple(row.name for row in known["rules"]),
        may=frozenset(right for right in ("select", "delete", "update") if getattr(head, f"may_{right}")),
        filtered=head.filtered,
        portions=_portions(head, known["tree"]),
        bytes=head.bytes,
        rows=head.rows,
        inherited=head.inherited,
        role=head.role,
        reachable=head.reachable,
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
    if facts.rules and action != "count":
        yield Obstacle(
            f"the rule {facts.rules[0]} on {name} turns an {action} into something else",
            "drop it, or write a Function step that does what is meant",
            f"drop rule {quoted(facts.rules[0])} on {facts.quoted}",
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


MOST_LEAVES_NAMED = 24


def create_index(facts: TableFacts, columns: Sequence[str]) -> str:
    """The SQL that makes an index while the application goes on, one statement after the other.

    PostgreSQL builds none concurrently on a partitioned table. It is built on each partition; the last statement finds
    them and only joins them.
    """
    keys = ", ".join(map(quoted, columns))
    leaves = [leaf.name for leaf in facts.leaves]
    if facts.kind != "p":
        return f"create index concurrently on {facts.quoted} ({keys})"
    some = leaves if len(leaves) <= MOST_LEAVES_NAMED else []
    each = [f"create index concurrently on {quoted_whole(leaf)} ({keys})" for leaf in some]
    return "; ".join([*each, f"create index on {facts.quoted} ({keys})"])


def _questions_about(head: Any) -> dict[str, str]:
    """What is still to be asked of a table. To plan a question costs more than to answer it, and PostgreSQL marks every
    table that has triggers, rules or children. A foreign key is a trigger on both of its sides.
    """
    whole = head.kind != "r" or head.has_children
    asked = {"columns": _COLUMNS, "indexes": _INDEXES, "tree": _TREE if whole else _ALONE}
    if whole or head.has_triggers:
        asked |= {"references": _REFERENCES, "triggers": _TRIGGERS}
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
    nothing: dict[str, list[Any]] = {"references": [], "triggers": [], "rules": []}
    return nothing | found


def _reference(row: Any) -> Reference:
    return Reference(
        row.name,
        row.schema,
        row.child,
        tuple(row.columns),
        tuple(row.parent_columns),
        _ON_DELETE[row.on_delete],
        row.deferrable,
        row.indexed,
        tuple(row.among),
        row.alone,
        tuple(row.empties),
        row.period,
        row.turn or "",
    )


def _portions(head: Any, rows: list[Any]) -> tuple[Portion, ...]:
    """The parts of the table that are walked one after the other, in the order of their names."""
    leaves = {row.oid: Leaf(row.oid, row.name, row.filenode or 0, row.blocks or 0, row.rows) for row in rows}
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
           has_table_privilege(c.oid, 'update') as may_update,
           row_security_active(c.oid) as filtered, cast(current_user as text) as role,
           has_schema_privilege(n.oid, 'usage') as reachable,
           c.relhastriggers as has_triggers, c.relhasrules as has_rules, c.relhassubclass as has_children,
           case when c.relkind <> 'p' then pg_total_relation_size(c.oid) else (
                select coalesce(sum(pg_total_relation_size(relid)), 0)::bigint
                  from pg_partition_tree(c.oid) where isleaf) end as bytes,
           c.relkind = 'r' and c.relhassubclass and exists (
                select from pg_inherits where inhparent = c.oid) as inherited
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid = :oid
"""

_COLUMNS = """
    select attname as name, format_type(atttypid, atttypmod) as type, attnotnull as required,
           (with recursive behind (oid, basetype, typname, category) as (
                select oid, typbasetype, typname, typcategory from pg_type where oid = atttypid
                union all
                select t.oid, t.typbasetype, t.typname, t.typcategory from behind join pg_type t on t.oid = basetype
            ) select cast(typname as text) from behind where basetype = 0) as base,
           (select typcategory = 'S' from pg_type where oid = atttypid) as text_like,
           (select pg_get_expr(adbin, adrelid) from pg_attrdef
             where attgenerated = '' and adrelid = attrelid and adnum = attnum) as default
      from pg_attribute
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
           exists (select from pg_index i where i.indrelid = o.conrelid and i.indisvalid
                      and i.indkey[0] = any (o.conkey)
                      -- One of all rows that refer at all finds them as well.
                      and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) = (
                              select format('(%I IS NOT NULL)', attname) from pg_attribute
                               where attrelid = i.indrelid and attnum = i.indkey[0]))
                      and (select amname from pg_class c join pg_am on pg_am.oid = c.relam
                            where c.oid = i.indexrelid) in ('btree', 'hash')) as indexed,
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
    select rulename as name from pg_rewrite
     where ev_class = :oid and ev_type in ('2', '4') and ev_enabled in ('O', 'A') order by 1
"""

# The root, its partitions at every level, and of plain inheritance all that inherit.
_TREE = """
    with recursive tree (oid, parent) as (
        select cast(:oid as oid), cast(null as oid)
        union all
        select inhrelid, inhparent from tree join pg_inherits on inhparent = tree.oid where not inhdetachpending
    )
    select tree.oid::bigint, min(tree.parent::bigint) as parent, format('%s.%s', n.nspname, c.relname) as name,
           cast(c.relkind as text) as kind, cast(p.partstrat as text) as strategy,
           pg_get_partition_constraintdef(c.oid) as bound, pg_relation_filenode(c.oid)::bigint as filenode,
           case when c.relkind = 'r' then pg_relation_size(c.oid) / current_setting('block_size')::int end as blocks,
           c.reltuples as rows
      from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace
      left join pg_partitioned_table p on p.partrelid = c.oid
     group by tree.oid, n.nspname, c.relname, c.relkind, p.partstrat, c.oid, c.reltuples
     order by tree.oid <> :oid, n.nspname, c.relname
"""

# The same of an ordinary table without children.
_ALONE = """
    select c.oid::bigint, null as parent, format('%s.%s', n.nspname, c.relname) as name,
           cast(c.relkind as text) as kind, null as strategy,
           pg_get_partition_constraintdef(c.oid) as bound, pg_relation_filenode(c.oid)::bigint as filenode,
           pg_relation_size(c.oid) / current_setting('block_size')::int as blocks, c.reltuples as rows
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid = :oid
"""
