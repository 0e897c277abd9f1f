"""How the driver reads dates: a value that Python cannot hold arrives as the text that PostgreSQL wrote.

PostgreSQL has years before Christ and beyond 9999, and the infinities. A reader that guesses makes another date of
them, or fails for the whole result because of one row.
"""

import datetime as dt
import re
from typing import Any

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


def read_dates(driver_connection: Any) -> None:
    """Have a pg8000 connection read dates so."""
    for type_number in (TIMESTAMP, TIMESTAMPTZ):
        driver_connection.register_in_adapter(type_number, instant_or_text)
    driver_connection.register_in_adapter(DATE, date_or_text)
