"""The last full hour, day, week and month before a run, in UTC."""

import datetime as dt
from dataclasses import dataclass

from dateutil.relativedelta import SU, relativedelta

from nightshift.declaration import Run


@dataclass(frozen=True)
class Period:
    """From `start` (included) to `end` (excluded), both in UTC."""

    start: dt.datetime
    end: dt.datetime


def last_hour(run: Run) -> Period:
    return _until(run.now.replace(minute=0, second=0, microsecond=0), relativedelta(hours=1))


def last_day(run: Run) -> Period:
    return _until(_midnight(run), relativedelta(days=1))


def last_week(run: Run) -> Period:
    """From Sunday 00:00 to Sunday 00:00."""
    return _until(_midnight(run) + relativedelta(weekday=SU(-1)), relativedelta(weeks=1))


def last_month(run: Run) -> Period:
    return _until(_midnight(run).replace(day=1), relativedelta(months=1))


def _midnight(run: Run) -> dt.datetime:
    return run.now.replace(hour=0, minute=0, second=0, microsecond=0)


def _until(end: dt.datetime, length: relativedelta) -> Period:
    return Period(end - length, end)
