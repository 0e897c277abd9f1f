"""For which past time the demonstration runs a job that tells people something at an hour of their own.

At most hours of the week such a job finds nobody. So each of them is run on purpose for the last time at which it was
due in UTC, and what it finds is left to the data, not to the hour.
"""

import datetime as dt
from itertools import count

from nightshift import Job
from nightshift.outbox import LocalMoment
from nightshift.steps import Notify

DAY = dt.timedelta(days=1)


def last_due(job: Job, now: dt.datetime) -> dt.datetime | None:
    """The last time, not after `now`, at which people in UTC were due. None: the job has no hour of its own."""
    moments = (step.at for step in job.steps if isinstance(step, Notify) and step.at)
    return next((_last(moment, now) for moment in moments), None)


def _last(moment: LocalMoment, now: dt.datetime) -> dt.datetime:
    today = now.astimezone(dt.UTC).date()
    days = (dt.datetime.combine(today - back * DAY, moment.at, dt.UTC) for back in count())
    return next(
        at for at in days if at <= now and moment.weekday in (None, at.isoweekday()) and moment.day in (None, at.day)
    )
