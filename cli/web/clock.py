"""Instants as the viewer reads them: in the zone of their browser, with the distance from now."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from dateutil.tz import tzlocal
from markupsafe import Markup

from cli.times import parse, relative

COOKIE = "zone"
"""The cookie in which the page's script tells the browser's zone."""

MOST_TIMES = 3
"""A schedule with more times of day than this is not told by them."""


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


@dataclass(frozen=True)
class Clock:
    """Now, and the zone in which it is told."""

    now: dt.datetime
    zone: dt.tzinfo
    name: str

    @classmethod
    def of(cls, now: dt.datetime, zone: str | None) -> "Clock":
        """The viewer's clock. A zone that nobody knows, or none, is that of this machine."""
        if zone in _zones():
            return cls(now, ZoneInfo(str(zone)), str(zone))
        here = tzlocal()
        return cls(now, here, now.astimezone(here).tzname() or "local time")

    @property
    def offset(self) -> str:
        """`UTC+1`, `UTC+5:30`, `UTC`."""
        minutes = round((self.now.astimezone(self.zone).utcoffset() or dt.timedelta()).total_seconds() / 60)
        hours, rest = divmod(abs(minutes), 60)
        return "UTC" if not minutes else f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02}" if rest else "")

    def local(self, text: str) -> dt.datetime:
        return parse(text).astimezone(self.zone)

    def clock_time(self, instant: dt.datetime) -> str:
        return f"{instant.astimezone(self.zone):%H:%M}"

    def day_and_time(self, instant: dt.datetime) -> str:
        """`02:00` of today, `Tue 02:00` of the days around, else with the date."""
        there, here = instant.astimezone(self.zone), self.now.astimezone(self.zone)
        days = (there.date() - here.date()).days
        if not days:
            return f"today {there:%H:%M}"
        if abs(days) <= 6:
            return f"{there:%a} {there:%H:%M}"
        return f"{there.day} {there:%b} {there:%H:%M}" if there.year == here.year else f"{there:%Y-%m-%d %H:%M}"

    def words(self, text: str) -> str:
        """An instant of an answer within a sentence."""
        return self.day_and_time(parse(text))

    def time(self, text: str | None, *, ago: bool = True) -> Markup:
        """An instant of an answer as an element, which shows UTC where the mouse rests; nothing for None."""
        if text is None:
            return Markup("")
        instant = parse(text)
        shown = Markup('<time datetime="{}" title="{:%Y-%m-%d %H:%M:%S} UTC">{}</time>').format(
            text, instant, self.day_and_time(instant)
        )
        return shown + (Markup('<span class="dim">, {}</span>').format(relative(instant, self.now)) if ago else "")

    def distance(self, text: str) -> Markup:
        """How far an instant is from now, as an element that shows the viewer's time where the mouse rests."""
        instant = parse(text)
        shape = Markup('<time datetime="{}" title="{}, {:%Y-%m-%d %H:%M:%S} UTC">{}</time>')
        return shape.format(text, self.day_and_time(instant), instant, relative(instant, self.now))

    def times_of_day(self, occurrences: Iterable[dt.datetime]) -> str | None:
        """The times of day, in the viewer's zone, of a schedule that has few: `03:00 and 15:00`."""
        times = {self.clock_time(each) for each in occurrences}
        return " and ".join(sorted(times)) if 0 < len(times) <= MOST_TIMES else None
