"""Which tables grow and age, and what a job for each would delete now: from the catalogue and the statistics alone.

No row is read. What a name and the columns do not say is not guessed: such a table is left out. What could be proposed
and is not, for a reason that somebody should know, is told with the reason.
"""

import datetime as dt
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift.catalogue.ages import NUMBERS, PER_SECOND, EpochUnit
from nightshift.catalogue.cascades import SHARE_APPLIES_ABOVE, TIMES, Closure, closure
from nightshift.catalogue.names import Kind, Role, is_entity, kind_of, role_of, without_expiry
from nightshift.catalogue.table import Column, Leaf, TableFacts, create_index, obstacles, quoted, quoted_whole, read

WHOLE_NUMBERS = ("int4", "int8", "numeric", "float8")

BYTES_AN_ENTRY = 24
"""What an entry of a b-tree over a time takes, its share of free space included."""
BYTES_A_SECOND, ROWS_A_SECOND = 200e6, 1e6
"""How fast an index is built, about: the table is read, then its entries are sorted."""
FIRST_SECOND, LAST_SECOND = 631_152_000, 4_102_444_800
"""Of the years 1990 to 2100: a number that is none of these, in no unit, is no time."""
DEFAULT_MAX_SHARE = 50
"""Percent; see the parameter `max_share` of jobs."""


@dataclass(frozen=True)
class Rule:
    """How old rows of a kind may get, by default, and why."""

    roles: Mapping[Role, int]
    """Days behind the moment that a column holds, by what it holds: the first that a table has is taken."""
    because: str


RULES: Mapping[Kind, Rule] = {
    "secret": Rule(
        {"expiry": 7, "finished": 30, "used": 90}, "what has expired, or was used up, lets nobody in any more"
    ),
    "cache": Rule({"expiry": 1}, "what has expired is computed again when somebody asks for it"),
    "log": Rule({"finished": 30, "created": 90, "expiry": 1}, "a log is read in the days after something happened"),
    "event": Rule({"created": 365, "expiry": 1}, "events are looked at for a while, and counted for at most a year"),
    "queue": Rule({"finished": 7, "expiry": 1}, "work that is done is kept only to see that it was done"),
    "notification": Rule({"expiry": 7, "created": 180}, "nobody opens a notification of half a year ago"),
    "cart": Rule({"expiry": 7, "used": 90}, "a cart that nobody has touched for so long was left behind"),
}
SOON = 7
"""Days for secrets that tell no expiry: what confirms an address or resets a password is used within a day."""

TO_TRY_AGAIN = 90
"""Days for work that failed: somebody may still look at it, and start it again."""

Reason = Literal[
    "legal",
    "referenced",
    "takes along",
    "unfinished",
    "unworkable",
    "no age",
    "unit",
    "partitioned",
    "expiry",
    "unreachable",
]


@dataclass(frozen=True)
class Index:
    """An index that is missing, and what it would cost, about."""

    sql: str
    bytes: int | None
    seconds: float | None


@dataclass(frozen=True)
class Going:
    """What would go, or change, along in another table, by estimate."""

    table: str
    action: str
    rows: int | None
    missing: Index | None = None


@dataclass(frozen=True)
class Proposal:
    """A job that could be written, and what it would do now, by estimate."""

    facts: TableFacts
    kind: Kind
    column: Column
    role: Role
    days: int
    because: str
    unit: EpochUnit | None
    total: int | None
    """The table's rows. None: unknown, as it was never analysed."""
    rows: int | None
    """Those that would go now. None: unknown."""
    unknown: str | None
    """Why the numbers are unknown."""
    remedy: str | None
    """The SQL after which they are known."""
    along: tuple[Going, ...]
    missing: Index | None

    @property
    def share(self) -> float | None:
        """Of the table's rows, from 0 to 1."""
        return self.rows / self.total if self.rows is not None and self.total else None

    @property
    def bytes(self) -> int | None:
        return round(self.facts.bytes * self.share) if self.share is not None else None

    @property
    def over_cap(self) -> bool:
        """Whether the first run would stop at the default cap on the share."""
        share, rows = self.share, self.rows
        return share is not None and rows is not None and rows > SHARE_APPLIES_ABOVE and share * 100 > DEFAULT_MAX_SHARE

    def as_json(self) -> dict[str, Any]:
        return {
            "table": self.facts.fullname,
            "schema": self.facts.schema,
            "name": self.facts.name,
            "kind": self.kind,
            "column": self.column.name,
            "holds": self.role,
            "older_than_days": self.days,
            "measured_in": self.unit,
            "because": self.because,
            "rows": self.rows,
            "of": self.total,
            "share": None if self.share is None else round(self.share, 4),
            "bytes": self.bytes,
            "table_bytes": self.facts.bytes,
            "partitions": len(self.facts.portions) if self.facts.kind == "p" else None,
            "over_cap": self.over_cap,
            "unknown": self.unknown,
            "remedy": self.remedy,
            "cascades": [_without_none(vars(each) | {"missing": _index_json(each.missing)}) for each in self.along],
            "missing": _index_json(self.missing),
        }


@dataclass(frozen=True)
class LeftAside:
    """A table that ages, and that no job is proposed for."""

    table: str
    reason: Reason
    why: str

    def as_json(self) -> dict[str, Any]:
        return {"table": self.table, "reason": self.reason, "why": self.why}


@dataclass(frozen=True)
class Suggested:
    """What was found. Proposals have the most bytes first, and those whose numbers are unknown last."""

    proposals: tuple[Proposal, ...] = ()
    aside: tuple[LeftAside, ...] = ()
    looked_at: int = 0
    covered: tuple[str, ...] = field(default=())
    """Tables that a declared job cleans up already."""

    def as_json(self) -> dict[str, Any]:
        return {
            "looked_at": self.looked_at,
            "covered": list(self.covered),
            "proposals": [each.as_json() for each in self.proposals],
            "aside": [each.as_json() for each in self.aside],
        }


def suggest(session: Session, covered: Collection[str], *, now: dt.datetime) -> Suggested:
    """Look at every table, in the caller's transaction, which may be read only.

    covered: the tables that declared jobs delete from, as steps name them: nothing is proposed for these.
    """
    tables = list(_surveyed(session))
    known = {each.replace('"', "").removeprefix("public.").lower() for each in covered}
    clean = [each for each in tables if _plain(each).lower() in known]
    goes_along = {oid for each in clean for oid in _whole(closure(session, read(session, each["oid"])))}
    proposals, aside = [], list(_unreachable(session))
    for each in tables:
        if each in clean or each["oid"] in goes_along:
            continue
        found = _judged(session, each, now)
        if isinstance(found, Proposal):
            proposals.append(found)
        elif found is not None:
            aside.append(found)
    reached = {oid for each in proposals for oid in _whole(closure(session, each.facts))}
    proposals = [each for each in proposals if each.facts.oid not in reached]
    proposals.sort(key=lambda each: (each.rows is None, -(each.bytes or 0), each.facts.fullname))
    aside.sort(key=lambda each: each.table)
    return Suggested(tuple(proposals), tuple(aside), len(tables), tuple(sorted(map(_plain, clean))))


def _whole(reach: Closure) -> set[int]:
    """Tables of which every row belongs to a row of this one, and goes with it: they need no job of their own."""
    whole = {reach.root.oid}
    for parent, edge in reach.edges:
        columns = reach.facts(edge.child).columns
        if parent in whole and edge.on_delete == "cascade" and not any(columns[name].nullable for name in edge.columns):
            whole.add(edge.child)
    return whole - {reach.root.oid}


def _plain(row: Mapping[str, Any]) -> str:
    return row["name"] if row["schema"] == "public" else f"{row['schema']}.{row['name']}"


def _surveyed(session: Session) -> Iterator[dict[str, Any]]:
    """Every table of the application with its columns: in one statement, however many there are."""
    for row in session.execute(_SURVEY).mappings():
        yield dict(row)


def _unreachable(session: Session) -> Iterator[LeftAside]:
    """Schemas with tables of which this role may not even know more than the names."""
    for schema, role, tables in session.execute(_UNREACHABLE):
        sql = f"grant usage on schema {quoted(schema)} to {quoted(role)}"
        yield LeftAside(f"{schema}.*", "unreachable", f"this role may not look at its tables ({tables}): {sql}")


def _judged(session: Session, row: Mapping[str, Any], now: dt.datetime) -> Proposal | LeftAside | None:
    """What is to be said of one table. None: nothing says that its rows are for a time only."""
    name, columns = _plain(row), row["columns"]
    kind = kind_of(row["name"], list(columns))
    timed = {column: base for column, base in columns.items() if base in TIMES or base in WHOLE_NUMBERS}
    if kind == "bookkeeping" or not timed or not row["bytes"]:
        return None
    if kind is None:
        return _unnamed(row, timed)
    if kind == "legal":
        if not any(base in TIMES or role_of(column) for column, base in timed.items()):
            return None
        why = "laws and contracts may say how long such records are kept: ask your lawyer, then write the job yourself"
        return LeftAside(name, "legal", why)
    rule = RULES[kind]
    ages = _ages(row["name"], kind, rule, timed)
    if not ages:
        return _ageless(name, kind, timed)
    facts = read(session, row["oid"])
    reach = closure(session, facts)
    if (left := _in_the_way(name, facts, reach)) is not None:
        return left
    measured = _measured(session, facts, ages)
    if measured is None:
        return LeftAside(name, "unit", _unmeasured(session, facts, ages[0][2]))
    role, days, column, unit = measured
    total, rows, unknown, remedy = _estimated(session, facts, column, unit, now - dt.timedelta(days=days))
    if total == 0:
        return None
    along = tuple(_along(facts, reach, rows, total))
    missing = None if _leads(facts, column.name) else _index(facts, (column.name,), total)
    return Proposal(facts, kind, column, role, days, rule.because, unit, total, rows, unknown, remedy, along, missing)


def _ages(name: str, kind: Kind, rule: Rule, timed: Mapping[str, str]) -> list[tuple[Role, int, str]]:
    """The columns that could tell the age, the best first: role, days, column."""
    roles = dict(rule.roles)
    if kind == "secret" and without_expiry(name):
        roles["created"] = SOON
    if kind == "secret" and not re.search(r"session", name, re.IGNORECASE):
        roles.pop("used", None)  # a key that is seldom used is not worth less
    held = {column: role_of(column) for column in timed}
    # Of a log that tells several moments, the one in which a row is written comes first; then the order of columns.
    return [
        (role, TO_TRY_AGAIN if role == "finished" and "fail" in column.lower() else days, column)
        for role, days in roles.items()
        for column in timed
        if held[column] == role
    ]


def _unnamed(row: Mapping[str, Any], timed: Mapping[str, str]) -> LeftAside | None:
    """A table that ages by its shape, but whose name says nothing of it."""
    if timed.get(row["divided_by"]) in TIMES:
        why = f"it is partitioned by {row['divided_by']}, but its name does not say that its rows are for a time only"
        return LeftAside(_plain(row), "partitioned", why)
    ending = [column for column, base in timed.items() if base in TIMES and role_of(column) == "expiry"]
    if ending and not is_entity(row["name"]):
        why = f"its rows end at {ending[0]}, but its name does not say that nobody needs them then"
        return LeftAside(_plain(row), "expiry", why)
    return None


def _ageless(name: str, kind: Kind, timed: Mapping[str, str]) -> LeftAside | None:
    if not any(role_of(column) for column in timed):
        return None
    if kind == "queue":
        why = "no column says when work was finished, so a job by age would take work that is still to be done"
        return LeftAside(name, "unfinished", why)
    if kind in ("secret", "cart"):
        return LeftAside(name, "no age", "no column says when a row has expired, and old ones may still be in use")
    return None


def _in_the_way(name: str, facts: TableFacts, reach: Closure) -> LeftAside | None:
    """Why nothing is proposed by default although the table ages."""
    mine = replace(facts, may=frozenset({"select", "delete"}), filtered=False, reachable=True)
    for obstacle in obstacles(mine, "delete", visible=True):
        return LeftAside(name, "unworkable", str(obstacle))
    keeping = [reach.facts(each.child).fullname for each in reach.keeping]
    if keeping:
        which = ", ".join(dict.fromkeys(keeping))
        return LeftAside(name, "referenced", f"rows of {which} refer to its rows, and would not go with them")
    for trigger in facts.triggers:
        if trigger.before and trigger.each_row:
            why = f"the trigger {trigger.name} decides what a deletion does: look at it first"
            return LeftAside(name, "unworkable", why)
    for _, edge in reach.edges:
        child = reach.facts(edge.child)
        if child.oid != facts.oid and is_entity(child.name):
            does = "would go with them" if edge.on_delete == "cascade" else "would lose their reference to them"
            return LeftAside(name, "takes along", f"rows of {child.fullname} {does}")
    return None


def _leads(facts: TableFacts, column: str) -> bool:
    """Whether an index begins with the column, for all rows or for all that have a time in it."""
    return any(
        index.method == "btree"
        and index.keys[:1] in ((column,), (quoted(column),))
        and index.predicate in (None, f"({column} IS NOT NULL)", f"({quoted(column)} IS NOT NULL)")
        for index in facts.indexes
    )


def _index(facts: TableFacts, columns: Sequence[str], rows: int | None) -> Index:
    size = round(rows * BYTES_AN_ENTRY) if rows is not None else None
    took = None if rows is None else round(facts.bytes / BYTES_A_SECOND + rows / ROWS_A_SECOND, 1)
    return Index(create_index(facts, columns), size, took)


def _along(facts: TableFacts, reach: Closure, rows: int | None, total: int | None) -> Iterator[Going]:
    """What goes along: of each table as large a part as of the table that it refers to, for want of better."""
    share: dict[int, float | None] = {facts.oid: rows / total if rows is not None and total else None}
    for parent, edge in reach.edges:
        child = reach.facts(edge.child)
        if child.oid == facts.oid:
            continue
        known = _rows_of(child)
        part = share.get(parent)
        told = round(known * part) if known is not None and part is not None else None
        action = "delete" if edge.on_delete == "cascade" else "update"
        missing = None if edge.indexed else _index(child, edge.columns, known)
        yield Going(child.fullname, action, told, missing)
        share[child.oid] = part


def _rows_of(facts: TableFacts) -> int | None:
    """The planner's number of rows; of a partitioned table the sum, as autovacuum never analyses it as a whole."""
    leaves = facts.leaves
    if any(leaf.rows <= 0 and leaf.blocks for leaf in leaves):
        return None
    return round(sum(max(0.0, leaf.rows) for leaf in leaves))


def _unmeasured(session: Session, facts: TableFacts, column: str) -> str:
    """Why nobody knows what a number counts."""
    hidden = _hidden(session, facts, facts.leaves)
    if not hidden:
        return f"{column} is a number, and its statistics do not say what it counts: analyze {facts.quoted}"
    remedy = "" if (sql := _grant(facts, hidden)) is None else f": {sql}"
    return f"{column} is a number, and this role may not see the statistics that say what it counts{remedy}"


def _hidden(session: Session, facts: TableFacts, leaves: Sequence[Leaf]) -> list[Leaf]:
    """Those whose statistics PostgreSQL does not show to this role: it may not read all rows, or not this partition."""
    if facts.filtered:
        return [*leaves]
    asked = text(
        "select oid::bigint from unnest(cast(:oids as oid[])) oid where not has_table_privilege(oid, 'select')"
    )
    unreadable = set(session.scalars(asked, {"oids": [leaf.oid for leaf in leaves]}))
    return [leaf for leaf in leaves if leaf.oid in unreadable]


def _grant(facts: TableFacts, hidden: Sequence[Leaf]) -> str | None:
    """The SQL after which this role sees them, where a right is all that it takes."""
    if facts.filtered:
        return None
    tables = dict.fromkeys((facts.quoted, *(quoted_whole(leaf.name) for leaf in hidden)))
    return f"grant select on {', '.join(tables)} to {quoted(facts.role)}"


def _measured(
    session: Session, facts: TableFacts, ages: Sequence[tuple[Role, int, str]]
) -> tuple[Role, int, Column, EpochUnit | None] | None:
    """The first of the columns that tells an age: of a number, the size of the values says what it counts."""
    leaves = [leaf.oid for leaf in facts.leaves]
    for role, days, name in ages:
        column = facts.columns[name]
        if column.base not in NUMBERS:
            return role, days, column, None
        found = session.execute(_MAGNITUDE, {"oids": leaves, "column": name}).scalar()
        for unit, factor in PER_SECOND.items():
            if found is not None and FIRST_SECOND * factor <= float(found) < LAST_SECOND * factor:
                return role, days, column, unit
    return None


def _estimated(
    session: Session, facts: TableFacts, column: Column, unit: EpochUnit | None, cutoff: dt.datetime
) -> tuple[int | None, int | None, str | None, str | None]:
    """Rows in all, rows older than the cut-off, and where that is unknown why, and the SQL after which it is known."""
    leaves = {leaf.oid: (leaf, portion.bound) for portion in facts.portions for leaf in portion.leaves}
    as_type = "numeric" if unit else column.base
    limit = str(int(cutoff.timestamp() * PER_SECOND[unit])) if unit else cutoff.isoformat()
    asked = text(_BELOW.replace("$type", as_type))
    known = session.execute(asked, {"oids": list(leaves), "column": column.name, "limit": limit})
    shares = {row.oid: row.share for row in known}
    total, going = 0.0, 0.0
    unknown, unread = [], []
    for oid, (leaf, bound) in leaves.items():
        if not leaf.blocks:
            continue
        if leaf.rows <= 0:  # never analysed, or empty when it was
            unknown.append(leaf)
            continue
        share = _by_bound(bound, column.name, cutoff) if unit is None else None
        share = shares.get(oid) if share is None else share
        if share is None:
            unread.append(leaf)
        total += leaf.rows
        going += leaf.rows * float(share or 0)
    if unknown:
        return None, None, "it was not analysed since it has rows, so nobody knows how many", _analyze(facts, unknown)
    if unread:
        if hidden := _hidden(session, facts, unread):
            return round(total), None, "this role may not see its statistics", _grant(facts, hidden)
        return round(total), None, f"there are no statistics of {column.name}", _analyze(facts, unread)
    return round(total), round(going), None, None


def _analyze(facts: TableFacts, leaves: Sequence[Leaf]) -> str:
    return f"analyze {quoted_whole(leaves[0].name) if len(leaves) == 1 else facts.quoted}"


def _by_bound(bound: str | None, column: str, cutoff: dt.datetime) -> float | None:
    """All or nothing, where a partition by time lies wholly on one side of the cut-off."""
    for sign, wanted in (("<", True), (">=", False)):
        found = re.search(rf'\b"?{re.escape(column)}"? {sign} \'([^\']+)\'', bound or "")
        try:
            instant = dt.datetime.fromisoformat(found[1]) if found else None
        except ValueError:
            continue  # beyond Python's years, or no time
        if instant is not None:
            instant = instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)
            if (instant <= cutoff) if wanted else (instant >= cutoff):
                return 1.0 if wanted else 0.0
    return None


def _without_none(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if value is not None or key == "rows"}


def _index_json(index: Index | None) -> dict[str, Any] | None:
    return None if index is None else dict(vars(index))


# Of plain inheritance only the parent is a table of its own, as of partitions; what an extension made is its affair.
_UNREACHABLE = text(
    """
    select cast(n.nspname as text), cast(current_user as text), count(*)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and c.relpersistence <> 't' and not c.relispartition
       and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'nightshift')
       and not has_schema_privilege(n.oid, 'usage')
     group by n.nspname
    """
)

_SURVEY = text(
    """
    select c.oid::bigint as oid, cast(n.nspname as text) as schema, cast(c.relname as text) as name,
           (select coalesce(sum(pg_relation_size(relid)), 0)::bigint from (
                with recursive tree (relid) as (
                    select c.oid union all select inhrelid from tree join pg_inherits on inhparent = tree.relid
                ) select relid from tree) parts) as bytes,
           (select json_object_agg(a.attname, (
                       with recursive behind (oid, basetype, typname) as (
                           select oid, typbasetype, typname from pg_type where oid = a.atttypid
                           union all
                           select t.oid, t.typbasetype, t.typname from behind join pg_type t on t.oid = behind.basetype
                       ) select cast(typname as text) from behind where basetype = 0) order by a.attnum)
              from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
           (select cast(a.attname as text) from pg_partitioned_table p
              join pg_attribute a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
             where p.partrelid = c.oid and p.partstrat = 'r') as divided_by
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and c.relpersistence <> 't'
       and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'nightshift')
       and has_schema_privilege(n.oid, 'usage')
       and not exists (select from pg_inherits where inhrelid = c.oid)
       and not exists (select from pg_depend where classid = 'pg_class'::regclass and objid = c.oid and deptype = 'e')
     order by n.nspname, c.relname
    """
)

# The share of a table's rows with a smaller value: of the common values those that are smaller, of the others the part
# of the histogram that lies below. Between two bounds it is taken to be half.
_BELOW = """
    select c.oid::bigint as oid,
           (select coalesce(sum(f), 0)
              from unnest(cast(cast(s.most_common_vals as text) as $type[]), s.most_common_freqs) as common (v, f)
             where v < limit_)
           + (1 - s.null_frac - (select coalesce(sum(f), 0) from unnest(s.most_common_freqs) f))
             * coalesce((select case when below = 0 then 0 when below = bounds then 1
                                     else (below - 0.5) / (bounds - 1) end
                           from (select count(*) as bounds, count(*) filter (where b < limit_) as below
                                   from unnest(cast(cast(s.histogram_bounds as text) as $type[])) b) h
                          where bounds > 1), 0) as share
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      join pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname and not s.inherited,
           cast(:limit as $type) limit_
     where c.oid = any (cast(:oids as oid[])) and s.attname = :column
"""

_MAGNITUDE = text(
    """
    select percentile_disc(0.5) within group (order by v)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      join pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname and not s.inherited,
           unnest(cast(cast(s.histogram_bounds as text) as numeric[])
                  || cast(cast(s.most_common_vals as text) as numeric[])) v
     where c.oid = any (cast(:oids as oid[])) and s.attname = :column
       and v > 0
    """
)
