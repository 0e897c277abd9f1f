"""The schema of the application's own tables, as SQL that makes it again: what a restore needs where no migrations do.

It is read from the catalogue, because a function on Lambda has no pg_dump. In it are schemas, extensions, types,
sequences, functions, tables with their partitions, constraints, indexes, views and triggers. Not in it are roles,
rights, row security, rules, comments, event triggers and foreign tables: a restore for good should make these, too, so
it takes the application's own migrations or the output of `pg_dump --schema-only`, if it is given them.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.database.failures import describe, sqlstate
from nightshift.store.backups import BackupError

SCHEMA = "schema.json"
"""The file's name beside the manifest: a JSON list of statements."""

EXISTS = {"42P06", "42P07", "42710", "42723", "42P16"}
"""SQLSTATEs of what is there already: another schema's migrations made it, or the table's parent did."""

# Every query gives statements in an order in which they mostly fit; see `make`. The application's own: what is in no
# schema of PostgreSQL's or Nightshift's, and belongs to no extension.
_OWN = """
    n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'nightshift')
    and not exists (select from pg_depend d where d.objid = {oid} and d.classid = '{catalogue}'::regclass
        and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e')
"""


TURNED = """
    case t.tgenabled when 'D' then 'disable' when 'R' then 'enable replica' when 'A' then 'enable always'
         else 'enable' end
"""
"""What makes the trigger `t` as it is."""


def _own(catalogue: str, oid: str) -> str:
    return _OWN.format(catalogue=catalogue, oid=oid)


_QUERIES = (
    (
        "pg_namespace",
        "n.oid",
        """
    select format('create schema %I', n.nspname) from pg_namespace n
     where $own and n.nspname <> 'public' order by 1
    """,
    ),
    (
        "pg_extension",
        "",
        """
    select format('create extension if not exists %I with schema %I', extname, nspname)
      from pg_extension join pg_namespace on pg_namespace.oid = extnamespace where extname <> 'plpgsql' order by 1
    """,
    ),
    (
        "pg_type",
        "t.oid",
        """
    select format('create type %I.%I as enum (%s)', n.nspname, t.typname,
               (select string_agg(quote_literal(enumlabel), ', ' order by enumsortorder) from pg_enum
                 where enumtypid = t.oid))
      from pg_type t join pg_namespace n on n.oid = t.typnamespace where t.typtype = 'e' and $own
     order by 1
    """,
    ),
    (
        "pg_type",
        "t.oid",
        """
    select format('create type %I.%I as (%s)', n.nspname, t.typname,
               (select string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' order by attnum)
                  from pg_attribute where attrelid = t.typrelid and attnum > 0 and not attisdropped))
      from pg_type t join pg_namespace n on n.oid = t.typnamespace join pg_class c on c.oid = t.typrelid
     where t.typtype = 'c' and c.relkind = 'c' and $own order by 1
    """,
    ),
    (
        "pg_type",
        "t.oid",
        """
    select format('create type %I.%I as range (subtype = %s)', n.nspname, t.typname, format_type(r.rngsubtype, null))
      from pg_range r join pg_type t on t.oid = r.rngtypid join pg_namespace n on n.oid = t.typnamespace
     where $own order by 1
    """,
    ),
    (
        "pg_type",
        "t.oid",
        """
    select format('create domain %I.%I as %s%s%s%s', n.nspname, t.typname, format_type(t.typbasetype, t.typtypmod),
               ' default ' || t.typdefault, case when t.typnotnull then ' not null' end,
               (select string_agg(format(' constraint %I %s', conname, pg_get_constraintdef(oid)), '')
                  from pg_constraint where contypid = t.oid and contype = 'c' and convalidated))
      from pg_type t join pg_namespace n on n.oid = t.typnamespace where t.typtype = 'd' and $own
     order by 1
    """,
    ),
    (
        "pg_type",
        "t.oid",
        """
    select format('alter domain %s add constraint %I %s', t.oid::regtype, o.conname, pg_get_constraintdef(o.oid))
      from pg_constraint o join pg_type t on t.oid = o.contypid join pg_namespace n on n.oid = t.typnamespace
     where o.contype = 'c' and not o.convalidated and $own order by o.oid
    """,
    ),
    (
        "pg_class",
        "c.oid",
        """
    select format('create sequence %I.%I as %s increment %s minvalue %s maxvalue %s start %s cache %s%s',
               n.nspname, c.relname, format_type(s.seqtypid, null), seqincrement, seqmin, seqmax, seqstart, seqcache,
               case when seqcycle then ' cycle' end)
      from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n on n.oid = c.relnamespace
     where $own and not exists (select from pg_depend i where i.objid = c.oid
         and i.classid = 'pg_class'::regclass and i.refclassid = 'pg_class'::regclass and i.deptype = 'i')
     order by 1
    """,
    ),
    (
        "pg_proc",
        "p.oid",
        """
    select pg_get_functiondef(p.oid) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      join pg_language l on l.oid = p.prolang
     where p.prokind in ('f', 'p') and l.lanname not in ('c', 'internal') and $own order by p.oid
    """,
    ),
    (
        "pg_class",
        "c.oid",
        """
    select case when c.relispartition then format('create table %s partition of %s %s%s', c.oid::regclass,
               (select inhparent::regclass from pg_inherits where inhrelid = c.oid),
               pg_get_expr(c.relpartbound, c.oid), ' partition by ' || pg_get_partkeydef(c.oid))
           else format('create %stable %s (%s)%s%s', case when c.relpersistence = 'u' then 'unlogged ' end,
               c.oid::regclass,
               (select string_agg(format('%I %s%s%s%s%s', attname, format_type(atttypid, atttypmod),
                       case when attcollation <> typcollation then (select format(' collate %I.%I', nspname, collname)
                           from pg_collation join pg_namespace on pg_namespace.oid = collnamespace
                          where pg_collation.oid = attcollation) end,
                       case when attgenerated = 's' then format(' generated always as (%s) stored',
                               pg_get_expr(adbin, adrelid))
                           when attgenerated <> '' then format(' generated always as (%s)', pg_get_expr(adbin, adrelid))
                           when adbin is not null then ' default ' || pg_get_expr(adbin, adrelid) end,
                       case attidentity when 'a' then ' generated always as identity'
                           when 'd' then ' generated by default as identity' end,
                       case when attnotnull then ' not null' end), ', ' order by attnum)
                  from pg_attribute join pg_type on pg_type.oid = atttypid
                  left join pg_attrdef on adrelid = attrelid and adnum = attnum
                 where attrelid = c.oid and attnum > 0 and not attisdropped and attislocal),
               ' inherits (' || (select string_agg(inhparent::regclass::text, ', ' order by inhseqno)
                   from pg_inherits where inhrelid = c.oid) || ')',
               ' partition by ' || pg_get_partkeydef(c.oid)) end
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and $own order by c.relispartition, c.oid
    """,
    ),
    (
        "pg_class",
        "c.oid",
        """
    select format('alter table %s alter %I set %s', c.oid::regclass, own.attname, what)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      join pg_inherits on inhrelid = c.oid
      join pg_attribute own on own.attrelid = c.oid and own.attnum > 0 and own.attgenerated = ''
      join pg_attribute above on above.attrelid = inhparent and above.attname = own.attname
      left join pg_attrdef own_default on own_default.adrelid = c.oid and own_default.adnum = own.attnum
      left join pg_attrdef its on its.adrelid = inhparent and its.adnum = above.attnum
      cross join lateral (values
          (case when own.attnotnull and not above.attnotnull then 'not null' end),
          (case when pg_get_expr(own_default.adbin, c.oid) <> coalesce(pg_get_expr(its.adbin, inhparent), '')
                then 'default ' || pg_get_expr(own_default.adbin, c.oid) end)) differs (what)
     where c.relispartition and what is not null and $own order by c.oid, own.attnum
    """,
    ),
    (
        "pg_class",
        "s.oid",
        """
    select format('alter sequence %s owned by %s.%I', s.oid::regclass, d.refobjid::regclass, a.attname)
      from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S'
      join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
      join pg_namespace n on n.oid = s.relnamespace
     where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype = 'a'
       and $own order by 1
    """,
    ),
    (
        "pg_class",
        "c.oid",
        """
    select format('alter table %s add constraint %I %s', o.conrelid::regclass, o.conname, pg_get_constraintdef(o.oid))
      from pg_constraint o join pg_class c on c.oid = o.conrelid join pg_namespace n on n.oid = c.relnamespace
     where o.contype in ('p', 'u', 'x', 'c', 'f') and o.conislocal and o.conparentid = 0
       and $own
     order by array_position('{p,u,x,c,f}', o.contype::text), o.oid
    """,
    ),
    (
        "pg_class",
        "i.indrelid",
        """
    select replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ')
      from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
     where i.indisvalid and $own
       and not exists (select from pg_constraint where conindid = i.indexrelid and contype in ('p', 'u', 'x'))
       and not exists (select from pg_inherits where inhrelid = i.indexrelid)
     order by i.indexrelid
    """,
    ),
    (
        "pg_class",
        "c.oid",
        """
    select format('create %sview %s as %s', case c.relkind when 'm' then 'materialized ' end, c.oid::regclass,
               rtrim(pg_get_viewdef(c.oid), ';') || case c.relkind when 'm' then ' with no data' else '' end)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('v', 'm') and $own order by c.oid
    """,
    ),
    (
        "pg_class",
        "c.oid",
        """
    select pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = t.tgrelid
      join pg_namespace n on n.oid = c.relnamespace
     where not t.tgisinternal and t.tgparentid = 0 and $own order by t.oid
    """,
    ),
    (
        "pg_class",
        "c.oid",
        """
    select format('alter table %s %s trigger %I', c.oid::regclass, $turned, t.tgname)
      from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
      left join pg_trigger above on above.oid = t.tgparentid
     where not t.tgisinternal and t.tgenabled <> coalesce(above.tgenabled, 'O') and $own
     order by t.tgparentid <> 0, t.oid
    """,
    ),
)
"""Each with the catalogue and the oid of what `$own` is about."""


def schema_of(session: Session) -> list[str]:
    """The statements that make the application's own schema again, as the transaction sees it."""
    with session.begin_nested() as savepoint:
        # Then the catalogue names everything with its schema.
        session.execute(text("select set_config('search_path', '', true)"))
        queries = [
            query.replace("$own", _own(catalogue, oid)).replace("$turned", TURNED) for catalogue, oid, query in _QUERIES
        ]
        found = [statement for query in queries for statement in session.scalars(_literally(query))]
        savepoint.rollback()  # and the search path is what it was
    return found


def sequences(session: Session) -> dict[str, int]:
    """Where each of the application's sequences stands that the role may read and that has given out a number."""
    found = session.execute(
        text(
            "select format('%I.%I', schemaname, sequencename), last_value from pg_sequences"
            " where last_value is not null and schemaname <> 'nightshift' order by 1"
        )
    )
    return {row[0]: row[1] for row in found}


def make(connection: Connection, statements: Sequence[str]) -> None:
    """Make the schema, in the caller's transaction. What is there already is left as it is.

    A function may need a table, and a table a function, so that no order always fits: what fails is tried again, until
    a round brings nothing more.

    Raises:
        BackupError: something cannot be made; the message names it.
    """
    connection.execute(text("set local check_function_bodies to off"))
    path = connection.scalar(text("select current_setting('search_path')"))
    connection.execute(text("select set_config('search_path', '', true)"))
    left = list(statements)
    while left:
        failed: list[tuple[str, DBAPIError]] = []
        for statement in left:
            try:
                with connection.begin_nested():
                    connection.exec_driver_sql(statement)
            except DBAPIError as cause:
                if sqlstate(cause) not in EXISTS:
                    failed.append((statement, cause))
        if len(failed) == len(left):
            statement, error = failed[0]
            raise BackupError(
                f"the backup's schema cannot be made here: {describe(error)} at {' '.join(statement.split())[:120]}. "
                "Make the tables by your own migrations, or give them with --schema"
            ) from error
        left = [statement for statement, _ in failed]
    connection.execute(text("select set_config('search_path', :path, true)"), {"path": path})


def run_script(connection: Connection, script: str) -> None:
    """Run SQL that makes the schema, such as the output of `pg_dump --schema-only`, in the caller's transaction.

    Lines for psql itself, which begin with a backslash, are left out.

    Raises:
        DBAPIError: a statement fails.
    """
    path = connection.scalar(text("select current_setting('search_path')"))
    sql = "\n".join(line for line in script.splitlines() if not line.startswith("\\"))
    connection.exec_driver_sql(sql)  # without parameters the server takes all statements at once
    connection.execute(text("select set_config('search_path', :path, true)"), {"path": path})


def _literally(sql: str) -> TextClause:
    """SQL without parameters, whatever colons are in it."""
    return text(sql.replace(":", r"\:"))
