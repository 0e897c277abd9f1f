"""Ages by their type: the cut-off is turned into the column's own terms, and the column is left as it is.

A column compared with a value of another type loses its index, and a date compared with an instant loses up to a day.
"""

import datetime as dt
import math
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Text, and_, cast, func, literal
from sqlalchemy.types import UserDefinedType

from nightshift.catalogue.table import Column, TableError
from nightshift.zones import zone as zone_named

EpochUnit = Literal["seconds", "milliseconds", "microseconds", "nanoseconds"]
PER_SECOND: dict[EpochUnit, int] = {
    "seconds": 1,
    "milliseconds": 1_000,
    "microseconds": 1_000_000,
    "nanoseconds": 1_000_000_000,
}

NUMBERS = ("int2", "int4", "int8", "numeric", "float4", "float8")
LARGEST = {"int2": 2**15, "int4": 2**31, "int8": 2**63}
"""From which number on a column of that type holds none."""
SECOND = dt.timedelta(seconds=1)


class Snowflake(NamedTuple):
    """Ids that begin with a time: milliseconds since `epoch` (itself in milliseconds since 1970), shifted left."""

    epoch: int
    shift: int = 22


Measure = EpochUnit | Literal["uuid7"] | Snowflake
MEASURES = (*PER_SECOND, "uuid7")
"""Those that are named by a word."""


class SqlType(UserDefinedType[str]):
    """A type by the name that the database gives it. Values go and come as text.

    A value is sent as `$1::type`, so that it is of the type from the start. A cast of text would be done again for
    every row that is compared with it, because what text means depends on settings.
    """

    cache_ok = True
    render_bind_cast = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: object) -> str:
        return self.name


TID = SqlType("tid")
"""A row's place in its table."""


def older_than(
    age: ColumnElement[object], column: Column, cutoff: dt.datetime, *, zone: str, measure: Measure | None
) -> ColumnElement[bool]:
    """The condition that a row is strictly older than the cut-off. A null age is never older than anything.

    zone: of a `timestamp` or `date`, which say none themselves.
    measure: of a number or a uuid, what it measures.

    Raises:
        TableError: there is no time in the column, or what it measures is not said.
    """
    older = before(age, column, cutoff, zone=zone, measure=measure)
    if column.base == "uuid":
        return and_(older, func.substr(cast(age, Text), 15, 1) == "7")  # others have no time in them
    return older


def before(
    age: ColumnElement[object], column: Column, cutoff: dt.datetime, *, zone: str, measure: Measure | None
) -> ColumnElement[bool]:
    """The plain comparison with the cut-off, as the bounds of a partition are compared with it."""
    # Of the type behind a domain, which may refuse the cut-off, and not rounded to the column's digits.
    return age < literal(_in_terms_of(column, cutoff, zone_named(zone), measure), SqlType(column.base))


def _in_terms_of(column: Column, cutoff: dt.datetime, zone: ZoneInfo, measure: Measure | None) -> str:
    if column.base == "timestamptz":
        return cutoff.isoformat()
    if column.base == "timestamp":
        return local_cutoff(cutoff, zone).isoformat()
    if column.base == "date":
        # A row of that day may be as young as its evening, so the day itself is not older.
        return local_cutoff(cutoff, zone).date().isoformat()
    if column.base in NUMBERS and isinstance(measure, Snowflake):
        return _held(column, max(0, _since_1970(cutoff, "milliseconds") - measure.epoch) << measure.shift)
    if column.base in NUMBERS and measure in PER_SECOND:
        return _held(column, _since_1970(cutoff, measure))
    if column.base == "uuid" and measure == "uuid7":
        digits = f"{_since_1970(cutoff, 'milliseconds'):012x}70008000000000000000"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    if column.base in NUMBERS:
        units = ", ".join(f'"{unit}"' for unit in PER_SECOND)
        remedy = f"say what it counts: measured_in={units} or Snowflake(epoch=…)"
        raise TableError(f"the column {column.name} is a number: {remedy}")
    if column.base == "uuid":
        raise TableError(
            f'the column {column.name} is a uuid: if all of them are of version 7, say measured_in="uuid7"'
        )
    raise TableError(
        f"the column {column.name} is of type {column.type}, which has no time in it that can be compared: name "
        "a column with a time, or write the rule as a condition"
    )


def _held(column: Column, number: int) -> str:
    if abs(number) >= LARGEST.get(column.base, math.inf):
        raise TableError(
            f"the column {column.name} is of type {column.type}, and cannot hold {number}, which is the cut-off in "
            "terms of measured_in: it counts something else"
        )
    return str(number)


def _since_1970(instant: dt.datetime, unit: EpochUnit) -> int:
    """Whole units, rounded down: a row of the very unit of the cut-off is not older."""
    microseconds = (instant - dt.datetime.fromtimestamp(0, dt.UTC)) // dt.timedelta(microseconds=1)
    return microseconds * PER_SECOND[unit] // 1_000_000


def local_cutoff(cutoff: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """The cut-off on a zone's clocks, without the zone.

    Where the clocks are put back an hour comes twice, and a row of that hour may be of the later one. Until the hour
    has come for the second time, the cut-off is therefore its beginning.
    """
    local = cutoff.astimezone(zone)
    if local.replace(fold=1).utcoffset() == local.utcoffset():
        return local.replace(tzinfo=None)
    low, high = cutoff, cutoff + dt.timedelta(hours=25)
    offset = local.utcoffset()
    while high - low > SECOND:
        middle = low + (high - low) // 2
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == offset else (low, middle)
    back = high.replace(microsecond=0).astimezone(zone)
    return min(local.replace(tzinfo=None), back.replace(tzinfo=None))
