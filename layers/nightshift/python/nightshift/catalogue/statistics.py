"""What the planner's statistics say of a column of times: what it counts, what stands for never, how many are old.

They are read and never the rows themselves. PostgreSQL shows them to whom may read the rows.
"""

import datetime as dt
import re
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift.catalogue.ages import PER_SECOND, EpochUnit
from nightshift.catalogue.questions import STATISTICS
from nightshift.catalogue.table import Column, Leaf, TableFacts, quoted_whole
from nightshift.database.quoting import quoted

FIRST_SECOND, LAST_SECOND = 631_152_000, 4_102_444_800
"""Of the years 1990 to 2100: a number that is none of these, in no unit, is no time."""
FIRST_TIME = "1990-01-01"
"""A time before this is none: 0001, 1900 and 1970 stand for never, or not yet."""


def magnitude(session: Session, facts: TableFacts, column: str) -> float | None:
    """What a number of the column is like, by the statistics; 0 and less left out. None: nobody knows."""
    leaves = [leaf.oid for leaf in facts.leaves]
    asked = text(_MAGNITUDE.replace("$type", "numeric"))
    found = session.execute(asked, {"oids": leaves, "column": column}).scalar()
    return None if found is None else float(found)


def share_of_never(session: Session, facts: TableFacts, column: str) -> float:
    """In what part of the rows a number is 0 or less, by the statistics' most frequent values."""
    asked = {"oids": [leaf.oid for leaf in facts.leaves], "column": column}
    return float(session.scalar(_SHARE_OF_NEVER, asked) or 0)


def is_time(number: float, per_second: int) -> bool:
    return FIRST_SECOND * per_second <= number < LAST_SECOND * per_second


def nulls(session: Session, facts: TableFacts) -> dict[str, float]:
    """The share of rows that lack a column, by column, as far as the statistics know; of partitions the mean."""
    found = session.execute(_NULLS, {"oids": [leaf.oid for leaf in facts.leaves]})
    return {row.attname: float(row.share) for row in found}


def floor_of(session: Session, facts: TableFacts, column: Column, unit: EpochUnit | None) -> str | None:
    """The least value of a column that is a time, where others stand for never: `0`, `0001-01-01`, `1970-01-01`.

    Of a number there is always one, as a single 0 in a million rows is in no statistics.
    """
    if unit:
        return "0"
    if never_at_first(session, facts.oid, column.name):
        return FIRST_TIME
    asked = text(_EARLIEST.replace("$type", column.base))
    earliest = {"oids": [leaf.oid for leaf in facts.leaves], "column": column.name, "first": FIRST_TIME}
    return FIRST_TIME if session.execute(asked, earliest).scalar() else None


def never_at_first(session: Session, oid: int, column: str) -> bool:
    """Whether the column's default stands for never, or not yet."""
    return bool(_NEVER.search(session.scalar(_DEFAULT, {"oid": oid, "column": column}) or ""))


def estimated(
    session: Session, facts: TableFacts, column: Column, unit: EpochUnit | None, cutoff: dt.datetime, floor: str | None
) -> tuple[int | None, int | None, str | None, str | None]:
    """Rows in all, rows older than the cut-off, and where that is unknown why, and the SQL after which it is known."""
    leaves = {leaf.oid: (leaf, portion.bound) for portion in facts.portions for leaf in portion.leaves}
    as_type = "numeric" if unit else column.base
    limit = str(int(cutoff.timestamp() * PER_SECOND[unit])) if unit else cutoff.isoformat()
    asked = text(_BELOW.replace("$type", as_type))
    least = f"{floor}.5" if unit else floor  # no whole number lies between
    known = session.execute(asked, {"oids": list(leaves), "column": column.name, "limit": limit, "least": least})
    shares = {row.oid: row.share for row in known}
    total, going = 0.0, 0.0
    unknown, unread = [], []
    for oid, (leaf, bound) in leaves.items():
        if not leaf.blocks:
            continue
        if leaf.rows <= 0:  # never analysed, or empty when it was
            unknown.append(leaf)
            continue
        share = _by_bound(bound, column.name, cutoff) if floor is None else None
        share = shares.get(oid) if share is None else share
        if share is None:
            unread.append(leaf)
        total += leaf.rows
        going += leaf.rows * float(share or 0)
    if unknown:
        return None, None, "it was not analysed since it has rows, so nobody knows how many", _analyze(facts, unknown)
    if unread:
        if unseen := hidden(session, facts, unread):
            return round(total), None, "this role may not see its statistics", grant(facts, unseen)
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


def hidden(session: Session, facts: TableFacts, leaves: Sequence[Leaf]) -> list[Leaf]:
    """Those whose statistics PostgreSQL does not show to this role: it may not read all rows, or not this partition."""
    if facts.filtered:
        return [*leaves]
    asked = text(
        "select oid::bigint from unnest(cast(:oids as oid[])) oid where not has_table_privilege(oid, 'select')"
    )
    unreadable = set(session.scalars(asked, {"oids": [leaf.oid for leaf in leaves]}))
    return [leaf for leaf in leaves if leaf.oid in unreadable]


def grant(facts: TableFacts, hidden: Sequence[Leaf]) -> str | None:
    """The SQL after which this role sees them, where a right is all that it takes."""
    if facts.filtered:
        return None
    tables = dict.fromkeys((facts.quoted, *(quoted_whole(leaf.name) for leaf in hidden)))
    return f"grant select on {', '.join(tables)} to {quoted(facts.role)}"


_DEFAULT = text(
    """
    select pg_get_expr(adbin, adrelid) from pg_attrdef
      join pg_attribute on attrelid = adrelid and attnum = adnum where adrelid = :oid and attname = :column
    """
)
_NEVER = re.compile(
    r"^\(?'?(0|-\d+)\b(?!-)|'(0\d|1[0-8]|19[0-8])\d+-\d|BC|'-infinity|'epoch|to_timestamp\(\D*0\D", re.IGNORECASE
)
"""A default that is no time that has been: `0`, `'-1'`, `'0001-01-01'`, `'1970-01-01'`, `'epoch'`."""

_SHARE_OF_NEVER = text(
    f"""
    select sum(frequency * rows) / nullif(sum(rows), 0) from (
        select greatest(c.reltuples, 0) as rows,
               (select sum(f) from unnest(cast(cast(s.most_common_vals as text) as numeric[]), s.most_common_freqs)
                  as common (v, f) where v <= 0) as frequency
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
          cross join {STATISTICS}
         where c.oid = any (cast(:oids as oid[])) and s.attname = :column) each
    """  # noqa: S608 - a constant
)
_NULLS = text(
    f"""
    select cast(s.attname as text) as attname, avg(s.null_frac) as share
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      cross join {STATISTICS}
     where c.oid = any (cast(:oids as oid[])) group by s.attname
    """  # noqa: S608 - a constant
)

# The values of one column that the statistics know. Only these are cast: those of others may be no time at all.
_VALUES = f"""
    with known as materialized (
        select s.histogram_bounds, s.most_common_vals
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
          cross join {STATISTICS}
         where c.oid = any (cast(:oids as oid[])) and s.attname = :column
    ), of_it (v) as (
        select unnest(cast(cast(histogram_bounds as text) as $type[])
                      || cast(cast(most_common_vals as text) as $type[])) from known
    )
"""  # noqa: S608 - a constant
_EARLIEST = f"{_VALUES} select bool_or(v < cast(:first as $type)) from of_it"  # noqa: S608 - constants of this module
_MAGNITUDE = f"{_VALUES} select percentile_disc(0.5) within group (order by v) from of_it where v > 0"  # noqa: S608 - constants of this module

# The share of a table's rows with a smaller value: of the common values those that are smaller, of the others the part
# of the histogram that lies below. Between two bounds it is taken to be half. What lies below the least that is meant
# is taken off.
_BELOW = f"""
    select c.oid::bigint as oid,
           (select greatest(0, sum(sign * (
               (select coalesce(sum(f), 0)
                  from unnest(cast(cast(s.most_common_vals as text) as $type[]), s.most_common_freqs) as common (v, f)
                 where v < edge)
               + (1 - s.null_frac - (select coalesce(sum(f), 0) from unnest(s.most_common_freqs) f))
                 * coalesce((select case when below = 0 then 0 when below = bounds then 1
                                         else (below - 0.5) / (bounds - 1) end
                               from (select count(*) as bounds, count(*) filter (where b < edge) as below
                                       from unnest(cast(cast(s.histogram_bounds as text) as $type[])) b) h
                              where bounds > 1), 0))))
              from (values (cast(:limit as $type), 1), (cast(:least as $type), -1)) edges (edge, sign)
             where edge is not null) as share
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      cross join {STATISTICS}
     where c.oid = any (cast(:oids as oid[])) and s.attname = :column
"""  # noqa: S608 - a constant
