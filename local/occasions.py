"""For which past time the demonstration runs a job whose work depends on the clock.

At most hours of the week such a job finds nobody: weekly-review is due on Sunday evening, break-reminders in working
hours. So each of them is run on purpose for the last time at which it was due in UTC, and what it finds is left to the
data, not to the hour.
"""

import datetime as dt
from itertools import count

from functions.productivity import break_reminders
from nightshift import Job
from nightshift.outbox import LocalMoment
from nightshift.steps import Notify

DAY = dt.timedelta(days=1)


def last_due(job: Job, now: dt.datetime) -> dt.datetime | None:
    """The last time, not after `now`, at which people in UTC were due. None: the job has no hour of its own."""
    if job.name == break_reminders.job.name:
        return _last_tick_in_working_hours(job, now)
    moments = (step.at for step in job.steps if isinstance(step, Notify) and step.at)
    return next((_last(moment, now) for moment in moments), None)


def _last(moment: LocalMoment, now: dt.datetime) -> dt.datetime:
    today = now.astimezone(dt.UTC).date()
    days = (dt.datetime.combine(today - back * DAY, moment.at, dt.UTC) for back in count())
    return next(
        at for at in days if at <= now and moment.weekday in (None, at.isoweekday()) and moment.day in (None, at.day)
    )


def _last_tick_in_working_hours(job: Job, now: dt.datetime) -> dt.datetime:
    """Over a weekend that is the last one of Friday."""
    ticks = job.timetable.between(now - 4 * DAY, now + dt.timedelta.resolution)
    return max(tick for tick in ticks if _in_working_hours(tick))


def _in_working_hours(tick: dt.datetime) -> bool:
    its = break_reminders
    return its.MONDAY <= tick.isoweekday() <= its.FRIDAY and its.FIRST_HOUR <= tick.hour <= its.LAST_HOUR
