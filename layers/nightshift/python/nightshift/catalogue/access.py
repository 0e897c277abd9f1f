"""What a check asks beyond the facts of a table: where it is, what its triggers do, and what its owner may.

A run needs none of it. Each question is one statement, however many tables it is about.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift.catalogue.table import quoted

_PART = re.compile(r'"((?:[^"]|"")+)"|([^."]+)')
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_RETURN = re.compile(r"\breturn\s+(\w+)", re.IGNORECASE)
_DELETES = re.compile(r"\bdelete\s+from\b|\btruncate\b", re.IGNORECASE)


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

    @property
    def _code(self) -> str:
        return _COMMENT.sub(" ", self.source)

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
        """Whether its function has a DELETE of its own."""
        return self.language in ("plpgsql", "sql") and _DELETES.search(self._code) is not None


@dataclass(frozen=True)
class Access:
    """What is to be known of one table beside its facts."""

    triggers: tuple[TriggerSource, ...]
    broken_indexes: Mapping[str, str]
    """Indexes that cannot be used, as a build that was broken off leaves them: the name for SQL, by first column."""
    owner: str
    owner_lacks: str | None
    """The grant that the owner itself needs. A cascade deletes as the owner of the table that refers."""
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
            tuple(TriggerSource(**each) for each in row.triggers or ()),
            {each["first"]: each["name"] for each in row.broken or ()},
            row.owner,
            row.owner_lacks,
            frozenset(row.writes),
        )
    return found


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
           case when not has_schema_privilege(c.relowner, c.relnamespace, 'usage')
                then format('grant usage on schema %I to %I', n.nspname, pg_get_userbyid(c.relowner))
                when not has_table_privilege(c.relowner, c.oid, 'delete')
                then format('grant delete on %I.%I to %I', n.nspname, c.relname, pg_get_userbyid(c.relowner))
           end as owner_lacks,
           array(select right_ from unnest(array['insert', 'update', 'delete']) right_
                  where has_table_privilege(c.oid, right_)) as writes,
           (select json_agg(json_build_object(
                       'name', t.tgname, 'function', p.proname, 'before', t.tgtype & 2 > 0,
                       'each_row', t.tgtype & 1 > 0, 'deleting', t.tgtype & 8 > 0, 'updating', t.tgtype & 16 > 0,
                       'conditional', t.tgqual is not null, 'language', l.lanname, 'source', p.prosrc)
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
