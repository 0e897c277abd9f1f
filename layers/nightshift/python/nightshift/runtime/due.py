"""Whether an event of the job's rule is one of its occurrences.

The rule of a job in a time zone knows UTC only. It fires at every hour that the schedule can mean, and what is not due
is dropped here, before anything connects to the database.
"""

import os
from collections.abc import Mapping
from typing import Any

from nightshift.declaration import Job, Schedule, ScheduleError
from nightshift.declaration.parameters import read_object
from nightshift.environment import SCHEDULE_VARIABLE
from nightshift.errors import SettingError
from nightshift.ledger import Request


def not_due(job: Job, request: Request, environment: Mapping[str, str] = os.environ) -> Schedule | None:
    """The schedule by which a scheduled event is no occurrence; None if it is one.

    Raises:
        SettingError: the environment's schedule cannot be read.
    """
    given = environment.get(SCHEDULE_VARIABLE)
    if request.trigger != "schedule" or request.scheduled_for is None or (given is None and job.timezone is None):
        return None  # the rule of a job in UTC fires when the job is due, and then only
    try:
        schedule = job.timetable_with(_read(given)) if given is not None else job.timetable
    except ScheduleError as error:
        raise SettingError(f"{SCHEDULE_VARIABLE}: {error}") from None
    if schedule.timezone is None or schedule.fires_at(request.scheduled_for):
        return None
    return schedule


def _read(text: str) -> Mapping[str, Any]:
    given = read_object(SCHEDULE_VARIABLE, text)
    # Written by the deployment, which has settled both: nothing declared holds beside them.
    return {"schedule": given.get("schedule"), "timezone": given.get("timezone") or "UTC"}
