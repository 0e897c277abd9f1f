"""At 18:00 by their own clocks, nudge people who signed in within 7 days and have begun no timer since midnight.

The nudge is a notice in the application; after 48 hours without any timer it is a mail as well, unless the person wants
no general mails. A person gets at most one nudge mail a day, this one or that of inactive-users.
"""

import datetime as dt
from typing import Any

from sqlalchemy import Select, func, select

from application.models import User
from functions.productivity._people import any_session, mailed_today, signed_in_lately
from nightshift import Job, Run, days, lambda_handler
from nightshift.outbox import TICK, LocalMoment, People, Via, message, midnight
from nightshift.steps import Message, Notify


def signed_in(run: Run, people: People) -> Select[Any]:
    return select(User.id).join(people, people.c.recipient == User.id).where(signed_in_lately(run))


def idle_today(run: Run, people: People) -> Select[Any]:
    found = message(
        User.id,
        key=func.concat_ws("|", User.id, "nudge", people.c.local_date),
        title="Time for a short session?",
        body="There has been no timer session today.",
    ).join(people, people.c.recipient == User.id)
    since_midnight = any_session(run, people, midnight(people.c.zone, people.c.local_date))
    return found.where(signed_in_lately(run), ~since_midnight)


def idle_for_two_days(run: Run, people: People) -> Select[Any]:
    nudged = mailed_today(people, "inactive_user")
    return idle_today(run, people).where(~any_session(run, people, run.ago(days(2))), ~nudged)


job = Job(
    name="daily-check",
    kind="notification",
    schedule=TICK,
    audited=False,
    steps=(
        Notify(
            at=LocalMoment(dt.time(18)),
            counting={"checked": signed_in},
            messages=(
                Message(kind="productivity_nudge", to=idle_today, via=(Via("in_app", counter="nudged"),)),
                Message(
                    kind="productivity_nudge",
                    to=idle_for_two_days,
                    via=(Via("email", "general", counter="emails"),),
                    suppressed="suppressed",
                ),
            ),
        ),
    ),
)
handler = lambda_handler(job)
