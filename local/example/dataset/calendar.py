"""The Umm al-Qura calendar for the years of the data set: enough to give snapshots Hijri dates that become due.

Jobs use a library with the whole table. This table is separate, so that the data does not come from the code under
test.
"""

import datetime as dt

FIRST_YEAR = 1440
FIRST_DAY = dt.date(2018, 9, 11)
"""1 Muharram of the first year."""

# One digit a month: 1 for 30 days, 0 for 29. To the end of 1457 (March 2036).
_YEARS = (
    "010111010100",
    "101011011010",
    "010101011010",
    "101010101011",
    "010110010101",
    "011101001001",
    "011101100100",
    "101110101010",
    "010110110101",
    "001010110110",
    "101001010110",
    "110100101010",
    "111010010101",
    "011100101010",
    "011101010101",
    "001101011010",
    "100101011101",
    "010010011011",
)


def months() -> list[tuple[int, int, dt.date, int]]:
    """Hijri year, month, its first day and its length in days, in order."""
    first = FIRST_DAY
    found = []
    for year, lengths in enumerate(_YEARS, FIRST_YEAR):
        for month, long in enumerate(lengths, 1):
            days = 29 + int(long)
            found.append((year, month, first, days))
            first += dt.timedelta(days)
    return found
