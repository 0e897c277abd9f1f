"""At 10:00 by their own clocks, mail people who were last there more than 3 and at most 7 days ago, once per absence.

Last there is the later of the last sign-in and the last activity; who never signed in is left alone. Who comes back and
leaves again is told again. A person gets at most one nudge mail a day, this one or that of daily-check.
"""

import datetime as dt
from typing import Any

from sqlalchemy import Integer, Select, cast, extract, func, literal

from application.models import User
from functions.productivity._people import mailed_today
from nightshift import Job, Run, days, lambda_handler
from nightshift.outbox import TICK, LocalMoment, People, Via, local_date_of, message
from nightshift.steps import Message, Notify

UTC = literal("UTC")


def absent(run: Run, people: People) -> Select[Any]:
    last_there = func.greatest(User.last_login_at, User.last_activity_at)
    away = cast(func.floor(extract("epoch", literal(run.now) - last_there) / 86_400), Integer)
    found = message(
        User.id,
        key=func.concat_ws("|", User.id, "inactive", local_date_of(UTC, last_there)),
        title="Your goals are waiting",
        body=func.format(literal("You were last here %s days ago."), away),
        data=func.jsonb_build_object("days", away),
    ).join(people, people.c.recipient == User.id)
    return found.where(
        User.last_login_at.is_not(None),
        last_there < run.ago(days(3)),
        last_there >= run.ago(days(7)),
        ~mailed_today(people, "productivity_nudge"),
    )


job = Job(
    name="inactive-users",
    kind="notification",
    schedule=TICK,
    audited=False,
    steps=(
        Notify(
            at=LocalMoment(dt.time(10)),
            messages=(
                Message(
                    kind="inactive_user",
                    to=absent,
                    via=(Via("email", "general", counter="emails"),),
                    matched="matched",
                    suppressed="suppressed",
                ),
            ),
        ),
    ),
)
handler = lambda_handler(job)
