"""What a transaction has deleted and changed so far, by PostgreSQL's own counters: cascades and triggers included.

A savepoint that is rolled back does not take its part back. Until the server has taken the counters over, which it does
about once a second, they hold what earlier transactions of the connection have done as well.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from nightshift.errors import PermanentError


class Touched(NamedTuple):
    """One table that holds rows itself, as a partition does."""

    table: str
    """The table that was named, a partition's root, with its schema unless that is `public`."""
    deleted: int
    updated: int
    moved: int
    """How many of the deleted rows an update has put into another partition, at most."""


BLIND = 0
"""The oid of no table: under it stands a setting that makes the counters worth nothing."""

UNTOUCHED = Touched("", 0, 0, 0)


def tally(session: Session | Connection, *, last: bool = False) -> dict[int, Touched]:
    """By oid, each of the application's tables in which the caller's transaction has deleted or updated rows.

    last: the counters begin at zero once the transaction has ended.

    Raises:
        PermanentError: the server does not count, or does not follow foreign keys, for this role.
    """
    rows = session.execute(_LAST_COUNTERS if last else _COUNTERS)
    found = {row.oid: Touched(row.name, row.deleted, row.updated, row.moved) for row in rows if row.oid is not None}
    if BLIND in found:
        raise PermanentError(
            f"the setting {found[BLIND].table} of this database or role keeps what a deletion takes with it from being "
            f"done or counted, so nothing is deleted: alter database … reset {found[BLIND].table.partition(' ')[0]}"
        )
    return found


def deleted(session: Session | Connection) -> Counter[str]:
    """By table, how many rows the caller's transaction has deleted; see `tally`. The next one begins at zero."""
    found: Counter[str] = Counter()
    for each in tally(session, last=True).values():
        found[each.table] += each.deleted - each.moved
    return +found


def cascaded(name: str) -> str:
    """The counter of a table's rows that went by cascade."""
    return f"cascaded in {name}"


def changed_in(name: str) -> str:
    """The counter of a table's rows that lost a reference, or that a trigger changed."""
    return f"changed in {name}"


def deleted_in(name: str) -> str:
    """The counter of a table's rows that another kind of step than Delete has deleted, by whatever way."""
    return f"deleted in {name}"


def changes_of(step: str) -> str:
    """Under what a step states the rows that lose a reference, as it does under its own name those that go."""
    return f"{step} changes"


def kept_of(step: str) -> str:
    """Under what it states the rows that stay, because others refer to them."""
    return f"{step} kept"


def went_along(counts: Mapping[str, int]) -> dict[str, int]:
    """Those of the counters that tell what went, or changed, with the rows of the steps themselves."""
    return {name: number for name, number in counts.items() if name.startswith((cascaded(""), changed_in("")))}


def truncated(session: Session) -> list[str]:
    """The application's tables that the caller's transaction has emptied as a whole, written anew or dropped.

    No counter tells of it.
    Whoever does so has the table to himself until the end of the transaction.
    """
    return list(session.scalars(_TRUNCATED))


def along(counters: Mapping[str, int]) -> int:
    """How many rows went, or changed, with those of the steps themselves."""
    return sum(went_along(counters).values())


# Nightshift's own records are written in the same transaction, and are nobody's rows.
_COUNT = """
    select c.oid, counted.deleted, counted.updated,
           case when c.relispartition then counted.inserted else 0 end as moved,
           case when n.nspname = 'public' then '' else n.nspname || '.' end || r.relname as name
      from pg_class c
      join pg_class r on r.oid = case when c.relispartition then pg_partition_root(c.oid) else c.oid end
      join pg_namespace n on n.oid = r.relnamespace
      join lateral (select pg_stat_get_xact_tuples_deleted(c.oid) as deleted,
                           pg_stat_get_xact_tuples_updated(c.oid) as updated,
                           pg_stat_get_xact_tuples_inserted(c.oid) as inserted) counted
        on deleted + updated + inserted > 0
     where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
       and not (n.nspname = 'nightshift' and c.relname in ('jobs', 'runs', 'attempts', 'quarantine', 'candidates'))
    union all
    select 0, 1, 0, 0, name || ' = ' || current_setting(name)
      from (values ('track_counts', 'on'), ('session_replication_role', 'origin, local')) needed (name, values)
     where strpos(values, current_setting(name)) = 0
"""
_COUNTERS = text(_COUNT)
# A table that the transaction has made itself has a new type as well. Of one that is not there any more only the
# statistics still know that others have written rows into it, until the end of the transaction.
_TRUNCATED = text("""
    select case when n.nspname = 'public' then '' else n.nspname || '.' end || c.relname
      from pg_locks l join pg_class c on c.oid = l.relation join pg_namespace n on n.oid = c.relnamespace
      join pg_type t on t.typrelid = c.oid
     where l.pid = pg_backend_pid() and l.mode = 'AccessExclusiveLock' and l.locktype = 'relation'
       and l.database = (select oid from pg_database where datname = current_database())
       and c.relkind = 'r' and c.relpersistence <> 't' and age(c.xmin) <= 0 and age(t.xmin) > 0
    union
    select 'table ' || l.relation || ' (it was dropped)'
      from pg_locks l
     where l.pid = pg_backend_pid() and l.mode = 'AccessExclusiveLock' and l.locktype = 'relation'
       and l.database = (select oid from pg_database where datname = current_database())
       and not exists (select from pg_class where oid = l.relation) and pg_stat_get_tuples_inserted(l.relation) > 0
     order by 1
""")
_LAST_COUNTERS = text(f"{_COUNT} union all select null, 0, 0, 0, '' from pg_stat_force_next_flush()")  # noqa: S608 - constants
