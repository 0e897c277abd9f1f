"""On weekdays from 9 to 17 by their own clocks, remind people of a break whose timer runs for more than 50 minutes.

Once for each 50 minutes that it runs, in the application and as a push. A timer that has run for more than 12 hours was
forgotten: it is counted as stale, and nobody is reminded. Pauses are not subtracted.
"""

from typing import Any

from sqlalchemy import Integer, Select, cast, extract, func, literal, select

from application.models import TimerSession
from nightshift import Job, Run, hours, lambda_handler, minutes
from nightshift.outbox import People, Via, message
from nightshift.steps import Message, Notify

BLOCK_MINUTES = 50
FORGOTTEN = hours(12)
MONDAY, FRIDAY = 1, 5
FIRST_HOUR, LAST_HOUR = 9, 17


def running_in_hours(found: Select[Any], people: People) -> Select[Any]:
    """Only running timers of people who are within their working hours."""
    now = people.c.local_now
    return found.join(people, people.c.recipient == TimerSession.user_id).where(
        TimerSession.status == "running",
        extract("isodow", now).between(MONDAY, FRIDAY),
        extract("hour", now).between(FIRST_HOUR, LAST_HOUR),
    )


def running(run: Run, people: People) -> Select[Any]:
    return running_in_hours(select(TimerSession.id), people)


def stale(run: Run, people: People) -> Select[Any]:
    return running(run, people).where(TimerSession.started_at < run.ago(FORGOTTEN))


def long(run: Run, people: People) -> Select[Any]:
    ran = cast(func.floor(extract("epoch", literal(run.now) - TimerSession.started_at) / 60), Integer)
    found = message(
        TimerSession.user_id,
        key=func.concat_ws("|", TimerSession.id, ran // literal(BLOCK_MINUTES)),
        title="Time for a break",
        body=func.format(literal("Your timer has been running for %s minutes."), ran),
        data=func.jsonb_build_object("session_id", TimerSession.id, "minutes", ran),
    )
    return running_in_hours(found, people).where(
        TimerSession.started_at < run.ago(minutes(BLOCK_MINUTES)), TimerSession.started_at >= run.ago(FORGOTTEN)
    )


job = Job(
    name="break-reminders",
    kind="notification",
    schedule="cron(0/25 * * * ? *)",
    audited=False,
    steps=(
        Notify(
            counting={"running": running, "stale": stale},
            messages=(
                Message(
                    kind="break_reminder",
                    to=long,
                    via=(
                        Via("in_app", "break_reminders", counter="reminded"),
                        Via("push", "break_reminders", counter="pushes"),
                    ),
                ),
            ),
        ),
    ),
)
handler = lambda_handler(job)
