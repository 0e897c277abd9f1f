"""Anniversaries in the Umm al-Qura calendar: the Hijri calendar as Saudi Arabia publishes it, month by month.

Its months follow astronomical tables, not a rule for leap years. So every date comes from a library with these tables:
1343 to 1500 AH, which is 1924-08-01 to 2077-11-16.
"""

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache

from hijridate import Gregorian, Hijri


@dataclass(frozen=True)
class Anniversary:
    """The day on which a later Hijri year reaches the month and day of a date."""

    date: dt.date
    year: int
    month: int
    day: int

    @property
    def hijri(self) -> str:
        """The Hijri date as YYYY-MM-DD."""
        return f"{self.year:04}-{self.month:02}-{self.day:02}"

    @property
    def in_words(self) -> str:
        """The Hijri date in words: 1 Ramadan 1446 AH."""
        return f"{self.day} {Hijri(self.year, self.month, self.day).month_name()} {self.year} AH"


@lru_cache(maxsize=100_000)
def next_anniversary(year: int, month: int, day: int, today: dt.date) -> Anniversary:
    """The first anniversary of a Hijri date on or after `today`, at least one Hijri year later.

    Day 30 becomes day 29 in a year in which the month is short.

    Raises:
        OverflowError: `today` or the anniversary is outside the tables.
    """
    this_year = Gregorian.fromdate(today).to_hijri().year
    for later in (max(year + 1, this_year), max(year + 1, this_year) + 1):
        length = Hijri(later, month, 1).month_length()
        anniversary = Hijri(later, month, min(day, length))
        date = dt.date.fromordinal(anniversary.to_gregorian().toordinal())
        if date >= today:
            break
    return Anniversary(date, later, month, anniversary.day)
