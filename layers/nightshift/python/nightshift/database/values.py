"""How the driver reads values: one that Python cannot hold arrives as the text that PostgreSQL wrote.

PostgreSQL has years before Christ and beyond 9999, and the infinities; the time 24:00, arrays that begin at 0, numbers
of thousands of digits. A reader that guesses makes another value of them. One that fails does so for the whole result
because of one row, and leaves the rest of the answer to be taken for that to the next statement.
"""

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

from pg8000.converters import PG_TYPES
from pg8000.exceptions import Error

DATE, TIMESTAMP, TIMESTAMPTZ = 1082, 1114, 1184
"""The types' numbers in PostgreSQL's own catalogue."""

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?([+-]\d\d(:\d\d){0,2})?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def instant_or_text(text: str) -> dt.datetime | str:
    """A `timestamp` or `timestamptz` as ISO writes it, as a datetime where there is one for it."""
    if not _INSTANT.fullmatch(text):
        return text
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        return text


def date_or_text(text: str) -> dt.date | str:
    """A `date` as ISO writes it, as a date where there is one for it."""
    return dt.date.fromisoformat(text) if _DATE.fullmatch(text) else text


def _or_text(reader: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return reader(text)
        except (ValueError, ArithmeticError, LookupError, TypeError, RecursionError, Error):
            return text

    return read


_READERS = {number: _or_text(reader) for number, reader in PG_TYPES.items()} | {
    TIMESTAMP: instant_or_text,
    TIMESTAMPTZ: instant_or_text,
    DATE: date_or_text,
}


def read_values(driver_connection: Any) -> None:
    """Have a pg8000 connection read values so."""
    driver_connection.pg_types.update(_READERS)
