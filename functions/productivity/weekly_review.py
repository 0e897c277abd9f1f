"""On Sundays at 19:00 by their own clocks, tell people who signed in within 7 days how their week went.

The week is the last 7 local days, today included: goals completed, completed sessions, minutes of focus, and the days
in a row with a session. In the application, and as a mail unless the weekly report is switched off. A week without
anything gets its review too, in one sentence.
"""

import datetime as dt
from typing import Any

from sqlalchemy import Integer, Select, case, cast, func, literal, select, true

from application.models import Goal, User
from functions.productivity._people import focus, goals_within, signed_in_lately, streak_days
from nightshift import Job, Run, lambda_handler
from nightshift.outbox import TICK, LocalMoment, People, Via, message, midnight
from nightshift.steps import Message, Notify

SUNDAY = 7
QUIET = "A quiet week. The next one starts with whatever you put first."


def review(run: Run, people: People) -> Select[Any]:
    first_day = people.c.local_date - 6
    since, until = midnight(people.c.zone, first_day), run.now + dt.timedelta(microseconds=1)
    sessions = focus(people, since, until)
    figures = (
        select(
            goals_within(people, Goal.completed_at, since, until, Goal.status == "completed").label("goals"),
            sessions.c.sessions,
            cast(func.floor(sessions.c.seconds / 60), Integer).label("minutes"),
            streak_days(run, people).label("streak"),
        )
        .select_from(sessions)
        .correlate(people)
        .lateral("figures")
    )
    figures_told = func.format(
        literal("%s goals completed, %s sessions, %s minutes of focus, %s days in a row."),
        *(figures.c.goals, figures.c.sessions, figures.c.minutes, figures.c.streak),
    )
    found = message(
        User.id,
        key=func.concat_ws("|", User.id, "weekly", people.c.local_date),
        title="Your week in review",
        body=case((figures.c.goals + figures.c.sessions == 0, QUIET), else_=figures_told),
        data=func.jsonb_build_object(
            *("first_day", first_day, "last_day", people.c.local_date),
            *("goals_completed", figures.c.goals, "sessions", figures.c.sessions),
            *("focus_minutes", figures.c.minutes, "streak_days", figures.c.streak),
        ),
    )
    return found.join(people, people.c.recipient == User.id).join(figures, true()).where(signed_in_lately(run))


job = Job(
    name="weekly-review",
    kind="notification",
    schedule=TICK,
    audited=False,
    steps=(
        Notify(
            at=LocalMoment(dt.time(19), weekday=SUNDAY),
            messages=(
                Message(
                    kind="weekly_review",
                    to=review,
                    via=(
                        Via("in_app", counter="in_app"),
                        Via("email", "weekly_report", counter="emails"),
                    ),
                    matched="users",
                    suppressed="suppressed",
                ),
            ),
        ),
    ),
)
handler = lambda_handler(job)
