"""Schedules in EventBridge's syntax: `cron(minute hour day-of-month month day-of-week year)`, in UTC or a time zone.

The fields are described in "Cron expressions reference" in the EventBridge user guide. aws-croniter reads them and
finds the next fire time. Only this module uses that library. It adds what the library lacks: errors with a remedy,
steps in years, gaps of many years between two fire times, and the search backwards.

Importing this module costs little: the library is imported when the first schedule is read.
"""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aws_croniter import AwsCroniter

    from nightshift.declaration.clocks import Clock

FIRST_YEAR, LAST_YEAR = 1970, 2199
"""The years that EventBridge knows."""

CALENDAR_START = dt.datetime(FIRST_YEAR, 1, 1, tzinfo=dt.UTC)
CALENDAR_END = dt.datetime(LAST_YEAR + 1, 1, 1, tzinfo=dt.UTC)
"""The instant after the last one at which a rule can fire."""

NOT_OVER_BY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
"""A schedule must fire after this. The date is fixed, because a schedule that loads today must still load next year."""

UTC = "UTC"
"""The name of the zone that a schedule is in unless it says another."""

_MINUTE = dt.timedelta(minutes=1)
_MOMENT = dt.timedelta.resolution

_CRON = re.compile(r"cron\((?P<fields>[^()]*)\)")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_DAY = f"(?:{'|'.join(_WEEKDAYS)})"
_DAY_OF_WEEK = re.compile(rf"\*|L|{_DAY}L|{_DAY}#[1-5]|{_DAY}(-{_DAY})?(,{_DAY}(-{_DAY})?)*")
_WEEKDAY_DIGIT = re.compile(r"(?<!#)(?<!\w)(?<!L-)[0-7](?!\d)")
_YEARS = re.compile(r"(?:\*|(?P<first>\d{4})(?:-(?P<last>\d{4}))?)(?:/(?P<step>\d+))?")

_WEEKDAY_REMEDY = "write names SUN to SAT with , - * or one of L, FRIL (last Friday), MON#2 (second Monday)"
_FIELDS = (
    ("minute", "{} * * * ? *", "write 0 to 59 with , - * /"),
    ("hour", "* {} * * ? *", "write 0 to 23 with , - * /"),
    ("day-of-month", "* * {} * ? *", "write 1 to 31 with , - * / or one of L, L-3, 15W"),
    ("month", "* * * {} ? *", "write JAN to DEC or 1 to 12 with , - * /"),
    ("day-of-week", "* * ? * {} *", _WEEKDAY_REMEDY),
)
"""Each field's name, an expression that fails only if this field is wrong, and what the field may contain."""


class ScheduleError(ValueError):
    """A schedule that makes no sense, or an instant without a time zone. The message is one line with the remedy."""


@dataclass(frozen=True)
class Schedule:
    """When a job is due. Use `parse` to make one. Two are equal if their expressions and time zones are.

    Arguments may have any time zone; results are in UTC, on the whole minute. A naive datetime raises ScheduleError.
    """

    expression: str
    """As AWS accepts it, in capitals and with single spaces: `cron(0 3 ? * MON *)`."""

    timezone: str | None = None
    """The time zone whose clocks the expression means, see `nightshift.declaration.clocks`. None: UTC."""

    @classmethod
    def parse(cls, text: str, timezone: str | None = None, *, fires_after: dt.datetime = NOT_OVER_BY) -> "Schedule":
        """Read and check an expression, and the name of its time zone. `UTC` is the same as none.

        `fires_after` is the instant after which the schedule must fire at least once. A deployment passes the present
        time.

        Raises:
            ScheduleError: EventBridge would not accept the expression, it does not mean what it seems to mean, it
                never fires, or there is no such time zone.
        """
        try:
            schedule = cls(f"cron({' '.join(_fields(text))})", timezone if timezone != UTC else None)
            _compiled(schedule.expression)
            if schedule.timezone is not None:
                _check_zone(schedule.timezone)
        except ScheduleError as error:
            raise ScheduleError(f"schedule {text!r}: {error}") from None
        if schedule.next_after(fires_after) is None:
            never = "never fires" if schedule.next_after(CALENDAR_START - _MOMENT) is None else "is over"
            raise ScheduleError(f"schedule {text!r} {never}: name a day that exists and years to come (or * for all)")
        return schedule

    def __str__(self) -> str:
        return self.expression if self.timezone is None else f"{self.expression} in {self.timezone}"

    def next_after(self, instant: dt.datetime) -> dt.datetime | None:
        """The first fire time strictly after `instant`, or None when the schedule is over."""
        if self.timezone is not None:
            return _clock(self.expression, self.timezone).next_after(_on_calendar(instant))
        cron = _compiled(self.expression)
        # Whole minutes only: the library rounds to milliseconds and would lose a fire time less than half of one ahead.
        start = _on_calendar(instant).replace(second=0, microsecond=0) + _MINUTE
        # It gives up after ten steps, of a month or a year each, so that sparse days (29 February, a fifth Monday)
        # may need a fresh start. From a 1 January it always sees that year to its end.
        while start.year <= cron.years[-1]:
            fire: dt.datetime | None = cron.occurrence(start).next(inclusive=True)
            if fire is not None:
                return fire
            start = dt.datetime(start.year + 1, 1, 1, tzinfo=dt.UTC)
        return None

    def previous_at_or_before(self, instant: dt.datetime) -> dt.datetime | None:
        """The last fire time that is not after `instant`, or None when there is none.

        The search goes forwards, because the library misses fire times when it goes backwards. It starts twice as far
        back until something fires, and then halves the rest until nothing fires.
        """
        end = _on_calendar(instant)
        quiet, reach = end, _MINUTE  # nothing fires after `quiet` and up to `end`
        while (fire := self._first_within(end - reach, end)) is None:
            if end - reach < CALENDAR_START:
                return None
            quiet, reach = end - reach, reach * 2
        while (following := self._first_within(fire, quiet)) is not None:
            middle = following + (quiet - following) / 2
            later = self._first_within(middle, quiet)
            if later is None:
                fire, quiet = following, middle
            else:
                fire = later
        return fire

    def previous_before(self, instant: dt.datetime) -> dt.datetime | None:
        """The last fire time strictly before `instant`, or None when there is none."""
        return self.previous_at_or_before(_on_calendar(instant) - _MOMENT)

    def fires_at(self, instant: dt.datetime) -> bool:
        """Whether `instant` is a fire time."""
        return self.next_after(_on_calendar(instant) - _MOMENT) == instant

    def between(self, start: dt.datetime, end: dt.datetime) -> Iterator[dt.datetime]:
        """Every fire time from `start` (included) to `end` (excluded), in order."""
        return self._fires(after=_on_calendar(start) - _MOMENT, up_to=_on_calendar(end) - _MOMENT)

    def period(self, at: dt.datetime) -> dt.timedelta:
        """The longest wait from one fire time to the next that is usual around `at`.

        It is the longer of two gaps: the one that `at` lies in (from the fire time at or before it to the next) and
        the one before that. Hence two periods without a success always mean that at least two occurrences in a row
        did not succeed, however uneven the schedule: Monday to Friday has a period of three days from Friday's
        occurrence until Tuesday's and of one day otherwise; `0/25` (:00, :25, :50) has 25 minutes throughout.

        Before the first and after the last fire time the gap reaches to the end of the AWS calendar (1970, 2199):
        a schedule that has not begun, or is over, is not late.
        """
        opened = self.previous_at_or_before(at) or CALENDAR_START
        earlier = self.previous_before(opened) or CALENDAR_START
        closes = self.next_after(at) or CALENDAR_END
        return max(closes - opened, opened - earlier)

    def _first_within(self, after: dt.datetime, up_to: dt.datetime) -> dt.datetime | None:
        fire = self.next_after(after)
        return fire if fire is not None and fire <= up_to else None

    def _fires(self, after: dt.datetime, up_to: dt.datetime) -> Iterator[dt.datetime]:
        while (fire := self._first_within(after, up_to)) is not None:
            yield fire
            after = fire


def _on_calendar(instant: dt.datetime) -> dt.datetime:
    """The instant in UTC. An instant outside the AWS calendar becomes the nearest end of it."""
    if instant.utcoffset() is None:
        raise ScheduleError(f"{instant.isoformat()} has no time zone: pass an aware datetime, such as now(UTC)")
    return min(max(instant, CALENDAR_START - _MINUTE), CALENDAR_END).astimezone(dt.UTC)


def _check_zone(name: str) -> None:
    from nightshift.zones import UnknownZoneError, zone

    try:
        zone(name)
    except UnknownZoneError as error:
        raise ScheduleError(str(error)) from None


@cache
def _clock(expression: str, timezone: str) -> "Clock":
    from nightshift.declaration.clocks import Clock
    from nightshift.zones import zone

    return Clock(Schedule(expression), zone(timezone))


@cache
def _compiled(expression: str) -> "AwsCroniter":
    """A checked expression in the form of the library.

    Raises:
        ScheduleError: it says what is wrong, with the remedy.
    """
    from aws_croniter import AwsCroniter

    minute, hour, day_of_month, month, day_of_week, year = _fields(expression)
    if (day_of_month == "?") == (day_of_week == "?"):
        both = "both day fields are ?" if day_of_week == "?" else "day-of-month and day-of-week are both set"
        raise ScheduleError(f"{both}: put ? in exactly one of them, the one that does not matter")
    if day_of_month == "LW":
        raise ScheduleError("LW (last working day) is not in AWS's syntax: write L (last day) or FRIL in day-of-week")
    if day_of_week != "?":
        _check_day_of_week(day_of_week)
        day_of_week = "SAT" if day_of_week == "L" else day_of_week  # the library takes a lone L for no day at all
    years = sorted({number for part in year.split(",") for number in _years(part)})
    try:
        cron = AwsCroniter(f"{minute} {hour} {day_of_month} {month} {day_of_week} *")
    except ValueError:  # its own errors, and int() on what its patterns let through
        raise ScheduleError(_fault(minute, hour, day_of_month, month, day_of_week)) from None
    cron.years = years  # it refuses the steps that AWS documents: 2026/5, */10
    return cron


def _fields(text: str) -> list[str]:
    if text.strip().startswith("rate("):
        raise ScheduleError(
            "rate() counts from the creation of the rule, so it is not aligned to the clock: "
            "write a cron, such as cron(0/15 * * * ? *) for every 15 minutes"
        )
    match = _CRON.fullmatch(text.strip())
    if match is None:
        raise ScheduleError("not a cron expression: write cron(...) around six fields, such as cron(0 2 * * ? *)")
    fields = match["fields"].upper().split()
    if len(fields) != 6:
        origin = {5: " (as on Unix, without a year)", 7: " (as in Quartz, with seconds)"}.get(len(fields), "")
        raise ScheduleError(
            f"not six fields but {len(fields)}{origin}: "
            "write minute hour day-of-month month day-of-week year, such as cron(0 2 * * ? *)"
        )
    return fields


def _check_day_of_week(field: str) -> None:
    if _DAY_OF_WEEK.fullmatch(field):
        return
    for_aws, for_unix = _with_names(field, sunday=1), _with_names(field, sunday=0)
    if not _DAY_OF_WEEK.fullmatch(for_unix):
        raise ScheduleError(f"day-of-week {field!r} is not valid: {_WEEKDAY_REMEDY}")
    meant = f"{for_unix} if Sunday is 0 as on Unix"
    if "0" not in field:
        meant = f"{for_aws} if Sunday is 1 as on AWS, {meant}"
    raise ScheduleError(f"day-of-week {field!r} has digits, which AWS and Unix count differently: write {meant}")


def _with_names(field: str, *, sunday: int) -> str:
    return _WEEKDAY_DIGIT.sub(lambda digit: _WEEKDAYS[(int(digit[0]) - sunday) % 7], field)


def _years(part: str) -> range:
    """The years of one part of the year field: `*`, `2026` or `2026-2030`, with or without a step such as `/5`."""
    if match := _YEARS.fullmatch(part):
        first = int(match["first"] or FIRST_YEAR)
        open_ended = match["first"] is None or (match["step"] is not None and match["last"] is None)
        last = int(match["last"] or (LAST_YEAR if open_ended else first))
        step = int(match["step"] or 1)
        if FIRST_YEAR <= first <= last <= LAST_YEAR and step > 0:
            return range(first, last + 1, step)
    raise ScheduleError(f"year {part!r} is not valid: write {FIRST_YEAR} to {LAST_YEAR}, ascending, with , - * /")


def _fault(*fields: str) -> str:
    """Which of the first five fields the library refuses, and what to write in it."""
    from aws_croniter import AwsCroniter

    for value, (name, expression, remedy) in zip(fields, _FIELDS, strict=True):
        if value == "?" and name.startswith("day"):
            continue
        try:
            AwsCroniter(expression.format(value))
        except ValueError:
            return f"{name} {value!r} is not valid: {remedy}"
    return "the fields do not go together: " + "; ".join(f"{name}: {remedy}" for name, _, remedy in _FIELDS)
