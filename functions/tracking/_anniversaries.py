"""Who has an anniversary of the last finalized snapshot soon, window by window of users."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from nightshift import Parameter, Run, days

if TYPE_CHECKING:
    from application.hijri import Anniversary

LEAD = Parameter("lead_days", 30, "days", maximum=180, about="how long before the anniversary a user is reminded")
QUIET = days(7)
DAYS_LEFT_FOR_HIGH = 14
USERS_IN_A_WINDOW = 5000

LOCAL_DAYS = text("select name, cast(timezone(name, :now) as date) from pg_timezone_names")

LATEST_SNAPSHOTS = text("""
    select u.id, u.timezone, s.id as snapshot_id, s.hijri_year, s.hijri_month, s.hijri_day
    from (
        select id, timezone from users
        where is_active and deleted_at is null and anonymized_at is null and id > :after
        order by id limit :users
    ) as u
    left join lateral (
        select id, hijri_year, hijri_month, hijri_day from yearly_snapshots
        where user_id = u.id and status = 'FINALIZED'
        order by hijri_year desc, hijri_month desc, hijri_day desc, created_at desc, id limit 1
    ) as s on true
    order by u.id
""")

_NEW = """
    from jsonb_to_recordset(cast(:due as jsonb)) as due (
        user_id uuid, snapshot_id uuid, due_on date, title text, message text, priority text, metadata jsonb, key text
    )
    where not exists (select from reminder_events where dedupe_key = due.key)
        and not exists (
            select from reminder_events where user_id = due.user_id and event_type = 'zakat_anniversary_approaching'
                and created_at between :quiet_since and :now
        )
"""
NEW_REMINDERS = text(f"select key {_NEW} order by key")
INSERT_REMINDERS = text(f"""
    insert into reminder_events (user_id, event_type, trigger_at, due_on, title, message, priority,
        related_snapshot_id, metadata, dedupe_key, created_at)
    select user_id, 'zakat_anniversary_approaching', :now, due_on, title, message, priority, snapshot_id, metadata,
        key, :now
    {_NEW}
    on conflict (dedupe_key) do nothing
    returning dedupe_key
""")


@dataclass
class Window:
    """Some users in the order of their ids: the reminders that are due to them, and why the others get none."""

    last: UUID
    due: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def told(session: Session, run: Run, statement: TextClause, due: list[dict[str, Any]]) -> list[str]:
    """The keys of those reminders that are no duplicates: found, or written, as the statement has it."""
    given = {"due": json.dumps(due), "now": run.now, "quiet_since": run.ago(QUIET)}
    return list(session.scalars(statement, given)) if due else []


def local_days(session: Session, run: Run) -> Mapping[str, dt.date]:
    """The date of the run's now in every time zone that PostgreSQL knows, by the zone's name."""
    return dict(session.execute(LOCAL_DAYS, {"now": run.now}).all())


def read_window(session: Session, run: Run, today: Mapping[str, dt.date], after: str | None) -> Window | None:
    """The next users after the given id, or None when there are no more."""
    from application.hijri import next_anniversary  # the calendar's tables are this job's alone

    users = session.execute(LATEST_SNAPSHOTS, {"after": after or UUID(int=0), "users": USERS_IN_A_WINDOW}).all()
    if not users:
        return None
    window = Window(users[-1].id)
    for user in users:
        if user.timezone not in today:
            window.counts["errors"] += 1
        if user.snapshot_id is None:
            window.counts["skipped_no_snapshot"] += 1
            continue
        local_day = today.get(user.timezone, run.now.date())
        try:
            anniversary = next_anniversary(user.hijri_year, user.hijri_month, user.hijri_day, local_day)
        except OverflowError:
            window.counts["errors"] += 1
            continue
        left = (anniversary.date - local_day).days
        if left > run[LEAD]:
            window.counts["skipped_not_due"] += 1
        else:
            window.due.append(_reminder(user.id, user.snapshot_id, anniversary, left, run[LEAD]))
    return window


def _reminder(user_id: UUID, snapshot_id: UUID, anniversary: "Anniversary", left: int, lead: int) -> dict[str, Any]:
    date = f"{anniversary.date.day} {anniversary.date:%B %Y}"
    when = {0: "today", 1: "tomorrow"}.get(left, f"in {left} days")
    return {
        "user_id": str(user_id),
        "snapshot_id": str(snapshot_id),
        "due_on": anniversary.date.isoformat(),
        "title": f"Zakat anniversary on {date}",
        "message": f"Your zakat year completes {when}, on {date} ({anniversary.in_words}). "
        "It is time to prepare this year's calculation.",
        "priority": "medium" if left > DAYS_LEFT_FOR_HIGH else "high",
        "metadata": {
            "days_remaining": left,
            "anniversary_gregorian": anniversary.date.isoformat(),
            "anniversary_hijri": anniversary.hijri,
            "lead_days": lead,
            "calendar": "umm-al-qura",
        },
        "key": f"{user_id}|zakat_anniversary_approaching|{snapshot_id}|{anniversary.year}",
    }
