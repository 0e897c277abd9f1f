"""From a schedule in a time zone to the one EventBridge rule that wakes its function, which knows UTC only.

The rule fires at every hour of UTC that the schedule can mean in the years ahead, so it fires more often than the job
is due, and never less. The function drops what is not due. Laws that change what a zone means come with a new version
of the package tzdata: `not_covered` says from when on a rule that was deployed before is not enough.
"""

import datetime as dt
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import groupby

from nightshift.declaration.clocks import DAY, HOUR, Clock
from nightshift.declaration.schedule import FIRST_YEAR, LAST_YEAR, NOT_OVER_BY, UTC, Schedule
from nightshift.zones import zone

AHEAD = dt.datetime(2050, 1, 1, tzinfo=dt.UTC)
"""Up to here a rule covers what the zone is known to mean."""

CHECKED = dt.timedelta(days=5 * 366)
"""How far ahead of the present `not_covered` looks."""

ALL_DATES = (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2054, 1, 1, tzinfo=dt.UTC))
"""28 years: every date falls on every weekday."""

ALL_MONTHS = (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2030, 1, 1, tzinfo=dt.UTC))
"""Four years: months of every length begin on every weekday."""

_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_MOST_TEXT = 100


@dataclass(frozen=True)
class Moment:
    """A time of day in UTC at which a schedule can fire."""

    days: int
    """From the date on the zone's clock to the one in UTC: -1, 0 or 1."""
    hour: int
    minute: int

    def on(self, day: dt.datetime) -> dt.datetime:
        return day + dt.timedelta(days=self.days, hours=self.hour, minutes=self.minute)


@dataclass(frozen=True)
class Moments:
    """All of one day."""

    all: tuple[Moment, ...]

    @cached_property
    def times(self) -> set[tuple[int, int]]:
        return {(moment.hour, moment.minute) for moment in self.all}

    @cached_property
    def days(self) -> set[int]:
        return {moment.days for moment in self.all}


@dataclass(frozen=True)
class DayKind:
    """Days on a zone's clock that begin alike, last alike, and have their change, if any, at the same time."""

    begins: dt.timedelta
    lasts: dt.timedelta
    changes: dt.timedelta | None


def rule_expression(schedule: Schedule) -> str:
    """The expression of the rule, in UTC. Of a schedule in UTC its own.

    EventBridge takes one set of hours for all dates, and only one of day-of-month and day-of-week. Where the date in
    UTC can be another than the zone's, days are therefore widened to all that it can be: `MON#2` to Sundays and
    Mondays.
    """
    if schedule.timezone is None:
        return schedule.expression
    kinds = _kinds(schedule.timezone).items()
    moments = {moment for kind, day in kinds for moment in _moments(schedule, kind, day).all}
    minutes = _listed({moment.minute for moment in moments}, range(60))
    hours = _listed({moment.hour for moment in moments}, range(24))
    days = _days(schedule, {moment.days for moment in moments})
    return Schedule.parse(f"cron({minutes} {hours} {days})").expression


def not_covered(schedule: Schedule, rule: str, *, after: dt.datetime) -> dt.datetime | None:
    """The first occurrence in the years after an instant for which a deployed rule with this expression would not fire.

    None: the rule covers all of them.

    Raises:
        ScheduleError: the rule's expression cannot be read.
    """
    deployed = Schedule.parse(rule)
    if deployed.expression == rule_expression(schedule):
        return None
    minutes, hours, days = _parts(deployed)
    fired = set(_every_day(days).between(after - 2 * DAY, after + CHECKED + 2 * DAY))
    every_day = Schedule(f"cron({minutes} {hours} * * ? *)").between(ALL_DATES[0], ALL_DATES[0] + DAY)
    times = {(at.hour, at.minute) for at in every_day}
    clock = _clock(schedule)
    for day in _every_day(_parts(schedule)[2]).between(after - 2 * DAY, after + CHECKED):
        moments = _of_kind(schedule, clock, day)
        if moments.times <= times and all(day + by * DAY in fired for by in moments.days):
            continue
        missing = [
            at
            for moment in moments.all
            if (at := moment.on(day)) > after
            and ((moment.hour, moment.minute) not in times or day + moment.days * DAY not in fired)
        ]
        if missing:
            return min(missing)
    return None


def _clock(schedule: Schedule) -> Clock:
    return Clock(Schedule(schedule.expression), zone(schedule.timezone or UTC))


def _parts(schedule: Schedule) -> tuple[str, str, str]:
    """Minutes, hours, and the four fields of days."""
    minutes, hours, days = schedule.expression[len("cron(") : -1].split(" ", 2)
    return minutes, hours, days


def _every_day(days: str) -> Schedule:
    return Schedule(f"cron(0 0 {days})")


@cache
def _kinds(timezone: str) -> dict[DayKind, dt.datetime]:
    """Each kind of day that the zone has in the years ahead, with one such day."""
    clock = Clock(Schedule("cron(0 0 * * ? *)"), zone(timezone))
    found: dict[DayKind, dt.datetime] = {}
    day = NOT_OVER_BY
    while day < AHEAD:
        found.setdefault(_kind(clock, day), day)
        day += DAY
    return found


def _kind(clock: Clock, day: dt.datetime) -> DayKind:
    begin, end = clock.first(day), clock.first(day + DAY)
    # The change at the beginning of a day is its own: a time on the clock that it left out is made up for then.
    change = clock.change_between(begin - HOUR, end)
    return DayKind(begin - day, end - begin, None if change is None else change - begin)


def _of_kind(schedule: Schedule, clock: Clock, day: dt.datetime) -> Moments:
    """When the schedule fires on days of this one's kind, if it fires on such a date at all."""
    kind = _kind(clock, day)
    return _moments(schedule, kind, _kinds(schedule.timezone or UTC).get(kind, day))


@lru_cache(maxsize=1024)
def _moments(schedule: Schedule, kind: DayKind, day: dt.datetime) -> Moments:
    """The same, by one day of the kind."""
    minutes, hours, _ = _parts(schedule)
    clock = Clock(Schedule(f"cron({minutes} {hours} * * ? *)"), zone(schedule.timezone or UTC))
    return Moments(tuple(Moment((at.date() - day.date()).days, at.hour, at.minute) for at in clock.on_day(day)))


def _days(schedule: Schedule, shifts: Collection[int]) -> str:
    """The day fields of the rule: all dates in UTC that a date on the zone's clock can be."""
    days = _parts(schedule)[2]
    day_of_month, month, day_of_week, year = days.split()
    if set(shifts) <= {0}:
        return days
    if year != "*":
        years = {fire.year for fire in _every_day(f"1 1 ? {year}").between(*_CALENDAR)}
        widened = {number + by for number in years for by in (*shifts, 0) if FIRST_YEAR <= number + by <= LAST_YEAR}
        year = _listed(widened, range(FIRST_YEAR, LAST_YEAR + 1))
    if month == "*" and (day_of_month == "*" or day_of_week == "*"):
        return f"* * ? {year}"
    enough = ALL_MONTHS if month == "*" else ALL_DATES
    local = _every_day(f"{day_of_month} {month} {day_of_week} *").between(*enough)
    dates = {(day + by * DAY).date() for day in local for by in shifts}
    months = _listed({date.month for date in dates}, range(1, 13))
    if day_of_week == "?":
        return f"{_listed({date.day for date in dates}, range(1, 32))} {months} ? {year}"
    weekdays = {date.weekday() for date in dates}
    return f"? {months} {','.join(_WEEKDAYS[number] for number in sorted(weekdays))} {year}"


_CALENDAR = (dt.datetime(FIRST_YEAR, 1, 1, tzinfo=dt.UTC), dt.datetime(LAST_YEAR, 12, 31, tzinfo=dt.UTC))


def _listed(numbers: Collection[int], every: range) -> str:
    """A field that has these numbers: `*` for all, ranges where they are close, and one range where that is too long.

    EventBridge takes 256 characters for the whole expression.
    """
    if len(set(numbers)) == len(every):
        return "*"
    text = ",".join(_spans(sorted(set(numbers))))
    return text if len(text) <= _MOST_TEXT else f"{min(numbers)}-{max(numbers)}"


def _spans(numbers: list[int]) -> Iterator[str]:
    for _, members in groupby(enumerate(numbers), key=lambda place: place[1] - place[0]):
        span = [number for _, number in members]
        yield from (f"{span[0]}-{span[-1]}",) if len(span) > 2 else map(str, span)
