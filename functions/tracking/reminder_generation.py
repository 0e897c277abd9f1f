"""Remind users, up to 30 days ahead, that their last finalized snapshot has its anniversary in the Hijri calendar.

One reminder for each snapshot and Hijri year, and none within seven days of another. Days are counted on the user's
own calendar. It is a window and not one day, so a night without a run costs nobody the reminder.

Only active users are looked at. Counted under `errors` are users whose time zone PostgreSQL does not know, who get
their reminder by the day in UTC, and snapshots whose anniversary lies outside the calendar's tables, which get none.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from functions.tracking._anniversaries import INSERT_REMINDERS, LEAD, NEW_REMINDERS, local_days, read_window, told
from nightshift import Function, Job, Policy, Run, StepPlan, lambda_handler
from nightshift.database import by_halves
from nightshift.declaration import Batch, Execution


def plan(session: Session, run: Run) -> list[StepPlan]:
    today = local_days(session, run)
    keys: list[str] = []
    after = None
    while window := read_window(session, run, today, after):
        keys += told(session, run, NEW_REMINDERS, window.due)
        after = str(window.last)
    return [StepPlan("remind", "reminder_events", "insert", len(keys), sample=tuple(keys[:5]))]


WHAT_ERRORS_ARE = (
    "errors: so many people have a time zone that PostgreSQL does not know, and are treated as if they were in UTC; "
    "or a year outside the calendar's table, and get no reminder"
)
"""What a run notes beside the counter: its name does not say it."""


LOCK_SECONDS = 1
"""How long a reminder waits for somebody else who has its person, or their snapshot, to himself."""
WHAT_LOCKED_IS = "locked: somebody else had the accounts or snapshots of so many people; the next run reminds them"


def apply(execution: Execution) -> None:
    with execution.session.begin():
        today = local_days(execution.session, execution.run)
    more = True
    while more:
        with execution.batch(lock_seconds=LOCK_SECONDS) as batch:
            after = (execution.position or {}).get("after")
            window = read_window(batch.session, execution.run, today, after)
            if more := window is not None:
                remind(batch, execution.run, window.due)
                batch.count(**window.counts)
                if window.counts["errors"]:
                    batch.note(WHAT_ERRORS_ARE)
                batch.position = {"after": str(window.last)}


def remind(batch: Batch, run: Run, due: list[dict[str, Any]]) -> None:
    """Write the reminders. One that is refused is put aside alone."""

    def write(some: Sequence[dict[str, Any]]) -> tuple[int, int]:
        return len(told(batch.session, run, INSERT_REMINDERS, list(some))), len(some)

    def leave(one: dict[str, Any], error: str) -> None:
        batch.quarantine(f"yearly_snapshots {one['snapshot_id']}", error)

    def leave_locked(_: dict[str, Any]) -> None:
        batch.leave_locked(WHAT_LOCKED_IS)

    for created, meant in by_halves(batch.session, due, write, leave, leave_locked):
        batch.count(created=created, skipped_duplicate=meant - created)


job = Job(
    name="reminder-generation",
    kind="notification",
    schedule="cron(0 3 * * ? *)",
    policy=Policy(overlap="skip", missed="latest"),  # not too late for a reminder that is a month ahead
    audited=False,
    steps=(
        Function(
            name="remind",
            apply=apply,
            plan=plan,
            parameters=(LEAD,),
            counters=("created", "skipped_no_snapshot", "skipped_not_due", "skipped_duplicate", "errors"),
            changes=("created",),
            tables=("reminder_events",),
        ),
    ),
)
handler = lambda_handler(job)
