"""On the 1st at 9:00 by their own clocks, mail people what they got done in the month before.

The month is that of their own calendar, and they must have been users when it began. The completion rate is completed
to created goals, at most 100 %. A month without anything is reported too, in one sentence. Nothing is sent to those who
switched the monthly report off.
"""

import datetime as dt
from typing import Any

from sqlalchemy import Date, DateTime, Integer, Numeric, Select, case, cast, func, literal, select, true

from application.models import Goal, User
from functions.productivity._people import focus, goals_within
from nightshift import Job, Run, lambda_handler
from nightshift.outbox import TICK, LocalMoment, People, Via, message, midnight
from nightshift.steps import Message, Notify

QUIET = " was a quiet month: no goals and no sessions."


def report(run: Run, people: People) -> Select[Any]:
    after = cast(func.date_trunc("month", cast(people.c.local_date, DateTime)), Date)
    first = cast(after - func.make_interval(0, 1), Date)
    since, until = midnight(people.c.zone, first), midnight(people.c.zone, after)
    month_days = after - first
    sessions = focus(people, since, until)
    figures = (
        select(
            goals_within(people, Goal.created_at, since, until).label("created"),
            goals_within(people, Goal.completed_at, since, until, Goal.status == "completed").label("completed"),
            sessions.c.sessions,
            (cast(sessions.c.seconds, Numeric) / 60).label("minutes"),
        )
        .select_from(sessions)
        .correlate(people)
        .lateral("figures")
    )
    created, completed, count, minutes = figures.c.created, figures.c.completed, figures.c.sessions, figures.c.minutes
    share = func.least(100, func.round(literal(100.0, Numeric) * completed / func.nullif(created, 0)))
    whole_minutes = cast(func.floor(minutes), Integer)
    name, month = func.to_char(cast(first, DateTime), "YYYY-MM"), func.to_char(first, "FMMonth YYYY")
    figures_told = func.format(
        literal("%s goals completed, %s sessions, %s minutes of focus."), completed, count, whole_minutes
    )
    found = message(
        User.id,
        key=func.concat_ws("|", User.id, "monthly", name),
        title=literal("Your month: ") + month,
        body=case((created + completed + count == 0, month + QUIET), else_=figures_told),
        data=func.jsonb_build_object(
            *("month", name, "goals_created", created, "goals_completed", completed),
            *("completion_rate_pct", case((created == 0, 0), else_=share)),
            *("sessions", count, "focus_minutes", whole_minutes),
            *("average_minutes", func.round(func.coalesce(minutes / func.nullif(count, 0), 0), 1)),
            *("minutes_per_day", func.round(minutes / month_days, 1)),
        ),
    )
    return found.join(people, people.c.recipient == User.id).join(figures, true()).where(User.created_at < since)


job = Job(
    name="monthly-progress-report",
    kind="notification",
    schedule=TICK,
    audited=False,
    steps=(
        Notify(
            at=LocalMoment(dt.time(9), day=1),
            messages=(
                Message(
                    kind="monthly_report",
                    to=report,
                    via=(Via("email", "monthly_report", counter="emails"),),
                    matched="eligible",
                    suppressed="suppressed",
                ),
            ),
        ),
    ),
)
handler = lambda_handler(job)
