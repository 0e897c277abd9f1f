"""Schedules against an independent reading of the AWS rules that tries every day, hour and minute of a window."""

import calendar
import datetime as dt
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import islice, pairwise, product

import pytest
from hypothesis import given, settings, strategies as st

from nightshift.declaration import Schedule, ScheduleError
from nightshift.declaration.schedule import CALENDAR_END, CALENDAR_START

MOMENT = dt.timedelta.resolution
MINUTE = dt.timedelta(minutes=1)
DAY = dt.timedelta(days=1)
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> dt.datetime:
    return dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)


# --- The reference: what AWS documents, read once more and without any library --------------------------------------


@cache
def numbers(field: str, low: int, high: int, names: tuple[str, ...] = ()) -> frozenset[int]:
    """The numbers that a field of lists, ranges (also over the end) and steps stands for."""

    def number(text: str) -> int:
        return names.index(text) + low if text in names else int(text)

    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = (number(text) for text in span.split("-"))
        else:
            first = number(span)
            last = high if step else first
        size = high - low + 1
        last += size if last < first else 0
        found |= {low + (value - low) % size for value in range(first, last + 1, int(step or 1))}
    return frozenset(found)


def weekday(day: dt.date) -> str:
    return WEEKDAYS[day.isoweekday() % 7]


def fires_on(expression: str, day: dt.date) -> bool:
    _, _, day_of_month, month, day_of_week, year = expression.split()
    if day.year not in numbers(year, 1970, 2199) or day.month not in numbers(month, 1, 12, MONTHS):
        return False
    length = calendar.monthrange(day.year, day.month)[1]
    if day_of_month == "?":
        if day_of_week == "L":
            return weekday(day) == "SAT"
        if day_of_week.endswith("L"):
            return weekday(day) == day_of_week[:-1] and day.day + 7 > length
        if "#" in day_of_week:
            name, _, nth = day_of_week.partition("#")
            return weekday(day) == name and (day.day - 1) // 7 + 1 == int(nth)
        return WEEKDAYS.index(weekday(day)) + 1 in numbers(day_of_week, 1, 7, WEEKDAYS)
    if day_of_month.startswith("L"):
        return day.day == length - int(day_of_month[2:] or 0)
    if day_of_month.endswith("W"):
        wanted = int(day_of_month[:-1])
        working = [n for n in range(1, length + 1) if weekday(day.replace(day=n)) not in ("SAT", "SUN")]
        return wanted <= length and day.day == min(working, key=lambda n: abs(n - wanted))
    return day.day in numbers(day_of_month, 1, 31)


def reference(expression: str, start: dt.datetime, end: dt.datetime) -> Iterator[dt.datetime]:
    """Every fire time in [start, end), by trying every minute of every day."""
    minute_field, hour_field = expression.split()[:2]
    minutes, hours = numbers(minute_field, 0, 59), numbers(hour_field, 0, 23)
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    while midnight < end:
        if fires_on(expression, midnight.date()):
            for hour, minute in product(range(24), range(60)):
                if hour in hours and minute in minutes:
                    fire = midnight.replace(hour=hour, minute=minute)
                    if start <= fire < end:
                        yield fire
        midnight += DAY


VALID = """
* * * * ? *             0 * * * ? *             5 * * * ? *             10 * * * ? *            59 * * * ? *
0 2 * * ? *             30 2 * * ? *            0 0 * * ? *             59 23 * * ? *           00 02 * * ? *
0/5 * * * ? *           0/10 * * * ? *          0/15 * * * ? *          0/25 * * * ? *          */25 * * * ? *
0/7 * * * ? *           7/15 * * * ? *          59/5 * * * ? *          0/59 * * * ? *          0/1 * * * ? *
10-20 * * * ? *         10-30/7 * * * ? *       30-30 * * * ? *         0,30 * * * ? *          5,10-12,40/10 * * * ? *
50-10 3 * * ? *         50-10/7 3 * * ? *       15,45 8-10 * * ? *      0 0/6 * * ? *           0 */5 * * ? *
0 1/4 * * ? *           0 9-17 * * ? *          0/25 9-17 * * ? *       0 9-17/3 * * ? *        0 0,6,12,18 * * ? *
0 20-2 * * ? *          0/30 20-2 * * ? *       0/30 20-2 ? * MON-FRI * 0 22-4/3 * * ? *        0 23-0 ? * SAT *
0 3 1 * ? *             30 2 1 * ? *            0 4 15 * ? *            0 0 31 * ? *            0 0 30 * ? *
0 0 29 * ? *            0 0 1,15 * ? *          0 0 1-7 * ? *           0 0 28-3 * ? *          0 0 1/10 * ? *
0 0 */10 * ? *          0 0 5-25/5 * ? *        0 0 L * ? *             0 0 L-1 * ? *           0 0 L-3 * ? *
0 0 L-28 * ? *          0 0 L-30 * ? *          0 0 1W * ? *            0 0 15W * ? *           0 0 3W * ? *
0 0 29W * ? *           0 0 30W * ? *           0 0 31W * ? *           0 0 28W 2 ? *           0 0 29W 2 ? *
0 0 1 JAN ? *           0 0 1 1 ? *             0 0 1 jan ? *           0 0 31 DEC ? *          0 0 29 2 ? *
0 0 29 FEB ? *          0 0 30 4,6,9,11 ? *     0 0 31 1,3-5 ? *        0 0 1 1/3 ? *           0 0 1 JAN/3 ? *
0 0 1 NOV-FEB ? *       0 0 1 APR-JUN ? *       0 0 1 */5 ? *           0 0 L FEB ? *           0 0 L JAN,FEB ? *
0 2 ? * SUN *           30 3 ? * SUN *          0 5 ? * SUN *           0 2 ? * MON-FRI *       0 2 ? * mon-fri *
0 2 ? * SAT,SUN *       0 2 ? * FRI-MON *       0 2 ? * SAT-SUN *       0 2 ? * MON,WED-FRI *   0 2 ? * * *
0 2 ? * L *             0 2 ? * FRIL *          0 2 ? * SUNL *          0 2 ? * MON#1 *         0 2 ? * MON#2 *
0 2 ? * SAT#4 *         0 2 ? * FRI#5 *         0 2 ? * SUN#5 *         0 2 ? FEB SUN#5 *       0 2 ? FEB MONL *
0 2 ? 2 MON#5 *         0 2 ? 1-6 TUE *         0 2 ? DEC FRIL *        0/20 6-8 ? * TUE,THU *  * 12 ? * WED#3 *
0 0 1 1 ? 2028          0 0 1 1 ? 2027-2030     0 0 1 1 ? 2026/5        0 0 1 1 ? */10          0 0 1 1 ? 2026-2040/7
0 0 1 1 ? 2027,2029     0 0 1 1 ? 2020,2030     0 0 29 2 ? 2025-2031    0 0 29 2 ? */30         0 12 * * ? 2028
0 12 ? 3 MON#1 2028     0 0 29 2 ? 2096-2104    59 23 31 12 ? 2199      * * * * ? 2028-2199     0 0 L 2 ? 2027/2
"""
WORDS = VALID.split()
EXPRESSIONS = [" ".join(WORDS[at : at + 6]) for at in range(0, len(WORDS), 6)]


def schedule(fields: str) -> Schedule:
    return Schedule.parse(f"cron({fields})")


def test_there_are_more_than_a_hundred_expressions() -> None:
    assert len(set(EXPRESSIONS)) > 100
    assert len(WORDS) % 6 == 0


@pytest.mark.parametrize("fields", EXPRESSIONS)
def test_fire_times_are_those_of_the_reference(fields: str) -> None:
    windows = [(utc(2027, 12, 30, 5), utc(2028, 1, 3, 12)), (utc(2028, 2, 27, 21), utc(2028, 3, 2, 1, 1))]
    per_day = len(numbers(fields.split()[0], 0, 59)) * len(numbers(fields.split()[1], 0, 23))
    if per_day <= 4:
        windows.append((utc(2027, 12, 1), utc(2029, 3, 2)))
    for start, end in windows:
        assert list(schedule(fields).between(start, end)) == list(reference(fields.upper(), start, end))


@pytest.mark.parametrize("fields", EXPRESSIONS)
def test_the_way_back_meets_the_same_fire_times(fields: str) -> None:
    forwards = list(islice(schedule(fields).between(utc(2027, 12, 31, 22), CALENDAR_END), 12))
    assert forwards, "a valid schedule of the list fires after 2027"
    for earlier, later in pairwise(forwards):
        assert schedule(fields).previous_before(later) == earlier
        assert schedule(fields).previous_at_or_before(later - MOMENT) == earlier
        assert schedule(fields).previous_at_or_before(later) == later
        assert schedule(fields).previous_at_or_before(later + dt.timedelta(seconds=30)) == later


@pytest.mark.parametrize("fields", ["0 0 29 2 ? *", "0 2 ? 2 MON#5 *", "0 0 29W 2 ? *", "0 0 29 2 ? */30"])
def test_gaps_of_many_years_are_crossed(fields: str) -> None:
    expected = list(reference(fields, utc(1970, 1, 1), utc(2200, 1, 1)))
    assert list(schedule(fields).between(utc(1970, 1, 1), utc(2200, 1, 1))) == expected
    assert schedule(fields).previous_at_or_before(utc(2199, 12, 31)) == expected[-1]


# --- Facts worked out by hand ---------------------------------------------------------------------------------------


def test_hours_over_midnight_belong_to_the_day_on_which_they_fire() -> None:
    nightly = schedule("0/30 20-2 ? * MON-FRI *")
    monday, saturday = utc(2026, 11, 23), utc(2026, 11, 28)
    early = [monday + half * dt.timedelta(minutes=30) for half in range(6)]
    late = [monday + dt.timedelta(hours=20) + half * dt.timedelta(minutes=30) for half in range(8)]
    assert list(nightly.between(monday, monday + DAY)) == early + late
    assert list(nightly.between(saturday, saturday + 2 * DAY)) == []


def test_every_25_minutes_starts_afresh_each_hour() -> None:
    minutes = [fire.minute for fire in schedule("0/25 * * * ? *").between(utc(2026, 3, 1), utc(2026, 3, 1, 2))]
    assert minutes == [0, 25, 50, 0, 25, 50]


@pytest.mark.parametrize(
    ("fields", "after", "expected"),
    [
        ("0 2 * * ? *", utc(2026, 3, 1, 2), utc(2026, 3, 2, 2)),
        ("0 2 * * ? *", utc(2026, 3, 1, 2) - MOMENT, utc(2026, 3, 1, 2)),
        ("0 2 * * ? *", utc(2026, 3, 1, 1, 59, 59), utc(2026, 3, 1, 2)),
        ("0 0 L * ? *", utc(2028, 2, 1), utc(2028, 2, 29)),
        ("0 0 L * ? *", utc(2027, 2, 1), utc(2027, 2, 28)),
        ("0 0 L-2 * ? *", utc(2026, 4, 1), utc(2026, 4, 28)),
        ("0 0 1W * ? *", utc(2026, 7, 31), utc(2026, 8, 3)),  # 1 August 2026 is a Saturday
        ("0 0 15W * ? *", utc(2026, 8, 1), utc(2026, 8, 14)),  # 15 August 2026 is a Saturday
        ("0 0 31W * ? *", utc(2026, 1, 31), utc(2026, 3, 31)),  # February has no 31st
        ("0 0 ? * FRIL *", utc(2026, 11, 1), utc(2026, 11, 27)),
        ("0 0 ? * L *", utc(2026, 11, 22), utc(2026, 11, 28)),  # a lone L is the last day of the week
        ("0 0 ? * MON#5 *", utc(2026, 9, 1), utc(2026, 11, 30)),
        ("0 0 29 2 ? *", utc(2096, 3, 1), utc(2104, 2, 29)),  # 2100 is no leap year
        ("0 0 ? 2 MON#5 *", utc(2016, 3, 1), utc(2044, 2, 29)),
        ("0 0 1 1 ? 2026/5", utc(2026, 1, 1), utc(2031, 1, 1)),
        ("0 0 1 1 ? */10", utc(2026, 1, 1), utc(2030, 1, 1)),
        ("59 23 31 12 ? 2199", utc(2026, 1, 1), utc(2199, 12, 31, 23, 59)),
        ("59 23 31 12 ? 2199", utc(2199, 12, 31, 23, 59), None),
        ("0 0 1 1 ? *", dt.datetime.max.replace(tzinfo=dt.UTC), None),
        ("0 0 1 1 ? *", dt.datetime.min.replace(tzinfo=dt.UTC), utc(1970, 1, 1)),
    ],
)
def test_next_after(fields: str, after: dt.datetime, expected: dt.datetime | None) -> None:
    assert schedule(fields).next_after(after) == expected


@pytest.mark.parametrize(
    ("fields", "at", "expected"),
    [
        ("0 2 * * ? *", utc(2026, 3, 1, 2), utc(2026, 3, 1, 2)),
        ("0 2 * * ? *", utc(2026, 3, 1, 2, 0, 30), utc(2026, 3, 1, 2)),
        ("0 2 * * ? *", utc(2026, 3, 1, 2) - MOMENT, utc(2026, 2, 28, 2)),
        ("0 0 1 NOV-FEB ? *", utc(2026, 10, 31), utc(2026, 2, 1)),
        ("* * * 1 ? *", utc(2026, 12, 31), utc(2026, 1, 31, 23, 59)),
        ("0 0 29 2 ? *", utc(2103, 1, 1), utc(2096, 2, 29)),
        ("0 0 1 1 ? 2027-2030", utc(2150, 6, 1), utc(2030, 1, 1)),
        ("0 0 1 1 ? 2027-2030", utc(2027, 1, 1) - MOMENT, None),
        ("0 0 1 1 ? *", utc(1970, 1, 1) - MOMENT, None),
        ("0 0 1 1 ? *", dt.datetime.min.replace(tzinfo=dt.UTC), None),
        ("0 0 1 1 ? *", dt.datetime.max.replace(tzinfo=dt.UTC), utc(2199, 1, 1)),
    ],
)
def test_previous_at_or_before(fields: str, at: dt.datetime, expected: dt.datetime | None) -> None:
    assert schedule(fields).previous_at_or_before(at) == expected


def test_previous_before_leaves_out_the_instant_itself() -> None:
    assert schedule("0 2 * * ? *").previous_before(utc(2026, 3, 1, 2)) == utc(2026, 2, 28, 2)


def test_between_includes_its_start_and_excludes_its_end() -> None:
    hourly = schedule("0 * * * ? *")
    assert list(hourly.between(utc(2026, 3, 1), utc(2026, 3, 1, 2))) == [utc(2026, 3, 1), utc(2026, 3, 1, 1)]
    assert list(hourly.between(utc(2026, 3, 1), utc(2026, 3, 1))) == []
    assert list(hourly.between(utc(2026, 3, 2), utc(2026, 3, 1))) == []


def test_instants_may_have_any_time_zone_and_come_back_in_utc() -> None:
    in_india = dt.datetime(2026, 3, 1, 7, 29, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30)))
    fire = schedule("0 2 * * ? *").next_after(in_india)
    assert fire == utc(2026, 3, 1, 2)
    assert fire is not None
    assert fire.tzinfo is dt.UTC


def test_naive_instants_are_refused() -> None:
    naive, aware = dt.datetime(2026, 3, 1), utc(2026, 3, 1)  # noqa: DTZ001 - the point of the test
    daily = schedule("0 2 * * ? *")
    for ask in (daily.next_after, daily.previous_at_or_before, daily.previous_before, daily.period):
        with pytest.raises(ScheduleError, match="no time zone"):
            ask(naive)
    for start, end in ((naive, aware), (aware, naive)):
        with pytest.raises(ScheduleError, match="no time zone"):
            daily.between(start, end)


@pytest.mark.parametrize(
    ("fields", "at", "expected"),
    [
        ("0 * * * ? *", utc(2026, 3, 1, 5, 30), dt.timedelta(hours=1)),
        ("0 2 * * ? *", utc(2026, 3, 1, 5), DAY),
        ("0/25 * * * ? *", utc(2026, 3, 1, 5, 5), dt.timedelta(minutes=25)),
        ("0/25 * * * ? *", utc(2026, 3, 1, 5, 55), dt.timedelta(minutes=25)),
        ("0 2 ? * MON-FRI *", utc(2026, 11, 19, 12), DAY),  # Thursday
        ("0 2 ? * MON-FRI *", utc(2026, 11, 20, 2), 3 * DAY),  # from Friday's occurrence
        ("0 2 ? * MON-FRI *", utc(2026, 11, 23, 12), 3 * DAY),  # Monday: Friday's success is not yet two periods old
        ("0 2 ? * MON-FRI *", utc(2026, 11, 24, 2), DAY),  # from Tuesday's occurrence
        ("0 3 1 * ? *", utc(2027, 3, 15), 31 * DAY),
        ("0 0 1 1 ? 2027-2028", utc(2030, 1, 1), CALENDAR_END - utc(2028, 1, 1)),  # over: never late
        ("0 0 1 1 ? 2027-2028", utc(2026, 1, 1), utc(2027, 1, 1) - CALENDAR_START),  # not begun: never late
    ],
)
def test_period(fields: str, at: dt.datetime, expected: dt.timedelta) -> None:
    assert schedule(fields).period(at) == expected


def test_schedules_are_equal_when_they_are_written_alike() -> None:
    assert Schedule.parse(" cron( 0  2 ? * mon * )\n") == schedule("0 2 ? * MON *")
    assert str(Schedule.parse("cron(0 2 ? jan mon *)")) == "cron(0 2 ? JAN MON *)"
    assert len({schedule("0 2 * * ? *"), schedule("0 2 * * ? *"), schedule("0 3 * * ? *")}) == 2


# --- Refusals -------------------------------------------------------------------------------------------------------

INVALID = [
    *[(text, "write a cron, such as") for text in ("rate(5 minutes)", "rate(1 hour)", " rate(nonsense)")],
    *[
        (text, r"write cron\(\.\.\.\) around six fields")
        for text in ("", "nonsense", "0 2 * * ? *", "0 2 * * *", "@daily", "at(2026-01-01T00:00:00)", "cron", "cron(")
    ],
    ("CRON(0 2 * * ? *)", r"write cron\(\.\.\.\)"),
    ("cron(0 2 * * ? *", r"write cron\(\.\.\.\)"),
    ("cron(0 2 * * ? *))", r"write cron\(\.\.\.\)"),
    ("cron(0 2 * * ? *) cron(0 3 * * ? *)", r"write cron\(\.\.\.\)"),
    ("cron()", "not six fields but 0"),
    ("cron(nonsense)", "not six fields but 1"),
    ("cron(0 2 * * *)", "not six fields but 5 .as on Unix"),
    ("cron(0 2 * * ?)", "not six fields but 5"),
    ("cron(0 0 2 * * ? *)", "not six fields but 7 .as in Quartz"),
    ("cron(0 2 * * * *)", r"both set: put \? in exactly one"),
    ("cron(0 2 1 * MON *)", r"both set: put \? in exactly one"),
    ("cron(0 2 1 * * *)", r"both set: put \? in exactly one"),
    ("cron(0 2 ? * ? *)", r"both day fields are \?: put \? in exactly one"),
    ("cron(0 2 ? * 2 *)", "write MON if Sunday is 1 as on AWS, TUE if Sunday is 0 as on Unix"),
    ("cron(0 2 ? * 1-5 *)", "write SUN-THU if Sunday is 1 as on AWS, MON-FRI if"),
    ("cron(0 2 ? * 2,4,6 *)", "write MON,WED,FRI if"),
    ("cron(0 2 ? * MON-6 *)", "write MON-FRI if"),
    ("cron(0 2 ? * 7 *)", "write SAT if Sunday is 1 as on AWS, SUN if"),
    ("cron(0 2 ? * 0 *)", "differently: write SUN if Sunday is 0 as on Unix"),
    ("cron(0 2 ? * 6L *)", "write FRIL if"),
    ("cron(0 2 ? * 2#1 *)", "write MON#1 if"),
    *[
        (f"cron(0 2 ? * {field} *)", "names SUN to SAT")
        for field in (
            "8",
            "10",
            "MON/2",
            "*/2",
            "MON-FRI/2",
            "MON#6",
            "MON#0",
            "MON#",
            "#2",
            "MON#1,FRI#2",
            "L-3",
            "LL",
        )
    ],
    *[
        (f"cron(0 2 ? * {field} *)", "names SUN to SAT")
        for field in ("MONDAY", "MO", "MON,", "MON-", "MON2", "FRIL,MON")
    ],
    *[
        (f"cron({field} 2 * * ? *)", "minute .* write 0 to 59")
        for field in ("60", "-1", "0/0", "*/0", "0/60", "5-", "5,,6", "x", "?", "L", "1.5", "0-60", "*-5", "5/", "007")
    ],
    *[(f"cron(0 {field} * * ? *)", "hour .* write 0 to 23") for field in ("24", "0-24", "*/24", "22-*", "MON", "?")],
    *[
        (f"cron(0 2 {field} * ? *)", "day-of-month .* write 1 to 31")
        for field in ("0", "32", "L-31", "L-0", "L,15", "W", "0W", "32W", "1W,15W", "1-5W", "LL", "MON", "1#2")
    ],
    ("cron(0 2 LW * ? *)", "LW .* write L .last day. or FRIL"),
    *[
        (f"cron(0 2 1 {field} ? *)", "month .* write JAN to DEC")
        for field in ("0", "13", "JANUARY", "JAN/0", "?", "JAN-13", "MON", "L")
    ],
    *[
        (f"cron(0 2 1 1 ? {field})", "year .* write 1970 to 2199, ascending")
        for field in (
            "1969",
            "2200",
            "26",
            "2030-2026",
            "2026/0",
            "2026-2200",
            "?",
            "2026,",
            "x",
            "2026-",
            "*-2030",
            "L",
        )
    ],
    *[
        (f"cron(0 2 {day} ? *)", "never fires: name a day")
        for day in ("31 2", "30 FEB", "31 4,6,9,11", "31W 2", "L-29 2")
    ],
    ("cron(0 2 29 2 ? 2027)", "never fires: name a day"),
    ("cron(0 2 ? 2 MON#5 2027-2030)", "never fires: name a day"),
    ("cron(0 2 * * ? 1999)", "is over: .* years to come"),
    ("cron(0 2 * * ? 1970-2025)", "is over: .* years to come"),
    ("cron(0 2 * * ? 2001,2020)", "is over: .* years to come"),
]


def test_there_are_more_than_fifty_refusals() -> None:
    assert len({text for text, _ in INVALID}) > 50


@pytest.mark.parametrize(("text", "remedy"), INVALID)
def test_what_cannot_be_meant_is_refused_in_one_line_with_the_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ScheduleError, match=remedy) as refusal:
        Schedule.parse(text)
    assert "\n" not in str(refusal.value)
    assert repr(text) in str(refusal.value)


def test_a_schedule_that_is_over_is_refused_by_whoever_is_about_to_deploy_it() -> None:
    text = "cron(0 2 1 1 ? 2027)"
    assert Schedule.parse(text, fires_after=utc(2027, 1, 1)).expression == text
    with pytest.raises(ScheduleError, match="is over"):
        Schedule.parse(text, fires_after=utc(2027, 1, 2))


# --- Properties -----------------------------------------------------------------------------------------------------

instants = st.datetimes(dt.datetime(2024, 1, 1), dt.datetime(2034, 12, 31), timezones=st.just(dt.UTC))  # noqa: DTZ001


def field_of(low: int, high: int, *, wraps: bool = True) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda ends: ends if wraps else (min(ends), max(ends)))
    start = st.one_of(st.just("*"), number.map(str), span.map(lambda ends: f"{ends[0]}-{ends[1]}"))
    step = st.tuples(start, st.integers(1, high - low)).map(lambda part: f"{part[0]}/{part[1]}")
    part = st.one_of(number.map(str), span.map(lambda ends: f"{ends[0]}-{ends[1]}"), step)
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


names = st.sampled_from(WEEKDAYS)
day_of_month_fields = st.one_of(
    field_of(1, 31),
    st.just("L"),
    st.integers(1, 30).map(lambda days: f"L-{days}"),
    st.integers(1, 31).map(lambda day: f"{day}W"),
)
day_of_week_fields = st.one_of(
    st.sampled_from(["*", "L"]),
    names.map(lambda name: f"{name}L"),
    st.tuples(names, st.integers(1, 5)).map(lambda part: f"{part[0]}#{part[1]}"),
    st.lists(st.one_of(names, st.tuples(names, names).map("-".join)), min_size=1, max_size=3).map(",".join),
)
day_fields = st.one_of(
    st.tuples(day_of_month_fields, field_of(1, 12), st.just("?")),
    st.tuples(st.just("?"), field_of(1, 12), day_of_week_fields),
)
year_fields = st.one_of(st.just("*"), field_of(2024, 2034, wraps=False).filter(lambda field: "/" not in field))
expressions = st.tuples(field_of(0, 59), field_of(0, 23), day_fields, year_fields).map(
    lambda parts: " ".join([parts[0], parts[1], *parts[2], parts[3]])
)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(expressions, instants)
def test_any_expression_fires_as_the_reference_says(fields: str, start: dt.datetime) -> None:
    made = Schedule(f"cron({fields})")
    end = start + 45 * DAY
    expected = list(islice(reference(fields, start, end), 40))
    assert list(islice(made.between(start, end), 40)) == expected
    for earlier, later in pairwise(expected):
        assert made.previous_before(later) == earlier


rare_days = st.one_of(
    st.tuples(st.sampled_from(["L", "L-1", "L-29", "29", "30", "31", "29W", "31W", "1W"]), st.just("?")),
    st.tuples(st.just("?"), st.one_of(st.just("L"), names.map("{}L".format), names.map("{}#5".format))),
)
rare = st.tuples(
    rare_days, st.sampled_from(["*", "2", "FEB", "2,6", "*/5"]), st.sampled_from(["*", "2024/4", "2025-2031"])
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(rare, st.integers(0, 23), st.integers(0, 59), instants)
def test_rare_days_of_four_years_are_those_of_the_reference(
    chosen: tuple[tuple[str, str], str, str], hour: int, minute: int, start: dt.datetime
) -> None:
    """Leap days, fifth weekdays, and the last day of any month: each met on both ways, none twice, none left out."""
    (day, weekday), month, year = chosen
    fields = f"{minute} {hour} {day} {month} {weekday} {year}"
    made, end = Schedule(f"cron({fields})"), start + 4 * 366 * DAY
    expected = list(reference(fields, start, end))
    assert list(made.between(start, end)) == expected
    assert all(earlier < later for earlier, later in pairwise(expected))
    for earlier, later in list(pairwise(expected))[:3]:
        assert made.previous_before(later) == earlier
        assert made.next_after(earlier) == later
        assert made.period(later) >= later - earlier


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.sampled_from(EXPRESSIONS), instants)
def test_next_and_previous_are_inverse(fields: str, instant: dt.datetime) -> None:
    made = schedule(fields)
    following, latest = made.next_after(instant), made.previous_at_or_before(instant)
    if following is not None:
        assert following > instant
        assert made.previous_at_or_before(following) == following
        assert made.previous_before(following) == latest
    if latest is not None:
        assert latest <= instant
        assert made.next_after(latest) == following
        assert made.next_after(latest - MOMENT) == latest


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.sampled_from(EXPRESSIONS), instants, st.integers(0, 72 * 60))
def test_between_equals_repeated_next_after(fields: str, start: dt.datetime, minutes: int) -> None:
    made = schedule(fields)
    end = start + minutes * MINUTE
    expected: list[dt.datetime] = []
    fire = made.next_after(start - MOMENT)
    while fire is not None and fire < end and len(expected) < 100:
        expected.append(fire)
        fire = made.next_after(fire)
    assert list(islice(made.between(start, end), 100)) == expected


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.sampled_from(EXPRESSIONS), instants)
def test_one_missed_occurrence_is_within_two_periods(fields: str, instant: dt.datetime) -> None:
    made = schedule(fields)
    opened = made.previous_at_or_before(instant)
    earlier = made.previous_before(opened) if opened else None
    if earlier is not None:
        assert instant - earlier <= 2 * made.period(instant)


def test_importing_the_module_does_not_import_the_library() -> None:
    code = "import sys, nightshift.declaration.schedule; sys.exit('aws_croniter' in sys.modules)"
    outcome = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=False)
    assert outcome.returncode == 0
