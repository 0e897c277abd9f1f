"""When work may be done: the hours that an operator allows, and the freezes that a deployment declares. All in UTC."""

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from nightshift.declaration.fields import choices, shown
from nightshift.declaration.job import Job
from nightshift.declaration.policy import Kind
from nightshift.environment import FREEZES_VARIABLE
from nightshift.errors import SettingError

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class Hours(NamedTuple):
    """A part of every day, in UTC: from `begin`, included, to `end`, not included. It may go over midnight."""

    begin: dt.time
    end: dt.time

    @classmethod
    def parse(cls, text: str) -> "Hours":
        """Hours from a text like `01:00-05:00`.

        Raises:
            ValueError: another form, or no time at all; the message holds the remedy.
        """
        found = _HOURS.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"hours are written like 01:00-05:00, in UTC; got {shown(text)}")
        first, second, third, fourth = map(int, found.groups())
        hours = cls(dt.time(first, second), dt.time(third, fourth))
        if hours.begin == hours.end:
            raise ValueError(f"hours that begin when they end are none: leave them out for the whole day; got {text}")
        return hours

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M}"

    def allow(self, instant: dt.datetime) -> bool:
        time = instant.astimezone(dt.UTC).time()
        if self.begin < self.end:
            return self.begin <= time < self.end
        return time >= self.begin or time < self.end

    def next_after(self, instant: dt.datetime) -> dt.datetime:
        """When the hours begin next."""
        today = dt.datetime.combine(instant.astimezone(dt.UTC).date(), self.begin, dt.UTC)
        return today if today > instant else today + dt.timedelta(days=1)


class Freeze(NamedTuple):
    """A time in which jobs that destroy something do not begin, and stop at their next batch.

    from_: the start, included. until: the end, not included. Both in UTC.
    jobs, kinds: only these jobs, and all jobs of these kinds, whether they destroy something or not. Without either:
        every job that destroys something.
    """

    from_: dt.datetime
    until: dt.datetime
    reason: str
    jobs: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Freeze":
        """A freeze as the settings have it.

        Raises:
            SettingError: it cannot be meant.
        """
        begin, end = (_instant(name, given.get(name)) for name in ("from", "to"))
        if begin >= end:
            raise SettingError(f"a freeze ends after it begins; got from {given['from']} to {given['to']}")
        reason = given.get("reason")
        if not isinstance(reason, str) or not reason.strip():
            raise SettingError("a freeze needs a reason: whoever finds a job that waits is told it")
        kinds = tuple(given.get("kinds") or ())
        if unknown := [kind for kind in kinds if kind not in choices(Kind)]:
            raise SettingError(f"a freeze has kinds of jobs ({', '.join(choices(Kind))}); got {shown(unknown[0])}")
        return cls(begin, end, " ".join(reason.split()), tuple(given.get("jobs") or ()), kinds)

    def as_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"from": self.from_.isoformat(), "to": self.until.isoformat(), "reason": self.reason}
        return told | ({"jobs": self.jobs} if self.jobs else {}) | ({"kinds": self.kinds} if self.kinds else {})

    def holds(self, job: Job, instant: dt.datetime) -> bool:
        named = job.name in self.jobs or job.kind in self.kinds
        meant = named if self.jobs or self.kinds else job.destructive
        return meant and self.from_ <= instant < self.until

    def __str__(self) -> str:
        return f"frozen until {self.until.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}: {self.reason}"


def freeze_of(freezes: Iterable[Freeze], job: Job, instant: dt.datetime) -> Freeze | None:
    """The freeze that holds a job at that time; of several the one that ends last."""
    return max((each for each in freezes if each.holds(job, instant)), key=lambda each: each.until, default=None)


def freezes_from(environment: Mapping[str, str]) -> tuple[Freeze, ...]:
    """The freezes that the deployment has.

    Raises:
        SettingError: the variable holds none.
    """
    text = environment.get(FREEZES_VARIABLE)
    try:
        return tuple(Freeze.read(each) for each in json.loads(text)) if text else ()
    except (ValueError, AttributeError, TypeError) as error:
        raise SettingError(f"{FREEZES_VARIABLE} holds no freezes: {error}") from None


def _instant(name: str, given: Any) -> dt.datetime:
    try:
        instant = dt.datetime.fromisoformat(given)
    except (TypeError, ValueError):
        raise SettingError(f"a freeze has {name}, like 2026-12-20T00:00:00Z; got {shown(given)}") from None
    if instant.tzinfo is None:
        raise SettingError(f"a freeze's {name} needs a time zone: add Z for UTC; got {shown(given)}")
    return instant.astimezone(dt.UTC)
