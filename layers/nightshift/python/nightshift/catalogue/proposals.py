"""Which tables grow and age, and what a job for each would delete now: from the catalogue and the statistics alone.

No row is read. What a name and the columns do not say is not guessed: such a table is left out. What could be proposed
and is not, for a reason that somebody should know, is told with the reason.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.catalogue.ages import NUMBERS, PER_SECOND, EpochUnit
from nightshift.catalogue.cascades import SHARE_APPLIES_ABOVE, TIMES, Closure, closure
from nightshift.catalogue.indexing import create_index
from nightshift.catalogue.keeping import keeping
from nightshift.catalogue.kinds import Doubt, Kind, is_entity, is_revocation, judged, renewed, soon_worthless
from nightshift.catalogue.names import Role, role_of, seldom, words
from nightshift.catalogue.obstacles import obstacles
from nightshift.catalogue.partitions import against_whole
from nightshift.catalogue.reading import read
from nightshift.catalogue.statistics import (
    estimated,
    floor_of,
    grant,
    hidden,
    is_time,
    magnitude,
    never_at_first,
    nulls,
)
from nightshift.catalogue.table import Column, TableError, TableFacts
from nightshift.database.failures import describe, is_locked, sqlstate
from nightshift.database.quoting import quoted

TEXTS = ("text", "varchar", "bpchar")
WHOLE_NUMBERS = ("int4", "int8", "numeric", "float8")

BYTES_AN_ENTRY = 24
"""What an entry of a b-tree over a time takes, its share of free space included."""
BYTES_A_SECOND, ROWS_A_SECOND = 200e6, 1e6
"""How fast an index is built, about: the table is read, then its entries are sorted."""
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

BROKERS = {"outbox", "inbox", "message"}
"""Queues of what is to be sent."""
ENDED = {"failed", "dead", "archived", "finished", "completed", "processed", "delivered", "handled", "done", "sent"}
"""Words of a queue's name that say that all of its rows are done."""

PATIENCE_MILLISECONDS = 500
"""How long a table is waited for that another session has locked."""

DOUBTS: Mapping[Doubt, str] = {
    "legal": "laws and contracts may say how long such records are kept: ask your lawyer, then write the job yourself",
    "people": "its name or its columns speak of people, or of what they own: whether old rows may go is for you to say",
    "proof": "its rows prove that somebody was verified: whoever relies on that may ask for them later",
    "store": "it looks like a store of events, from which an application makes its state anew: none of them may go",
    "unproven": "its name says that it ages, but nothing proves that only machines write it: that is for you to say",
}
"""Why a table is left to somebody who knows it."""

Reason = Literal[
    "legal",
    "people",
    "proof",
    "store",
    "unproven",
    "trouble",
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
    floor: str | None
    """The least value that is a time: what is below stands for never. None: every value is one."""
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
    piecewise: str | None
    """Why old partitions cannot be dropped as a whole. None: they can, or there are none."""
    carries: frozenset[int]
    """Tables of which every row belongs to a row of this one, and goes with it: they need no job of their own."""

    @property
    def but(self) -> str | None:
        """The condition that leaves out rows whose column stands for never, as SQL."""
        if self.floor is None:
            return None
        return f"{quoted(self.column.name)} > 0" if self.unit else f"{quoted(self.column.name)} >= '{self.floor}'"

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
            "where": self.but,
            "piecewise": self.piecewise,
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


Found = TypeVar("Found")


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
    session.execute(text(f"set local lock_timeout = {PATIENCE_MILLISECONDS}"))
    tables = list(_surveyed(session))
    known = {each.replace('"', "").removeprefix("public.").lower() for each in covered}
    clean = [each for each in tables if _plain(each).lower() in known]
    found_along = [_apart(session, each, partial(_carried_by, session, each["oid"])) for each in clean]
    goes_along = {oid for each in found_along if not isinstance(each, LeftAside) for oid in each}
    proposals, aside = [], list(_unreachable(session))
    for each in tables:
        if each in clean or each["oid"] in goes_along:
            continue
        found = _judged(session, each, now)
        if isinstance(found, Proposal):
            proposals.append(found)
        elif found is not None:
            aside.append(found)
    reached = {oid for each in proposals for oid in each.carries}
    proposals = [each for each in proposals if each.facts.oid not in reached]
    proposals.sort(key=lambda each: (each.rows is None, -(each.bytes or 0), each.facts.fullname))
    aside.sort(key=lambda each: each.table)
    return Suggested(tuple(proposals), tuple(aside), len(tables), tuple(sorted(map(_plain, clean))))


def _apart(session: Session, row: Mapping[str, Any], look: Callable[[], Found]) -> Found | LeftAside:
    """What is found of one table. What goes wrong with it is told, and keeps nobody from the next."""
    try:
        with session.begin_nested():
            return look()
    except TableError as error:
        return LeftAside(_plain(row), "trouble", str(error))
    except DBAPIError as error:
        if error.connection_invalidated or sqlstate(error) is None:
            raise
        locked = "another session holds a lock on it, or on a table that refers to it: ask again later"
        why = locked if is_locked(error) else describe(error)
        return LeftAside(_plain(row), "trouble", why)


def _carried(reach: Closure) -> frozenset[int]:
    """Tables of which every row goes with a row of this one."""
    whole = {reach.root.oid}
    for parent, edge in reach.edges:
        columns = reach.facts(edge.child).columns
        if parent in whole and edge.on_delete == "cascade" and not any(columns[name].nullable for name in edge.columns):
            whole.add(edge.child)
    return frozenset(whole - {reach.root.oid})


def _carried_by(session: Session, oid: int) -> frozenset[int]:
    return _carried(closure(session, read(session, oid)))


def _bytes(session: Session, oid: int) -> int:
    """What its rows take. This waits for whoever has locked the table, as the catalogue's own tables do not."""
    return int(session.execute(_SIZE, {"oid": oid}).scalar_one())


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
    """What is to be said of one table. None: nothing says that its rows are for a time only, or it has none."""
    found = judged(row["name"], row["columns"])
    timed = {column: base for column, base in row["columns"].items() if base in TIMES or base in WHOLE_NUMBERS}
    if found.kind == "bookkeeping" or not timed:
        return _as_text(session, row, found.kind) if found.kind and found.doubt is None else None
    if found.kind is not None and found.doubt is None:
        return _apart(session, row, partial(_worked_out, session, row, found.kind, timed, now))
    left = _doubted(row, found.doubt, timed) if found.doubt is not None else _unnamed(row, timed)
    if left is None or _apart(session, row, partial(_bytes, session, row["oid"])) == 0:
        return None
    return left


def _as_text(session: Session, row: Mapping[str, Any], kind: Kind) -> LeftAside | None:
    """A table whose only age is a text."""
    for column, base in row["columns"].items():
        if kind in RULES and base in TEXTS and role_of(column) in RULES[kind].roles:
            if _apart(session, row, partial(_bytes, session, row["oid"])) == 0:
                return None
            why = f"{column} is a text, by which no job can tell an age: write the rule as a condition"
            return LeftAside(_plain(row), "unit", why)
    return None


def _worked_out(
    session: Session, row: Mapping[str, Any], kind: Kind, timed: Mapping[str, str], now: dt.datetime
) -> Proposal | LeftAside | None:
    """The job for a table whose rows are for a time only, or what is in its way."""
    if not _bytes(session, row["oid"]):
        return None
    name = _plain(row)
    ages = ages_of(row, kind, timed, _from_the_start(session, row, timed) if kind == "queue" else ())
    if not ages:
        return _as_text(session, row, kind) or _ageless(name, kind, timed)
    facts = read(session, row["oid"])
    reach = closure(session, facts)
    if (left := _in_the_way(session, name, facts, reach)) is not None:
        return left
    ages = _usual_first(session, facts, ages)
    measured = _measured(session, facts, ages)
    if measured is None:
        return LeftAside(name, "unit", _unmeasured(session, facts, ages[0][2]))
    role, days, column, unit = measured
    floor = floor_of(session, facts, column, unit)
    estimate = estimated(session, facts, column, unit, now - dt.timedelta(days=days), floor)
    total, rows, *_ = estimate
    if total == 0:
        return None
    along = tuple(_along(facts, reach, rows, total))
    missing = None if _leads(session, facts, column.name) else _index(facts, (column.name,), total)
    piecewise = _piecewise(session, facts, column, floor)
    because = RULES[kind].because
    carries = _carried(reach)
    return Proposal(
        facts, kind, column, role, days, because, unit, floor, *estimate, along, missing, piecewise, carries
    )


def _from_the_start(session: Session, row: Mapping[str, Any], timed: Collection[str]) -> list[str]:
    """Columns that hold a moment in every row from the start: it is none at which work ended."""
    if ENDED & set(words(row["name"])):
        return []
    required = [each for each in row["required"] or () if each in timed and role_of(each) == "finished"]
    return [each for each in required if not never_at_first(session, row["oid"], each)]


def ages_of(
    row: Mapping[str, Any], kind: Kind, timed: Mapping[str, str], from_the_start: Collection[str] = ()
) -> list[tuple[Role, int, str]]:
    """The columns that could tell the age, the best first: role, days, column."""
    name, roles = row["name"], dict(RULES[kind].roles)
    if kind == "secret" and soon_worthless(name):
        roles["created"] = SOON
    if kind == "secret" and not {"session", "persistent", "remember"} & set(words(name)):
        roles.pop("used", None)  # a key that is seldom used is not worth less
    if kind == "secret" and is_revocation(name):
        roles = {"expiry": roles["expiry"]}
    if kind == "queue" and BROKERS & set(words(name)):
        roles.pop("expiry", None)  # what has expired there may not have been sent yet
    held = {column: role_of(column) for column in timed if column not in from_the_start}
    if kind == "secret":
        held = {
            column: role for column, role in held.items() if role != "expiry" or _is_the_last(column, row["columns"])
        }
    # Of a log that tells several moments, the one in which a row is written comes first; then the order of columns.
    return [
        (role, TO_TRY_AGAIN if role == "finished" and "fail" in column.lower() else days, column)
        for role, days in roles.items()
        for column in timed
        if held.get(column) == role
    ]


def _is_the_last(expiry: str, columns: Collection[str]) -> bool:
    """Whether a secret is worth nothing from this moment on: none that renews it lives longer."""
    renewing = [each for each in columns if "refresh" in words(each) and role_of(each) == "expiry"]
    return expiry in renewing if renewing else not renewed(columns)


def _usual_first(
    session: Session, facts: TableFacts, ages: Sequence[tuple[Role, int, str]]
) -> list[tuple[Role, int, str]]:
    """Of the ways in which work ends the usual one comes first; of two as usual, the one that more rows have."""
    ways = [age for age in ages if age[0] == "finished"]
    empty = nulls(session, facts) if len(ways) > 1 else {}
    ways.sort(key=lambda age: (seldom(age[2]), empty.get(age[2], 0)))
    in_order = iter(ways)
    return [next(in_order) if age[0] == "finished" else age for age in ages]


def _doubted(row: Mapping[str, Any], doubt: Doubt, timed: Mapping[str, str]) -> LeftAside | None:
    """A table that is somebody's, or may be. One that does not age is not worth a word."""
    aged = any(role_of(column) or (base in TIMES and doubt == "legal") for column, base in timed.items())
    return LeftAside(_plain(row), doubt, DOUBTS[doubt]) if aged else None


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


def _in_the_way(session: Session, name: str, facts: TableFacts, reach: Closure) -> LeftAside | None:
    """Why nothing is proposed by default although the table ages."""
    mine = replace(facts, may=frozenset({"select", "delete"}), filtered=False, reachable=True)
    for obstacle in obstacles(mine, "delete", visible=True):
        return LeftAside(name, "unworkable", str(obstacle))
    names = [reach.facts(each.child).fullname for parent, each in keeping(reach) if parent is reach.root]
    if names:
        which = ", ".join(dict.fromkeys(names))
        return LeftAside(name, "referenced", f"rows of {which} refer to its rows, and would not go with them")
    if facts.triggers and (before := session.scalar(_BEFORE_DELETION, {"oid": facts.oid})):
        return LeftAside(name, "unworkable", f"the trigger {before} decides what a deletion does: look at it first")
    for _, edge in reach.edges:
        child = reach.facts(edge.child)
        if child.oid != facts.oid and is_entity(child.name, facts.name):
            does = "would go with them" if edge.on_delete == "cascade" else "would lose their reference to them"
            return LeftAside(name, "takes along", f"rows of {child.fullname} {does}")
    return None


def _piecewise(session: Session, facts: TableFacts, column: Column, floor: str | None) -> str | None:
    """Why old partitions cannot be dropped: only a DELETE would see what it must."""
    if facts.kind != "p":
        return None
    if not session.scalar(_DIVIDED, {"oid": facts.oid, "column": column.name}):
        return f"they are not by {column.name}"
    if floor is not None:
        return f"{column.name} may stand for never in some of their rows"
    if facts.references:
        return "rows of other tables refer to theirs"
    return next(iter(against_whole(session, facts)), None)


def _leads(session: Session, facts: TableFacts, column: str) -> bool:
    """Whether an index begins with the column, for all rows or for all that have a time in it: on every leaf."""
    if len(facts.leaves) > 1 or facts.kind == "p":
        oids = [leaf.oid for leaf in facts.leaves]
        return not session.scalar(_WITHOUT_INDEX, {"oids": oids, "column": column})
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
        action = "delete" if edge.on_delete == "cascade" else "update"
        if child.oid == facts.oid:  # most of them are old enough themselves
            if not edge.indexed:
                yield Going(child.fullname, action, None, _index(child, edge.columns, _rows_of(child)))
            continue
        known = _rows_of(child)
        part = share.get(parent)
        told = round(known * part) if known is not None and part is not None else None
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
    unseen = hidden(session, facts, facts.leaves)
    found = magnitude(session, facts, column)
    if found is not None:
        like = f"a number that has values like {found:.0f}"
        return f"{column} is {like}, by which no job can tell an age: write the rule as a condition"
    if not unseen:
        return f"{column} is a number, and its statistics do not say what it counts: analyze {facts.quoted}"
    remedy = "" if (sql := grant(facts, unseen)) is None else f": {sql}"
    return f"{column} is a number, and this role may not see the statistics that say what it counts{remedy}"


def _measured(
    session: Session, facts: TableFacts, ages: Sequence[tuple[Role, int, str]]
) -> tuple[Role, int, Column, EpochUnit | None] | None:
    """The first of the columns that tells an age: of a number, the size of the values says what it counts."""
    for role, days, name in ages:
        column = facts.columns[name]
        if column.base not in NUMBERS:
            return role, days, column, None
        found = magnitude(session, facts, name)
        for unit, factor in PER_SECOND.items():
            if found is not None and is_time(found, factor):
                return role, days, column, unit
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
           (select json_object_agg(a.attname, (
                       with recursive behind (oid, basetype, typname) as (
                           select oid, typbasetype, typname from pg_type where oid = a.atttypid
                           union all
                           select t.oid, t.typbasetype, t.typname from behind join pg_type t on t.oid = behind.basetype
                       ) select cast(typname as text) from behind where basetype = 0) order by a.attnum)
              from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
           (select json_agg(a.attname) from pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attnotnull) as required,
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

_SIZE = text(
    """
    with recursive tree (relid) as (
        select cast(:oid as oid) union all select inhrelid from tree join pg_inherits on inhparent = tree.relid
    ) select coalesce(sum(pg_relation_size(relid)), 0)::bigint from tree
    """
)

_BEFORE_DELETION = text(
    """
    with recursive tree (relid) as (
        select cast(:oid as oid) union all select inhrelid from tree join pg_inherits on inhparent = tree.relid
    ) select cast(tgname as text) from pg_trigger join tree on tgrelid = relid
       where not tgisinternal and tgenabled in ('O', 'A') and tgtype & 2 > 0 and tgtype & 8 > 0
       order by 1 limit 1
    """
)

# Whether the table, or what is partitioned below it, is by ranges of the column.
_DIVIDED = text(
    """
    with recursive tree (relid) as (
        select cast(:oid as oid) union all select inhrelid from tree join pg_inherits on inhparent = tree.relid
    ) select exists (
        select from tree join pg_partitioned_table on partrelid = relid
          join pg_attribute a on a.attrelid = relid and a.attnum = partattrs[0]
         where partstrat = 'r' and a.attname = :column)
    """
)

_WITHOUT_INDEX = text(
    """
    select count(*) from unnest(cast(:oids as oid[])) leaf
     where not exists (
           select from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am on pg_am.oid = c.relam
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
            where i.indrelid = leaf and i.indisvalid and a.attname = :column and amname = 'btree'
              and (i.indpred is null
                   or pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', a.attname)))
    """
)
