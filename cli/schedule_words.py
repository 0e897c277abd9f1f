"""Schedules in words, for the command line and the documentation: `cron(0 2 * * ? *)` is "every day at 02:00 UTC"."""

import re

from cron_descriptor import ExpressionDescriptor, Options

from nightshift.declaration import Schedule

_OPTIONS = Options(locale_code="en_GB", use_24hour_time_format=True, day_of_week_start_index_zero=False)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")

_CLOCK_TIMES = re.compile(r"At (?P<times>\d\d:\d\d(?:(?:,| and|, and) \d\d:\d\d)*)(?P<days>.*)")
_MINUTES = re.compile(r"At (?P<minutes>\d+(?:(?:,| and|, and) \d+)*) minutes past the hour(?!, every)(?P<rest>.*)")
_WEEKDAYS = re.compile(r", only on (?P<names>[^,]*)")
_DAY_OF_MONTH = re.compile(r", on day (?P<number>\d+) of the month(?P<months>.*)")
_EVERY_FEW_HOURS = re.compile(r"Every \d+ hours")
_SPAN_OF_HOURS = re.compile(r"between \d\d:\d\d and \d\d:\d\d")


def in_words(schedule: Schedule) -> str:
    """One phrase without a full stop, with its zone: "every Sunday at 05:00 UTC", "every 15 minutes, Europe/Berlin"."""
    minute, hour, day_of_month, month, day_of_week, year = schedule.expression[len("cron(") : -1].split()
    fields = [
        "0",  # cron-descriptor reads seven fields as in Quartz: seconds first, year last
        _spelled_out(minute, 0, 59, keep_even=True),
        _spelled_out(hour, 0, 23, keep_even=True),
        _spelled_out(day_of_month, 1, 31),
        _spelled_out(_numbered(month), 1, 12),
        "SAT" if day_of_week == "L" else day_of_week,
        year if "/" not in year else "*",
    ]
    text = _in_our_order(ExpressionDescriptor(" ".join(fields), _OPTIONS).get_description())
    if "/" in year:
        text += f", only in years {year}"
    text = text if "UTC" in text else f"{text}, UTC"
    return text.replace("UTC", schedule.timezone or "UTC")


def _in_our_order(text: str) -> str:
    """Put days before times, as in speech; the library puts the time first."""
    if match := _CLOCK_TIMES.fullmatch(text):
        times, days = f"at {match['times']} UTC", match["days"]
        if not days:
            return f"every day {times}"
        if on := _WEEKDAYS.fullmatch(days):
            return f"every {on['names']} {times}"
        if (on := _DAY_OF_MONTH.fullmatch(days)) and not on["months"]:
            return f"on the {_ordinal(int(on['number']))} of every month {times}"
        return times + days
    if match := _MINUTES.fullmatch(text):
        minutes = re.sub(r"\d+", lambda number: f":{int(number[0]):02}", match["minutes"]).replace(", and", " and")
        text = f"every hour at {minutes}{match['rest']}"
    if _EVERY_FEW_HOURS.fullmatch(text):
        text += " from 00:00 UTC"
    return _SPAN_OF_HOURS.sub(r"\g<0> UTC", text[0].lower() + text[1:])


def _spelled_out(field: str, low: int, high: int, *, keep_even: bool = False) -> str:
    """The field with its steps as lists of numbers: `0/25` is :00, :25 and :50, which "every 25 minutes" would hide.

    `keep_even` keeps a step that divides the field evenly, for which "every 15 minutes" is correct.
    """
    if "/" not in field:
        return field
    numbers: set[int] = set()
    size = high - low + 1
    for part in field.split(","):
        span, _, step = part.partition("/")
        start, _, end = span.replace("*", f"{low}-{high}").partition("-")
        first, last = int(start), int(end or (high if step else start))
        even = part == field and last == high and size % int(step) == 0 and first - low < int(step)
        if even and keep_even:
            return field
        last += size if last < first else 0
        numbers |= {low + (number - low) % size for number in range(first, last + 1, int(step or 1))}
    return ",".join(str(number) for number in sorted(numbers))


def _numbered(months: str) -> str:
    return re.sub("|".join(_MONTHS), lambda name: str(_MONTHS.index(name[0]) + 1), months)


def _ordinal(number: int) -> str:
    ending = "th" if 10 < number < 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
