"""What a check asks beyond the facts of a table: where it is, what its triggers do, and what its owner may.

A run needs none of it. Each question is one statement, however many tables it is about.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift.database.quoting import quoted

_PART = re.compile(r'"((?:[^"]|"")+)"|([^."]+)')
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_RETURN = re.compile(r"\breturn\s+(\w+)", re.IGNORECASE)
_TEXT = re.compile(r"'((?:[^']|'')*)'")
_OPERATIONS = {"INSERT", "UPDATE", "DELETE"}
_BEGIN = re.compile(r"\bbegin\b", re.IGNORECASE)
_RAISES = re.compile(r"\braise\s+(?!debug\b|log\b|info\b|notice\b|warning\b)(?:'|[a-z_])", re.IGNORECASE)
"""An error: the level is left out, or is `exception`. A bare `raise` only passes on one that was caught."""
_BRANCH = re.compile(r"\b(?:if|case|loop|while|for|foreach|exit|return)\b", re.IGNORECASE)
_CAUGHT = re.compile(r"\bexception\s+when\b", re.IGNORECASE)
_OF_OPERATION = re.compile(
    r"\s*if\s*\(?\s*tg_op\s*(?:=\s*'(?P<one>\w+)'|in\s*\((?P<some>[^)]*)\))\s*\)?\s*then\s*$", re.IGNORECASE
)
_NAME = r'((?:"[^"]+"|[\w$]+)(?:\.(?:"[^"]+"|[\w$]+))?)'
_DELETES = re.compile(r"\bdelete\s+from\b", re.IGNORECASE)
_EMPTIES = re.compile(
    rf"\b(?:truncate(?:\s+table)?|drop\s+table)\b(?:\s+if\s+exists)?(?:\s+only\b)?(?:\s+{_NAME})?", re.IGNORECASE
)
_ITS_OWN = re.compile(rf"\bcreate\s+temp(?:orary)?\s+table\s+(?:if\s+not\s+exists\s+)?{_NAME}", re.IGNORECASE)
_WRITES = {
    "insert": re.compile(rf"\binsert\s+into\s+{_NAME}", re.IGNORECASE),
    "update": re.compile(rf"\bupdate\s+(?:only\s+)?{_NAME}(?:\s+(?:as\s+)?[\w$]+)?\s+set\b", re.IGNORECASE),
    "delete": re.compile(rf"\bdelete\s+from\s+(?:only\s+)?{_NAME}", re.IGNORECASE),
}


@dataclass(frozen=True)
class Place:
    """Where a table is, found also where this role may not use its schema."""

    schema: str
    name: str
    role: str
    reachable: bool

    @property
    def grant(self) -> str:
        return f"grant usage on schema {quoted(self.schema)} to {quoted(self.role)}"


@dataclass(frozen=True)
class TriggerSource:
    """A trigger of the application, and what its function is written as."""

    name: str
    function: str
    before: bool
    each_row: bool
    deleting: bool
    """Whether it fires on DELETE."""
    updating: bool
    conditional: bool
    """Whether it fires for some of the rows only."""
    language: str
    source: str
    as_role: str | None = None
    """Its function's owner, where it has the rights of that one (SECURITY DEFINER)."""
    path: str | None = None
    """The search path that its function sets."""
    columns: tuple[str, ...] = ()
    """Of an update it fires only for one that sets one of these; empty: for all."""

    def fires(self, action: str, columns: Collection[str] | None = None) -> bool:
        """Whether it fires on a delete or an update.

        columns: those that the update sets. None: nobody knows.
        """
        if action == "delete":
            return self.deleting
        return self.updating and (columns is None or not self.columns or bool(set(columns) & set(self.columns)))

    @property
    def _code(self) -> str:
        return _COMMENT.sub(" ", self.source)

    @property
    def _without_texts(self) -> str:
        """The code without what stands between quotes, but for the names of operations."""
        return _TEXT.sub(lambda found: found[0] if found[1].upper() in _OPERATIONS else "''", self._code)

    def refuses(self, action: str) -> Literal["every", "some", "none"]:
        """Which rows it refuses with an error, as far as its code says."""
        code = self._without_texts
        begun = _BEGIN.search(code)
        if self.language != "plpgsql" or begun is None or (raised := _RAISES.search(code, begun.end())) is None:
            return "none"
        if "tg_op" in code.lower() and f"'{action.upper()}'" not in code.upper():
            return "none"  # it is about other operations
        before = code[begun.end() : raised.start()]
        operation = _OF_OPERATION.fullmatch(before)
        meant = operation is not None and action.upper() in (operation["one"] or operation["some"]).upper()
        sure = not _BRANCH.search(before) or meant
        return "every" if sure and not self.conditional and not _CAUGHT.search(code) else "some"

    @property
    def writes(self) -> tuple[tuple[str, str, bool], ...]:
        """Right, table as its code names it, and whether each row that it fires for gets there."""
        if self.language not in ("plpgsql", "sql"):
            return ()
        code = self._without_texts
        found = [
            (right, written[1], not self.conditional and not _BRANCH.search(code[: written.start()]))
            for right, pattern in _WRITES.items()
            for written in pattern.finditer(code)
        ]
        return tuple(dict.fromkeys(found))

    @property
    def _returned(self) -> set[str]:
        return {word.lower() for word in _RETURN.findall(self._code)}

    @property
    def keeps_every_row(self) -> bool:
        """Whether the row stays, whatever it is: all that its function returns is null."""
        known = self.language == "plpgsql" and not self.conditional
        return known and self.before and self.each_row and self._returned == {"null"}

    @property
    def may_keep_rows(self) -> bool:
        """Whether a row may stay: some of what its function returns is null, or nobody can read it."""
        if not (self.before and self.each_row):
            return False
        return self.language != "plpgsql" or "null" in self._returned

    @property
    def deletes_elsewhere(self) -> bool:
        """Whether its function has a DELETE of its own, or empties or drops a table that it has not made itself."""
        own = {f"pg_temp.{name}" for name in _ITS_OWN.findall(self._code)}
        emptied = {f"pg_temp.{name.removeprefix('pg_temp.')}" for name in _EMPTIES.findall(self._code)}
        return self.language in ("plpgsql", "sql") and bool(_DELETES.search(self._code) or emptied - own)

    @property
    def deletion(self) -> str:
        """In words, that it deletes elsewhere."""
        return (
            f"the trigger {self.name} deletes from other tables (its function {self.function}): a run that was not "
            "planned to do that is rolled back; write a Function step that counts these rows too"
        )


@dataclass(frozen=True)
class Access:
    """What is to be known of one table beside its facts."""

    triggers: tuple[TriggerSource, ...]
    broken_indexes: Mapping[str, str]
    """Indexes that cannot be used, as a build that was broken off leaves them: the name for SQL, by first column."""
    owner: str
    owner_lacks: Mapping[str, str]
    """By `delete` and `update` the grant that the owner itself needs. A cascade does it as the owner of the table that
    refers."""
    writes: frozenset[str]
    """Which of insert, update and delete this role may do."""


@dataclass(frozen=True)
class Ledger:
    """What the role may of the schema `nightshift`, and what of the server matters to a run."""

    role: str
    database: str
    there: bool
    may_make: bool
    """Whether the role may create the schema."""
    lacking: tuple[str, ...]
    """Tables and sequences of the schema on which it lacks a right."""
    counting: bool
    """Whether the server counts what a transaction touches: `track_counts`."""


def place_of(session: Session, name: str) -> Place | None:
    """Where the table of that name is, as people write it. None: there is none."""
    parts = [inner.replace('""', '"') or bare for inner, bare in _PART.findall(name)]
    folded = [inner.replace('""', '"') or bare.lower() for inner, bare in _PART.findall(name)]
    if not parts:
        return None
    for *schema, table in (folded, parts):
        row = session.execute(_PLACE, {"schema": schema[-1] if schema else "public", "table": table}).first()
        if row is not None:
            return Place(*row)
    return None


def access(session: Session, oids: Iterable[int]) -> dict[int, Access]:
    """What is to be known of these tables, by oid."""
    found = {}
    for row in session.execute(_ACCESS, {"oids": list(oids)}):
        found[row.oid] = Access(
            tuple(TriggerSource(**each | {"columns": tuple(each["columns"])}) for each in row.triggers or ()),
            {each["first"]: each["name"] for each in row.broken or ()},
            row.owner,
            {right: grant for right, grant in row.owner_lacks.items() if grant},
            frozenset(row.writes),
        )
    return found


class Unwritable(NamedTuple):
    """A table that a trigger writes into, and for which it lacks a right."""

    trigger: TriggerSource
    table: str
    right: str
    role: str
    """As which the trigger's function does it."""
    grant: str
    always: bool
    """Whether each row that the trigger fires for gets there."""


def unwritable(session: Session, triggers: Iterable[TriggerSource], role: str) -> list[Unwritable]:
    """What the code of these triggers writes into, where the one who does it lacks the right.

    role: who deletes or updates the rows: triggers run as this one, where their function says nothing else.
    """
    written = [(trigger, *each) for trigger in triggers for each in trigger.writes]
    looked_for = [
        (place, schema, table, trigger.as_role or role, right)
        for place, (trigger, right, name, _) in enumerate(written)
        for schema, table in _candidates(trigger, name)
    ]
    if not looked_for:
        return []
    columns = zip(*looked_for, strict=True)
    asked = {name: list(each) for name, each in zip(_ASKED, columns, strict=True)}
    found = []
    for row in session.execute(_UNWRITABLE, asked):
        trigger, right, _, always = written[row.place]
        if row.grant is not None:
            found.append(Unwritable(trigger, row.table, right, trigger.as_role or role, row.grant, always))
    return found


def _candidates(trigger: TriggerSource, name: str) -> list[tuple[str, str]]:
    """Schema and table of what a name in the trigger's code may mean, in the order in which PostgreSQL looks."""
    *schema, table = (inner.replace('""', '"') or bare.lower() for inner, bare in _PART.findall(name))
    path = (each.strip().strip('"') for each in (trigger.path or "public").split(","))
    return [(each, table) for each in schema or path]


class Emptied(NamedTuple):
    """What a foreign key with SET NULL or SET DEFAULT does to a column of the table that refers."""

    child: int
    key: str
    column: str
    required: bool
    """It takes no null, in the table or in a partition of it."""
    default: str | None
    """As SQL."""
    places: int
    """How many columns the key has."""
    alike: str | None
    """A unique index that takes no second row with what is set."""


def emptied(session: Session, children: Iterable[int]) -> list[Emptied]:
    """Of the foreign keys of these tables that set null or a default: the columns that they set."""
    return [Emptied(*row) for row in session.execute(_EMPTIED, {"oids": list(children)})]


def ledger(session: Session) -> Ledger:
    """What the role may of the library's own tables."""
    row: Any = session.execute(_LEDGER).one()
    return Ledger(row.role, row.database, row.there, row.may_make, tuple(row.lacking or ()), row.counting)


_PLACE = text(
    """
    select n.nspname, c.relname, cast(current_user as text), has_schema_privilege(n.oid, 'usage')
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = :schema and c.relname = :table and c.relkind in ('r', 'p', 'v', 'm', 'f')
    """
)

_ACCESS = text(
    """
    select c.oid::bigint as oid, cast(pg_get_userbyid(c.relowner) as text) as owner,
           (select json_object_agg(wanted, case
                       when not has_schema_privilege(c.relowner, c.relnamespace, 'usage')
                       then format('grant usage on schema %I to %I', n.nspname, pg_get_userbyid(c.relowner))
                       when not has_table_privilege(c.relowner, c.oid, wanted)
                         or not has_table_privilege(c.relowner, c.oid, 'select')
                       then format('grant select, %s on %I.%I to %I',
                                   wanted, n.nspname, c.relname, pg_get_userbyid(c.relowner)) end)
              from unnest(array['delete', 'update']) wanted) as owner_lacks,
           array(select right_ from unnest(array['insert', 'update', 'delete']) right_
                  where case right_ when 'delete' then has_table_privilege(c.oid, right_)
                             else has_any_column_privilege(c.oid, right_) end) as writes,
           (select json_agg(json_build_object(
                       'name', t.tgname, 'function', p.proname, 'before', t.tgtype & 2 > 0,
                       'each_row', t.tgtype & 1 > 0, 'deleting', t.tgtype & 8 > 0, 'updating', t.tgtype & 16 > 0,
                       'conditional', t.tgqual is not null, 'language', l.lanname, 'source', p.prosrc,
                       'columns', array(select attname from pg_attribute
                                         where attrelid = t.tgrelid and attnum = any (t.tgattr)),
                       'as_role', case when p.prosecdef then pg_get_userbyid(p.proowner) end,
                       'path', (select substr(each, 13) from unnest(p.proconfig) each
                                 where each like 'search_path=%'))
                       order by t.tgname)
              from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_language l on l.oid = p.prolang
             where t.tgparentid = 0 and not t.tgisinternal and t.tgenabled in ('O', 'A') and t.tgtype & 24 > 0
               and t.tgrelid in (
                       with recursive tree (oid) as (
                           select c.oid union all select inhrelid from tree join pg_inherits on inhparent = tree.oid
                       ) select oid from tree)) as triggers,
           (select json_agg(json_build_object('name', format('%I.%I', n.nspname, ic.relname),
                                              'first', pg_get_indexdef(i.indexrelid, 1, true)))
              from pg_index i join pg_class ic on ic.oid = i.indexrelid
             where i.indrelid = c.oid and not i.indisvalid and ic.relkind = 'i') as broken
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid = any (cast(:oids as oid[]))
    """
)

_ASKED = ("places", "schemas", "tables", "roles", "rights")
_UNWRITABLE = text(
    """
    select distinct on (place) place,
           case n.nspname when 'public' then cast(c.relname as text) else format('%s.%s', n.nspname, c.relname) end
               as table,
           case when not has_schema_privilege(role, n.oid, 'usage')
                then format('grant usage on schema %I to %I', n.nspname, role)
                when not case wanted when 'delete' then has_table_privilege(role, c.oid, wanted)
                              else has_any_column_privilege(role, c.oid, wanted) end
                then format('grant %s on %I.%I to %I', wanted, n.nspname, c.relname, role) end as grant
      from unnest(cast(:places as int[]), cast(:schemas as text[]), cast(:tables as text[]), cast(:roles as text[]),
                  cast(:rights as text[])) with ordinality as asked (place, schema, name, role, wanted, number)
      join pg_namespace n on n.nspname = schema
      join pg_class c on c.relnamespace = n.oid and c.relname = name and c.relkind in ('r', 'p', 'v', 'f')
     order by place, number
    """
)

_EMPTIED = text(
    """
    select o.conrelid::bigint, cast(o.conname as text), cast(a.attname as text),
           exists (
               with recursive tree (oid) as (
                   select o.conrelid union all
                   select inhrelid from tree join pg_inherits on inhparent = tree.oid where c.relkind = 'p'
               ) select from tree join pg_attribute b on b.attrelid = tree.oid and b.attname = a.attname
                  where b.attnotnull)
           or exists (
               with recursive behind (oid, base, required) as (
                   select oid, typbasetype, typnotnull from pg_type where oid = a.atttypid union all
                   select t.oid, t.typbasetype, t.typnotnull from behind join pg_type t on t.oid = base
               ) select from behind where required)
           or exists (select from pg_constraint k
                       where k.conrelid = o.conrelid and k.contype = 'c'
                         and pg_get_expr(k.conbin, k.conrelid) = format('(%I IS NOT NULL)', a.attname)),
           case when o.confdeltype = 'd' then pg_get_expr(d.adbin, d.adrelid) end, cardinality(o.conkey),
           (select cast(ic.relname as text) from pg_index i join pg_class ic on ic.oid = i.indexrelid
             where i.indrelid = o.conrelid and i.indisunique and i.indisready and i.indpred is null
               and (cast(i.indkey as int2[]))[0:i.indnkeyatts - 1] <@ coalesce(o.confdelsetcols, o.conkey)
               and (o.confdeltype = 'd' or coalesce(cast(to_jsonb(i) ->> 'indnullsnotdistinct' as bool), false))
             order by 1 limit 1)
      from pg_constraint o join pg_class c on c.oid = o.conrelid
      join pg_attribute a on a.attrelid = o.conrelid and a.attnum = any (coalesce(o.confdelsetcols, o.conkey))
      left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum and a.attgenerated = ''
     where o.contype = 'f' and o.conparentid = 0 and o.confdeltype in ('n', 'd')
       and o.conrelid = any (cast(:oids as oid[]))
     order by 1, 2, a.attnum
    """
)

_LEDGER = text(
    """
    select cast(current_user as text) as role, cast(current_database() as text) as database,
           to_regnamespace('nightshift') is not null as there,
           has_database_privilege(current_database(), 'create') as may_make,
           cast(current_setting('track_counts') as bool) as counting,
           (select array_agg(cast(c.relname as text) order by c.relname)
              from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where n.nspname = 'nightshift' and c.relkind in ('r', 'p', 'S') and c.relname !~ '^alembic_version'
               and not case when not has_schema_privilege(n.oid, 'usage') then false
                            when c.relkind = 'S' then has_sequence_privilege(c.oid, 'usage')
                            else has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
                                 and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete')
                       end) as lacking
    """
)
