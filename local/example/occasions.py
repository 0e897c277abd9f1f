"""For which past time the demonstration runs break-reminders, which has something to do in working hours only."""

import datetime as dt

from functions.productivity import break_reminders
from local.occasions import DAY
from nightshift import Job


def last_due(job: Job, now: dt.datetime) -> dt.datetime | None:
    """The last tick in working hours; over a weekend that is the last one of Friday. None: not this job."""
    if job.name != break_reminders.job.name:
        return None
    ticks = job.timetable.between(now - 4 * DAY, now + dt.timedelta.resolution)
    return max(tick for tick in ticks if _in_working_hours(tick))


def _in_working_hours(tick: dt.datetime) -> bool:
    its = break_reminders
    return its.MONDAY <= tick.isoweekday() <= its.FRIDAY and its.FIRST_HOUR <= tick.hour <= its.LAST_HOUR
