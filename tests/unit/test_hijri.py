import datetime as dt

import pytest

from nightshift.hijri import next_anniversary

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


def test_in_words() -> None:
    assert next_anniversary(1445, 9, 30, day("2025-03-01")).in_words == "29 Ramadan 1446 AH"


@pytest.mark.parametrize("today", ["1924-07-31", "2077-11-17"])
def test_a_day_outside_the_tables_is_refused(today: str) -> None:
    with pytest.raises(OverflowError):
        next_anniversary(1445, 9, 1, day(today))


def test_an_anniversary_beyond_the_tables_is_refused() -> None:
    with pytest.raises(OverflowError):
        next_anniversary(1500, 9, 1, day("2077-11-16"))
