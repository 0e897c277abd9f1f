import datetime as dt
from collections import Counter
from itertools import pairwise

import pytest

from application.hijri import next_anniversary

day = dt.date.fromisoformat


@pytest.mark.parametrize(
    ("hijri", "today", "expected", "in_hijri"),
    [
        ((1445, 9, 1), "2024-03-11", "2025-03-01", "1446-09-01"),
        ((1445, 9, 1), "2025-03-01", "2025-03-01", "1446-09-01"),
        ((1445, 9, 1), "2025-03-02", "2026-02-18", "1447-09-01"),
        ((1445, 9, 30), "2024-04-09", "2025-03-29", "1446-09-29"),  # Ramadan 1446 has 29 days
        ((1440, 9, 30), "2025-01-01", "2025-03-29", "1446-09-29"),
        ((1445, 9, 1), "2029-12-10", "2030-01-05", "1451-09-01"),  # two in one Gregorian year
        ((1445, 9, 1), "2030-01-06", "2030-12-26", "1452-09-01"),
        ((1446, 1, 1), "2024-07-07", "2025-06-26", "1447-01-01"),
        ((1446, 12, 29), "2025-06-25", "2026-06-15", "1447-12-29"),
    ],
)
def test_the_next_anniversary(hijri: tuple[int, int, int], today: str, expected: str, in_hijri: str) -> None:
    found = next_anniversary(*hijri, day(today))

    assert (found.date, found.hijri) == (day(expected), in_hijri)


def test_an_anniversary_is_at_least_one_hijri_year_later() -> None:
    """GIVEN a snapshot of a day that is still to come WHEN asked before it THEN not that day, but a year after it."""
    assert next_anniversary(1446, 9, 1, day("2025-02-01")).hijri == "1447-09-01"


def test_the_day_lies_in_the_window_of_a_year_and_is_never_past() -> None:
    """Every day of a decade: the anniversary of 30 Safar is today or later, and at most 355 days away."""
    start = day("2024-01-01")
    away = [
        (next_anniversary(1440, 2, 30, today).date - today).days
        for today in (start + dt.timedelta(n) for n in range(3650))
    ]

    assert min(away) == 0
    assert 353 <= max(away) <= 355


def test_no_rule_of_days_gives_the_anniversary() -> None:
    """The 157 years that the tables hold whole have four lengths. 354 days after 1 Ramadan 1445 is a day too early."""
    first = day("1924-08-01")
    new_years = [first, *(next_anniversary(year, 1, 1, first).date for year in range(1343, 1500))]

    lengths = Counter((later - earlier).days for earlier, later in pairwise(new_years))

    assert lengths == {353: 3, 354: 95, 355: 57, 356: 2}
    assert day("2024-03-11") + dt.timedelta(days=354) == day("2025-02-28")
    assert next_anniversary(1445, 9, 1, day("2024-03-12")).date == day("2025-03-01")


def test_the_tables_end_where_they_are_said_to() -> None:
    assert next_anniversary(1499, 12, 30, day("2077-11-16")).hijri == "1500-12-30"


def test_in_words() -> None:
    assert next_anniversary(1445, 9, 30, day("2025-03-01")).in_words == "29 Ramadan 1446 AH"


@pytest.mark.parametrize("today", ["1924-07-31", "2077-11-17"])
def test_a_day_outside_the_tables_is_refused(today: str) -> None:
    with pytest.raises(OverflowError):
        next_anniversary(1445, 9, 1, day(today))


def test_an_anniversary_beyond_the_tables_is_refused() -> None:
    with pytest.raises(OverflowError):
        next_anniversary(1500, 9, 1, day("2077-11-16"))
