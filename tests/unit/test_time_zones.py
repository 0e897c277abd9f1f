"""Schedules on the clocks of time zones, against a walk over every minute of the nights on which clocks change."""

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from nightshift.declaration import Schedule, ScheduleError, not_covered, rule_expression
from nightshift.zones import zone
from tests.unit.test_schedule import fires_on, numbers

MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)

CHANGES = {
    "Europe/Berlin": ("2027-03-28", "2027-10-31"),
    "America/New_York": ("2027-03-14", "2027-11-07"),
    "Australia/Lord_Howe": ("2027-04-04", "2027-10-03"),  # half an hour
    "Pacific/Chatham": ("2027-04-04", "2027-09-26"),  # 12:45 and 13:45
    "Asia/Kathmandu": ("1986-01-01", "2027-03-28"),  # 5:30, then 5:45 without any change
    "Asia/Kolkata": ("2027-03-28", "2027-10-31"),  # 5:30 without any change
    "Pacific/Apia": ("2011-12-30", "2012-04-01"),  # 30 December 2011 did not come
    "America/Santiago": ("2027-04-04", "2027-09-05"),  # at midnight
    "America/Asuncion": ("2023-03-26", "2023-10-01"),  # at midnight
    "Asia/Beirut": ("2027-03-28", "2027-10-31"),  # at midnight
    "Africa/Cairo": ("2027-04-30", "2027-10-29"),  # at midnight
    "America/Havana": ("2024-03-10", "2024-11-03"),  # at midnight, and back to it
    "Africa/Casablanca": ("2024-03-10", "2024-04-14"),  # back in Ramadan
    "Europe/Dublin": ("2027-03-28", "2027-10-31"),  # winter is what is saved
    "Australia/Sydney": ("2027-04-04", "2027-10-03"),
    "Asia/Tehran": ("2022-03-22", "2022-09-22"),  # the last time
    "America/Toronto": ("1999-04-04", "1999-10-31"),
    "America/St_Johns": ("2006-04-02", "2006-10-29"),  # one minute past midnight: a date begins twice
    "Africa/Monrovia": ("1972-01-07", "1971-01-01"),  # an offset with seconds
}
"""For each zone the local dates of two changes."""

UNCHANGED = ("Asia/Kathmandu", "Asia/Kolkata", "Africa/Monrovia")
"""Zones whose clocks are not changed on both of these dates."""

EXPRESSIONS = (
    "0 2 * * ? *",
    "30 2 * * ? *",
    "15 0 * * ? *",
    "0 0 * * ? *",
    "30 1,23 * * ? *",
    "0/20 0-3 * * ? *",
    "45 22-1/2 * * ? *",
    "0 3 ? * SUN *",
    "0 1 L * ? *",
    "0 * * * ? *",
    "7/20 * * * ? *",
    "0 */2 * * ? *",
    "30 1/6 * * ? *",
    "15 0/5 ? * SAT,SUN *",
    "0 * ? * MON *",
)


@dataclass(frozen=True)
class Minute:
    """One minute of the walk."""

    at: dt.datetime
    passed: list[dt.datetime]
    """What the clock shows for the first time, and what it has left out just now."""
    date: dt.date
    """Of the day that has begun last."""
    elapsed: int
    """Minutes since that day began."""


def minutes_of(clock: ZoneInfo, start: dt.datetime, end: dt.datetime) -> Iterator[Minute]:
    """Every minute in [start, end), by looking at the clock. Days are right from the second one on."""
    latest = start.astimezone(clock).replace(tzinfo=None, second=0) - MINUTE
    date, began, now = latest.date(), start, start
    while now < end:
        shows = now.astimezone(clock).replace(tzinfo=None, second=0)
        passed = [latest + n * MINUTE for n in range(1, (shows - latest) // MINUTE + 1)]
        latest = max(latest, shows)
        if shows.date() > date:
            date, began = shows.date(), now
        yield Minute(now, passed, date, (now - began) // MINUTE)
        now += MINUTE


def walked(expression: str, night: list[Minute]) -> list[dt.datetime]:
    """The fire times, as the words of docs/schedules.md have them."""
    minute_field, hour_field = expression.split()[:2]
    minutes, hours = numbers(minute_field, 0, 59), numbers(hour_field, 0, 23)
    if "-" in hour_field or not ("*" in hour_field or "/" in hour_field):
        return [
            each.at
            for each in night
            if any(
                shown.minute in minutes and shown.hour in hours and fires_on(expression, shown.date())
                for shown in each.passed
            )
        ]
    first, _, step = hour_field.replace("*", "0").partition("/")
    return [
        each.at
        for each in night
        if each.elapsed % 60 in minutes
        and ((hour := each.elapsed // 60) in hours or (hour > 23 and (hour - int(first)) % int(step or 1) == 0))
        and fires_on(expression, each.date)
    ]


def changes_on(name: str, date: dt.date) -> bool:
    """Whether the zone's offset changes from the evening before a date to the morning after it."""
    evening, morning = dt.datetime.combine(date, dt.time(20)) - DAY, dt.datetime.combine(date, dt.time(4)) + DAY
    return len({at.replace(tzinfo=zone(name)).utcoffset() for at in (evening, morning)}) == 2


@pytest.mark.parametrize("name", CHANGES)
def test_fire_times_are_those_of_a_walk_over_every_minute_of_both_nights(name: str) -> None:
    for change in CHANGES[name]:
        date = dt.date.fromisoformat(change)
        assert changes_on(name, date) or name in UNCHANGED
        noon = dt.datetime.fromisoformat(f"{change}T12:00:00Z")
        since, end = noon - 1.5 * DAY, noon + DAY
        night = list(minutes_of(zone(name), since - 1.5 * DAY, end))
        for fields in EXPRESSIONS:
            expected = [at for at in walked(fields, night) if at >= since]
            schedule = Schedule.parse(f"cron({fields})", name)

            assert list(schedule.between(since, end)) == expected, fields
            for at in expected[len(expected) // 2 :][:2]:
                assert schedule.previous_at_or_before(at + dt.timedelta(seconds=59)) == at
                assert schedule.fires_at(at)
                assert not schedule.fires_at(at + dt.timedelta(seconds=30))


def night(timezone: str, fields: str, day: str) -> str:
    """The fire times from that day's noon in UTC to the next one's: on the zone's clock, and in UTC."""
    noon = dt.datetime.fromisoformat(f"{day}T12:00:00Z")
    found = Schedule.parse(f"cron({fields})", timezone).between(noon, noon + DAY)
    return " ".join(f"{at.astimezone(zone(timezone)):%H:%M}={at:%H:%M}Z" for at in found)


@pytest.mark.parametrize(
    ("timezone", "fields", "day", "fires"),
    [
        ("Europe/Berlin", "30 2 * * ? *", "2027-03-26", "02:30=01:30Z"),
        ("Europe/Berlin", "30 2 * * ? *", "2027-03-27", "03:00=01:00Z"),
        ("Europe/Berlin", "0/30 2,3 * * ? *", "2027-03-27", "03:00=01:00Z 03:30=01:30Z"),
        ("Europe/Berlin", "30 2 * * ? *", "2027-10-30", "02:30=00:30Z"),
        ("Europe/Berlin", "0 1-4 * * ? *", "2027-10-30", "01:00=23:00Z 02:00=00:00Z 03:00=02:00Z 04:00=03:00Z"),
        ("Europe/Berlin", "0 0/8 * * ? *", "2027-03-27", "16:00=15:00Z 00:00=23:00Z 09:00=07:00Z"),
        ("Europe/Berlin", "0 0/8 * * ? *", "2027-10-30", "16:00=14:00Z 00:00=22:00Z 07:00=06:00Z"),
        ("America/Havana", "15 0 * * ? *", "2024-03-09", "01:00=05:00Z"),
        ("America/Havana", "15 0 * * ? *", "2024-11-02", "00:15=04:15Z"),
        ("Australia/Lord_Howe", "15 2 * * ? *", "2027-10-02", "02:30=15:30Z"),
        ("Pacific/Apia", "0 2 * * ? *", "2011-12-29", "02:00=12:00Z 00:00=10:00Z"),
        ("Pacific/Apia", "0 2 * * ? *", "2011-12-30", "02:00=12:00Z"),
    ],
)  # fmt: skip
def test_nights_that_one_can_check_by_hand(timezone: str, fields: str, day: str, fires: str) -> None:
    assert night(timezone, fields, day) == fires


def test_every_hour_that_elapses_has_its_run_and_no_other() -> None:
    for day in ("2027-03-27", "2027-10-30"):
        noon = dt.datetime.fromisoformat(f"{day}T12:00:00Z")
        fires = list(Schedule.parse("cron(0 * * * ? *)", "Europe/Berlin").between(noon, noon + DAY))

        assert fires == [noon + n * HOUR for n in range(24)]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("Berlin", "Europe/Berlin"), ("europe/berlin", "Europe/Berlin"), ("CEST", ""), ("../../etc/passwd", ""), ("", "")],
)
def test_a_zone_that_is_none_is_refused_with_the_one_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(ScheduleError, match=rf"no time zone is named.*{meant}"):
        Schedule.parse("cron(0 2 * * ? *)", name)


def test_utc_is_the_same_as_no_zone() -> None:
    assert Schedule.parse("cron(0 2 * * ? *)", "UTC") == Schedule.parse("cron(0 2 * * ? *)")


def test_zones_are_those_of_the_pinned_package_and_not_of_the_machine(tmp_path: Path) -> None:
    """The machine's files are wrong here: every zone is UTC."""
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe/Berlin").write_bytes(resources.files("tzdata").joinpath("zoneinfo/UTC").read_bytes())
    code = (
        "import datetime as dt, zoneinfo; from nightshift.declaration import Schedule;"
        "now = dt.datetime(2027, 1, 1, tzinfo=dt.UTC);"
        "print(now.astimezone(zoneinfo.ZoneInfo('Europe/Berlin')).hour,"
        " Schedule.parse('cron(0 2 * * ? *)', 'Europe/Berlin').next_after(now).hour)"
    )
    environment = {"PYTHONTZPATH": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["0", "1"]


@pytest.mark.parametrize(
    ("timezone", "fields", "rule"),
    [
        ("Europe/Berlin", "0 2 * * ? *", "0 0,1 * * ? *"),
        ("Europe/Berlin", "30 2 * * ? *", "0,30 0,1 * * ? *"),  # 02:30 that is skipped comes at 01:00 in UTC
        ("Europe/Berlin", "0 1 1 * ? *", "0 0,23 1,28-31 * ? *"),
        ("Europe/Berlin", "0 1 1 JAN ? *", "0 0,23 1,31 1,12 ? *"),
        ("Europe/Berlin", "0 1 1 1 ? 2028", "0 0,23 1,31 1,12 ? 2027,2028"),
        ("Europe/Berlin", "0 1 ? * MON#2 *", "0 0,23 ? * MON,SUN *"),
        ("Europe/Berlin", "0 12 ? * FRIL *", "0 10,11 ? * FRIL *"),
        ("Europe/Berlin", "0 */2 * * ? *", "0 * * * ? *"),
        ("Asia/Kathmandu", "0 2 * * ? *", "15 20 * * ? *"),
        ("Asia/Kathmandu", "0 2 L * ? *", "15 20 27-30 * ? *"),
        ("Asia/Kolkata", "0 9-17 ? * MON-FRI *", "30 3-11 ? * MON-FRI *"),
        ("Pacific/Auckland", "0 20 L 12 ? *", "0 7,8 L 12 ? *"),
        ("America/New_York", "0 22 L 12 ? *", "0 2,3 1 1 ? *"),
    ],
)
def test_the_rule_fires_at_every_hour_that_the_zone_can_mean(timezone: str, fields: str, rule: str) -> None:
    assert rule_expression(Schedule.parse(f"cron({fields})", timezone)) == f"cron({rule})"


@pytest.mark.parametrize("timezone", CHANGES)
def test_no_occurrence_is_without_its_rule(timezone: str) -> None:
    for fields in (
        "30 2 * * ? *",
        "0 0 L * ? *",
        "30 1,23 ? * MON#2 *",
        "0/20 0-3 1 * ? *",
        "15 */5 ? 1-12 SUN *",
        "0 0 1 1 ? *",
    ):
        schedule = Schedule.parse(f"cron({fields})", timezone)
        rule = rule_expression(schedule)
        fires = Schedule.parse(rule)

        assert len(rule) <= 256
        for start in (*(change for change in CHANGES[timezone] if change > "2026"), "2027-12-31", "2028-02-28"):
            since = dt.datetime.fromisoformat(f"{start}T00:00:00Z") - DAY
            due = set(schedule.between(since, since + 3 * DAY))
            assert due <= set(fires.between(since, since + 3 * DAY)), (fields, rule)


def test_a_rule_that_no_longer_covers_its_zone_is_told_with_the_first_occurrence_that_it_would_miss() -> None:
    now = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
    berlin = Schedule.parse("cron(0 2 * * ? *)", "Europe/Berlin")

    assert not_covered(berlin, rule_expression(berlin), after=now) is None
    assert not_covered(berlin, "cron(0 * * * ? *)", after=now) is None
    assert not_covered(berlin, "cron(0 1 * * ? *)", after=now) == dt.datetime(2027, 3, 29, tzinfo=dt.UTC)
    assert not_covered(berlin, "cron(0 0,1 ? * MON-FRI *)", after=now) == dt.datetime(2027, 1, 2, 1, tzinfo=dt.UTC)
    assert not_covered(Schedule.parse("cron(0 2 * * ? *)"), "cron(0 2 * * ? *)", after=now) is None
    assert not_covered(Schedule.parse("cron(0 2 * * ? *)"), "cron(0 3 * * ? *)", after=now) == now + 2 * HOUR
