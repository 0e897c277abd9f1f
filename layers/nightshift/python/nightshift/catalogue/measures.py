"""Whether a column can be what a step says that it measures, by the planner's statistics: no row is read."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift.catalogue.ages import NUMBERS, PER_SECOND, Measure, Snowflake
from nightshift.catalogue.questions import STATISTICS
from nightshift.catalogue.statistics import is_time, magnitude, share_of_never
from nightshift.catalogue.table import Column, TableFacts

DAY = 86_400
YEAR = 31_556_952
"""Seconds."""
UNIX_YEAR, LAST_YEAR = 1970, 9999


class Doubt(NamedTuple):
    """What speaks against it, in words."""

    what: str
    never: bool = False
    """It may be the right measure, and rows hold a number that stands for no time, like 0."""


def doubts(session: Session, facts: TableFacts, age: Any, measure: Measure | None) -> Iterator[Doubt]:
    """What speaks against the measure of an age; nothing where it is no column, or has no statistics.

    age: the column, as a step names it: a name, or what has one.
    """
    column = facts.columns.get(age if isinstance(age, str) else getattr(age, "name", None) or "")
    if measure is None or column is None:
        return
    if column.base == "uuid" and measure == "uuid7":
        known, of_version_7 = _known(session, facts, column)
        if known and not of_version_7:
            yield Doubt(
                f"{column.name} has no uuid of version 7 by its statistics, and others have no time in them: no row is "
                "ever old enough; name a column that holds a time"
            )
    elif column.base in NUMBERS and measure != "uuid7":
        middle = magnitude(session, facts, column.name)
        if middle is not None:
            yield from _of_number(column, middle, measure)
            if not isinstance(measure, Snowflake) and (share := share_of_never(session, facts, column.name)):
                yield _never(column, f"in {share * 100:.0f} % of the rows")
        elif not isinstance(measure, Snowflake) and _known(session, facts, column)[0]:
            yield _never(column, "in all rows")


def _never(column: Column, where: str) -> Doubt:
    return Doubt(
        f"{column.name} is 0 or less {where} by its statistics, and 0 is {UNIX_YEAR}-01-01: such a row is "
        f'older than any cut-off; if it stands for never, leave it out, with where="{column.name} > 0"',
        never=True,
    )


def _known(session: Session, facts: TableFacts, column: Column) -> tuple[int, int]:
    """How many values the statistics hold, and how many of them are uuids of version 7."""
    asked = {"oids": [leaf.oid for leaf in facts.leaves], "column": column.name}
    known, of_version_7 = session.execute(_KNOWN, asked).one()
    return known, of_version_7


def _of_number(column: Column, middle: float, measure: Measure) -> Iterator[Doubt]:
    seconds = _seconds(middle, measure)
    if is_time(seconds, PER_SECOND["seconds"]) and not _at_once(middle, measure):
        return
    fitting = [unit for unit, per_second in PER_SECOND.items() if is_time(middle, per_second)]
    said = f"{column.name} cannot be a time {_in_words(measure)}: "
    said += f"by its statistics an ordinary row would be of {_moment(seconds)}"
    if fitting:
        said += f', and in {fitting[0]} of {_moment(_seconds(middle, fitting[0]))}: say measured_in="{fitting[0]}"'
    else:
        said += "; name a column that holds a time, or what else it measures"
    yield Doubt(said)


def _seconds(value: float, measure: Measure) -> float:
    """Since 1970."""
    if isinstance(measure, Snowflake):
        return float((int(value) >> measure.shift) + measure.epoch) / PER_SECOND["milliseconds"]
    assert measure != "uuid7"
    return value / PER_SECOND[measure]


def _at_once(value: float, measure: Measure) -> bool:
    """Whether an id is of the first day of its epoch, as numbers are that count from 1."""
    return isinstance(measure, Snowflake) and (int(value) >> measure.shift) < DAY * PER_SECOND["milliseconds"]


def _in_words(measure: Measure) -> str:
    return "of such ids" if isinstance(measure, Snowflake) else f"in {measure}"


def _moment(seconds: float) -> str:
    year = UNIX_YEAR + int(seconds // YEAR)
    if not 0 < year < LAST_YEAR:
        return f"the year {year:,}"
    return (dt.datetime(UNIX_YEAR, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)).date().isoformat()


_KNOWN = text(
    f"""
    select count(*), count(*) filter (where substr(v, 15, 1) = '7')
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      cross join {STATISTICS},
           unnest(cast(cast(s.histogram_bounds as text) as text[])
                  || cast(cast(s.most_common_vals as text) as text[])) v
     where c.oid = any (cast(:oids as oid[])) and s.attname = :column
    """  # noqa: S608 - a constant
)
