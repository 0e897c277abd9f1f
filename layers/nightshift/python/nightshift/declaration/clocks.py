"""When a schedule fires on the clocks of a time zone, on the nights too on which these are put forward or back.

Hours that are named mean the time on the clock. One that a change skips is made up for at the first moment after it;
one that comes twice counts once, the first time. Where the hour is `*` or an open step (`*/2`, `1/6`), the schedule
means a distance and not a time on the clock: on the day of a change it goes on in hours that have really elapsed since
that day began.
"""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from nightshift.declaration.schedule import Schedule

DAY, HOUR, MINUTE = dt.timedelta(days=1), dt.timedelta(hours=1), dt.timedelta(minutes=1)
_MOMENT = dt.timedelta.resolution

_OPEN_HOURS = re.compile(r"\*(?:/(?P<every>\d+))?|(?P<first>\d+)/(?P<step>\d+)")


@dataclass(frozen=True)
class Clock:
    """A zone's clock, and the schedule that stands on it. Instants are in UTC.

    A time on the clock ("wall") is written as if the clock showed UTC, so that the schedule itself, which knows UTC
    only, does the arithmetic.
    """

    wall: "Schedule"
    zone: ZoneInfo

    @cached_property
    def elapsing(self) -> tuple[int, int] | None:
        """Of a schedule that goes on in elapsed time: its first hour, and how many hours it steps. None otherwise."""
        match = _OPEN_HOURS.fullmatch(self.wall.expression.removeprefix("cron(").split()[1])
        return match and (int(match["first"] or 0), int(match["step"] or match["every"] or 1))

    def next_after(self, instant: dt.datetime) -> dt.datetime | None:
        """The first fire time strictly after `instant`."""
        return self._elapsed_after(instant) if self.elapsing else self._named_after(instant)

    def first(self, wall: dt.datetime) -> dt.datetime:
        """When the clock shows that time first; where it never does, the first moment after. On the whole minute."""
        before, after = (wall.replace(tzinfo=self.zone, fold=fold).astimezone(dt.UTC) for fold in (0, 1))
        if before > after:  # as far apart as the clock was put forward, with the change between them
            before = self._change(after, before)
        begun = before.replace(second=0, microsecond=0)
        return begun if begun == before else begun + MINUTE

    def shown(self, instant: dt.datetime) -> dt.datetime:
        """What the clock shows at an instant."""
        return instant.astimezone(self.zone).replace(tzinfo=dt.UTC, fold=0)

    def offset(self, instant: dt.datetime) -> dt.timedelta:
        return self.shown(instant) - instant

    def _change(self, before: dt.datetime, by: dt.datetime) -> dt.datetime:
        """The one instant after `before`, and not after `by`, from which on the offset is another."""
        old = self.offset(before)
        while by - before > _MOMENT:
            middle = before + (by - before) // 2
            before, by = (middle, by) if self.offset(middle) == old else (before, middle)
        return by

    def change_between(self, begin: dt.datetime, end: dt.datetime) -> dt.datetime | None:
        """When the clock is put forward or back from `begin` (excluded) to `end` (included): the one instant, or None.

        Two changes that undo each other within this time are not seen.
        """
        return None if self.offset(begin) == self.offset(end) else self._change(begin, end)

    def _named_after(self, instant: dt.datetime) -> dt.datetime | None:
        # What the clock had shown a minute ago came first by then, and later times on it come no earlier than that.
        fire = self.wall.next_after(self.shown(instant - MINUTE))
        while fire is not None:
            if (at := self.first(fire)) > instant:
                return at
            fire = self.wall.next_after(fire)
        return None

    def _elapsed_after(self, instant: dt.datetime) -> dt.datetime | None:
        day: dt.datetime | None = self.shown(instant).replace(hour=0, minute=0, second=0, microsecond=0)
        while day is not None and self.first(day) > instant:  # put back over midnight: the day before comes again
            day -= DAY
        while day is not None:
            if (fire := next(self.on_day(day, after=instant), None)) is not None:
                return fire
            later = self.wall.next_after(day + DAY - _MOMENT)
            day = later and later.replace(hour=0, minute=0)
        return None

    def on_day(self, day: dt.datetime, after: dt.datetime | None = None) -> Iterator[dt.datetime]:
        """The fire times of a day on the clock, given by its midnight, in order."""
        if self.elapsing is None:
            times = dict.fromkeys(map(self.first, self.wall.between(day, day + DAY)))
            yield from (at for at in times if after is None or at > after)
            return
        begin, end = self.first(day), self.first(day + DAY)
        since = max(after - begin, -_MOMENT) if after is not None else -_MOMENT
        fire = self.wall.next_after(day + since)
        while fire is not None and fire < min(day + DAY, day + (end - begin)):
            yield begin + (fire - day)
            fire = self.wall.next_after(fire)
        first, step = self.elapsing
        for hour in range(24, 24 - (begin + DAY - end) // HOUR):  # none but in a day that is longer
            if (hour - first) % step == 0:
                begun = day + first * HOUR
                for fire in self.wall.between(begun, begun + HOUR):
                    at = begin + hour * HOUR + (fire - begun)
                    if at < end and (after is None or at > after):
                        yield at
