"""The partitions of a table as the live database has them, and what stands against taking one away as a whole.

A row that goes with its partition goes by no DELETE: no trigger fires for it, no foreign key is followed, and the role
must own what it takes away. What would differ from a DELETE is found here, from the catalogue alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift.catalogue.table import TableFacts
from nightshift.database.quoting import quoted

MOST_ROWS_A_BLOCK_HEADERS = 24
"""Bytes of a block that hold no rows."""
OF_ANY_AGE = "it is the default partition, which takes rows of any age"
"""Why a default partition stays, if nothing else stands against its going."""
LEAST_ROW_BYTES = 28
"""What a row takes in a block at least: its header, and its place in the block's list."""


class Partition(NamedTuple):
    """A table below the named one: a partition that holds rows, or one that is partitioned, with all below it."""

    oid: int
    schema: str
    relname: str
    parent: str
    """The table that it is attached to, as SQL takes it."""
    bound: str
    """The condition that every row of it fulfils, those of all tables above it included."""
    leaves: tuple[int, ...]
    blocks: int
    block_bytes: int
    bytes: int
    """With its indexes, and what is stored apart from the rows."""
    estimate: float
    """The planner's idea of the number of rows. Negative: never analysed."""
    against: str | None = None
    """Why it cannot go as a whole, and what to do about it."""

    @property
    def name(self) -> str:
        """With its schema."""
        return f"{self.schema}.{self.relname}"

    @property
    def quoted(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.relname)}"

    @property
    def most_rows(self) -> int:
        """More rows than this do not fit into its blocks, whatever is in them."""
        return self.blocks * ((self.block_bytes - MOST_ROWS_A_BLOCK_HEADERS) // LEAST_ROW_BYTES)

    @property
    def about(self) -> int:
        """How many rows it has by the planner's estimate, and never more than fit; 0 where it was never analysed."""
        return min(self.most_rows, max(0, round(self.estimate)))


class Partitions(NamedTuple):
    """A partitioned table's tree."""

    children: Mapping[int, tuple[Partition, ...]]
    """By the oid of the table that they are attached to, in the order of their names."""
    root: int

    @property
    def every(self) -> tuple[Partition, ...]:
        return tuple(each for some in self.children.values() for each in some)


class Around(NamedTuple):
    """What takes notice when a partition goes, or does not."""

    published: tuple[str, ...]
    """Publications that the table is in: who follows them is not told of a partition that goes."""
    watched: bool
    """Event triggers are at work: they may do anything when a table goes."""


def against_whole(session: Session, facts: TableFacts, *, to_schema: str | None = None) -> tuple[str, ...]:
    """What stands against taking away any whole partition of a table: each with its remedy, in words.

    to_schema: the schema in which detached partitions are kept; None: they are dropped.
    """
    if facts.kind != "p":
        remedy = "leave partitions= out of the step"
        return (f"{facts.fullname} is not partitioned, so it has no partition that could go as a whole: {remedy}",)
    found = []
    role, owner, owned, administers = session.execute(_OWNER, {"oid": facts.oid}).one()
    if not owned:
        said = f"only its owner may take a partition of {facts.fullname} away, and this role ({role}) is not {owner}"
        if administers:
            said += (
                ", which administers the server, so nobody should be granted it: make a role that owns the table and "
                f"its partitions, and grant that one to {role}"
            )
        else:
            said += f": grant {quoted(owner)} to {quoted(role)}"
        found.append(f"{said}; or leave partitions= out of the step, to delete its rows")
    own = session.scalars(_TRIGGERS, {"oid": facts.oid}).all()
    if own:
        found.append(
            f"the trigger {own[0]} on {facts.fullname} would not fire for rows that go with their partition: drop it, "
            "or leave partitions= out of the step, to delete the rows"
        )
    if to_schema is not None:
        found += _against_schema(session, to_schema, role)
    return tuple(found)


def _against_schema(session: Session, name: str, role: str) -> list[str]:
    exists, may = session.execute(_SCHEMA, {"name": name}).one()
    if not exists:
        return [f"there is no schema {name} to keep detached partitions in: create schema {quoted(name)}"]
    if not may:
        return [
            f"this role may not create tables in the schema {name}, where detached partitions are kept: "
            f"grant create on schema {quoted(name)} to {quoted(role)}"
        ]
    return []


def tree_of(
    session: Session, facts: TableFacts, *, to_schema: str | None = None, only: Sequence[str] | None = None
) -> Partitions:
    """Every partition below a table, in the caller's transaction, each with what stands against its going.

    only: the names of some, as SQL takes them; these and what is below them. One that is not below the table is not
        there. What PostgreSQL itself refuses (a foreign key, a view that depends on it) is then not looked for.
    """
    rows = session.execute(
        _TREE, {"oid": facts.oid, "to_schema": to_schema, "only": None if only is None else list(only)}
    ).all()
    below: dict[int, list[Any]] = {}
    for row in rows:
        below.setdefault(row.parent, []).append(row)
    found: dict[int, tuple[Partition, ...]] = {}

    def walk(oid: int) -> Sequence[Partition]:
        made = [_with_all_below(row, walk(row.oid), facts.oid) for row in below.get(oid, ())]
        if made:
            found[oid] = tuple(sorted(made, key=lambda each: each.name))
        return made

    tops = {facts.oid} if only is None else {row.parent for row in rows} - {row.oid for row in rows}
    for top in tops:
        walk(top)
    return Partitions(found, facts.oid)


def unrelated_key(session: Session, facts: TableFacts, age: str) -> str | None:
    """What a table is partitioned by, where no bound of any of its partitions says how old the rows in it are.

    age: the column that tells it.
    """
    told, related = session.execute(_KEYS, {"oid": facts.oid, "age": age}).one()
    return None if related else str(told)


def pending(session: Session, facts: TableFacts) -> list[tuple[str, str]]:
    """Partitions that somebody began to detach and never finished, by name, each with the SQL that finishes it.

    Whoever reads or deletes from the table does not see their rows any more.
    """
    return [(row.name, row.remedy) for row in session.execute(_PENDING, {"oid": facts.oid})]


def around(session: Session, facts: TableFacts) -> Around:
    """What else takes notice of a table's partitions."""
    published, watched = session.execute(_AROUND, {"oid": facts.oid}).one()
    return Around(tuple(published), watched)


def _with_all_below(row: Any, below: Sequence[Partition], root: int) -> Partition:
    own = Partition(
        row.oid,
        row.schema,
        row.relname,
        row.parent_name,
        row.bound or "true",
        (row.oid,) if row.kind != "p" else tuple(leaf for each in below for leaf in each.leaves),
        row.blocks + sum(each.blocks for each in below),
        row.block_bytes,
        row.bytes + sum(each.bytes for each in below),
        _sum([row.rows] if row.kind != "p" else [each.estimate for each in below]),
        _against(row, root),
    )
    # The default partition of a part takes rows of any age that the part itself takes.
    within = (each for each in below if each.against not in (None, OF_ANY_AGE))
    reason = next((f"{each.name} in it: {each.against}" for each in within), None)
    return own if own.against not in (None, OF_ANY_AGE) or reason is None else own._replace(against=reason)


def _sum(estimates: Sequence[float]) -> float:
    return -1.0 if any(each < 0 for each in estimates) else sum(estimates)


def _against(row: Any, root: int) -> str | None:
    if row.is_default and row.parent == root:
        return OF_ANY_AGE
    if row.kind not in ("r", "p"):
        return "it is a foreign table"
    if not row.owned:
        return (
            f"this role does not own it: alter table {quoted(row.schema)}.{quoted(row.relname)} owner to the same role"
        )
    if row.triggers:
        return f"its trigger {row.triggers[0]} would not fire"
    if row.keys:
        return f"the foreign key {row.keys[0]} points to it alone"
    if row.dependents:
        return f"{row.dependents[0]} depends on it"
    if row.taken:
        return f"the schema in which it would be kept has a table {row.relname} already"
    return OF_ANY_AGE if row.is_default else None


_OWNER = text(
    """
    select current_user as role, r.rolname as owner, pg_has_role(relowner, 'usage') as owned,
           r.rolsuper or r.rolcreaterole or r.rolbypassrls as administers
      from pg_class c join pg_roles r on r.oid = relowner where c.oid = :oid
    """
)
_SCHEMA = text(
    """
    select n.oid is not null as there, coalesce(has_schema_privilege(n.oid, 'create'), false) as may
      from (select 1) one left join pg_namespace n on n.nspname = :name
    """
)
_TRIGGERS = text(
    """
    select cast(tgname as text) from pg_trigger
     where tgrelid = :oid and tgparentid = 0 and not tgisinternal and tgenabled in ('O', 'A') and tgtype & 8 > 0
     order by 1
    """
)
# At any level. Of a key of several columns only the first has bounds of its own; hashes have none.
_KEYS = text(
    """
    with recursive tree (oid, depth) as (
        select cast(cast(:oid as bigint) as oid), 0
        union all
        select inhrelid, depth + 1 from tree join pg_inherits on inhparent = tree.oid where not inhdetachpending
    )
    select string_agg(distinct pg_get_partkeydef(tree.oid), ' and then by ') as told,
           bool_or(p.partstrat in ('r', 'l') and a.attname = :age) as related
      from tree join pg_partitioned_table p on p.partrelid = tree.oid
      left join pg_attribute a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
    """
)
_PENDING = text(
    """
    with recursive tree (oid, parent, pending) as (
        select cast(cast(:oid as bigint) as oid), cast(null as oid), false
        union all
        select inhrelid, inhparent, inhdetachpending from tree join pg_inherits on inhparent = tree.oid
         where not tree.pending
    )
    select format('%s.%s', n.nspname, c.relname) as name,
           format('alter table %I.%I detach partition %I.%I finalize', pn.nspname, p.relname, n.nspname, c.relname)
               as remedy
      from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace
      join pg_class p on p.oid = tree.parent join pg_namespace pn on pn.oid = p.relnamespace
     where tree.pending order by 1
    """
)
_AROUND = text(
    """
    select array(select distinct cast(pubname as text) from pg_publication_tables
                  where to_regclass(format('%I.%I', schemaname, tablename)) in (
                            select relid from pg_partition_tree(cast(cast(:oid as oid) as regclass)))
                  order by 1) as published,
           exists (select from pg_event_trigger where evtenabled in ('O', 'A')) as watched
    """
)
_TREE = text(
    """
    with recursive tree (oid, parent) as (
        select inhrelid, inhparent from pg_inherits
         where not inhdetachpending and case when cast(:only as text[]) is null then inhparent = :oid
               else inhrelid in (select to_regclass(name) from unnest(cast(:only as text[])) name)
                    and :oid in (select relid from pg_partition_ancestors(inhrelid)) end
        union all
        select inhrelid, inhparent from tree join pg_inherits on inhparent = tree.oid where not inhdetachpending
    )
    select cast(tree.oid as bigint) as oid, cast(tree.parent as bigint) as parent,
           n.nspname as schema, c.relname, cast(c.relkind as text) as kind,
           format('%I.%I', pn.nspname, p.relname) as parent_name,
           pg_get_partition_constraintdef(c.oid) as bound,
           pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT' as is_default,
           pg_has_role(c.relowner, 'usage') as owned,
           cast(current_setting('block_size') as int) as block_bytes,
           case when c.relkind = 'r' then pg_relation_size(c.oid) / cast(current_setting('block_size') as int)
                else 0 end as blocks,
           case when c.relkind = 'r' then pg_total_relation_size(c.oid) else 0 end as bytes,
           c.reltuples as rows,
           array(select cast(tgname as text) from pg_trigger
                  where tgrelid = c.oid and tgparentid = 0 and not tgisinternal and tgenabled in ('O', 'A')
                    and tgtype & 8 > 0 order by 1) as triggers,
           array(select cast(conname as text) from pg_constraint o
                  where cast(:only as text[]) is null and o.confrelid = c.oid and o.contype = 'f' and o.conparentid = 0
                  order by 1) as keys,
           case when cast(:to_schema as text) is null and cast(:only as text[]) is null then
               array(select distinct coalesce('the view ' || cast(cast(r.ev_class as regclass) as text),
                                              'the ' || pg_describe_object(d.classid, d.objid, d.objsubid))
                       from pg_depend d
                       left join pg_rewrite r on d.classid = cast('pg_rewrite' as regclass) and r.oid = d.objid
                       left join pg_attrdef f on d.classid = cast('pg_attrdef' as regclass) and f.oid = d.objid
                      where d.deptype = 'n' and d.classid <> cast('pg_constraint' as regclass)
                        and c.oid not in (coalesce(r.ev_class, 0), coalesce(f.adrelid, 0))
                        and (d.refclassid = cast('pg_class' as regclass)
                                 and (d.refobjid = c.oid or d.refobjid in (
                                         select s.objid from pg_depend s
                                          where s.classid = cast('pg_class' as regclass) and s.refobjid = c.oid
                                            and s.refclassid = s.classid and s.deptype in ('a', 'i')))
                             or d.refclassid = cast('pg_type' as regclass)
                                 and d.refobjid in (c.reltype, (select typarray from pg_type where oid = c.reltype)))
                      order by 1)
           else cast('{}' as text[]) end as dependents,
           cast(:to_schema as text) is not null and exists (
               select from pg_class t join pg_namespace tn on tn.oid = t.relnamespace
                where tn.nspname = :to_schema and t.relname = c.relname and t.oid <> c.oid) as taken
      from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace
      join pg_class p on p.oid = tree.parent join pg_namespace pn on pn.oid = p.relnamespace
    """
)
