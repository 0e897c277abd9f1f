"""Remind people at 9 in the morning, by their own clocks, of goals due tomorrow, and of those due in 7 to 13 days.

Tomorrow's goals are told one by one in the application and all in one mail; the later ones are there to plan with, in
the application only. A goal is told once for each date on which it is due, so a moved date is told anew. What is due
today, or late, is not told.
"""

import datetime as dt
from typing import Any

from sqlalchemy import Select, Text, case, cast, func
from sqlalchemy.dialects.postgresql import aggregate_order_by

from application.models import Goal
from nightshift import Job, Run, lambda_handler
from nightshift.outbox import TICK, LocalMoment, People, Via, message, named
from nightshift.steps import Message, Notify

due = cast(Goal.due_on, Text)
facts = func.jsonb_build_object("goal_id", Goal.id, "title", Goal.title, "due_on", due)


def due_in(found: Select[Any], people: People, first: int, last: int) -> Select[Any]:
    """Only open goals that are due so many days after the local date of their owner."""
    in_time = Goal.due_on.between(people.c.local_date + first, people.c.local_date + last)
    return found.join(people, people.c.recipient == Goal.user_id).where(
        Goal.status == "active", Goal.archived_at.is_(None), in_time
    )


def tomorrow(run: Run, people: People) -> Select[Any]:
    key = func.concat_ws("|", Goal.id, "goal_deadline", due)
    found = message(Goal.user_id, key=key, title="A goal is due tomorrow", body=Goal.title, data=facts)
    return due_in(found, people, 1, 1)


def tomorrow_in_one_mail(run: Run, people: People) -> Select[Any]:
    n = func.count()
    goals = func.jsonb_agg(aggregate_order_by(facts, Goal.title, Goal.id))
    found = message(
        Goal.user_id,
        key=func.concat_ws("|", Goal.user_id, "goal_deadline", people.c.local_date),
        title=case((n == 1, "A goal is due tomorrow"), else_=cast(n, Text) + " goals are due tomorrow"),
        body=named(Goal.title, Goal.title, Goal.id),
        data=func.jsonb_build_object("goals", goals),
    )
    return due_in(found, people, 1, 1).group_by(Goal.user_id, people.c.local_date)


def to_plan_with(run: Run, people: People) -> Select[Any]:
    key = func.concat_ws("|", Goal.id, "goal_planning", due)
    found = message(Goal.user_id, key=key, title="A goal to plan for", body=Goal.title, data=facts)
    return due_in(found, people, 7, 13)


job = Job(
    name="goal-deadlines",
    kind="notification",
    schedule=TICK,
    audited=False,
    steps=(
        Notify(
            at=LocalMoment(dt.time(9)),
            messages=(
                Message(
                    kind="goal_deadline", to=tomorrow, via=(Via("in_app", counter="in_app"),), matched="goals_tomorrow"
                ),
                Message(
                    kind="goal_planning",
                    to=to_plan_with,
                    via=(Via("in_app", counter="in_app"),),
                    matched="goals_next_week",
                ),
                Message(
                    kind="goal_deadline",
                    to=tomorrow_in_one_mail,
                    via=(Via("email", "goal_reminders", counter="emails"),),
                    suppressed="suppressed_by_preference",
                ),
            ),
        ),
    ),
)
handler = lambda_handler(job)
