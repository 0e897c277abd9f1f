"""Roll last week up, Sunday to Sunday in UTC: users, sessions and when they began, goals, and who came back.

Retention after 1, 7 and 30 days is the share of users seen that long after their creation, or later; of users who have
been there for less, nothing can be told, and they are left out.
"""

from collections import Counter

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from application.models import User
from application.rounding import percent
from functions.productivity._counting import (
    active_users,
    completed,
    goals,
    last_seen,
    live,
    new_users,
    timers_by_hour,
)
from nightshift import Job, Run, days, lambda_handler
from nightshift.steps import Figures, Period, RollUp, last_week

RETENTION_DAYS = (1, 7, 30)


def figures(session: Session, run: Run, week: Period) -> Figures:
    types: Counter[str] = Counter()
    hours, weekdays, seconds = [0] * 24, [0] * 7, 0
    for slot in session.execute(timers_by_hour(week, completed)):
        types[slot.timer_type] += slot.n
        hours[slot.hour] += slot.n
        weekdays[slot.weekday] += slot.n
        seconds += int(slot.seconds)
    created, _, created_and_completed = goals(session, week)
    active, new = active_users(session, week), new_users(session, week)
    data = {
        "active_users": active,
        "new_users": new,
        "completed_sessions": types.total(),
        "focus_minutes": seconds // 60,
        "goals_created": created,
        "goals_created_completed": created_and_completed,
        "timer_types": dict(types),
        "sessions_by_hour": hours,
        "sessions_by_weekday": weekdays,
        "peak_hour": hours.index(max(hours)) if types else None,
        "peak_weekday": weekdays.index(max(weekdays)) if types else None,
        **retention(session, week),
    }
    return Figures(data, {"active": active, "new": new, "sessions": types.total()})


def retention(session: Session, week: Period) -> dict[str, float]:
    """Of the live users who had the chance: how many there are, and the share who came back."""
    counts = []
    for number in RETENTION_DAYS:
        old_enough = User.created_at <= week.end - days(number)
        came_back = last_seen >= User.created_at + func.make_interval(0, 0, 0, 0, 24 * number)
        counts += [func.count().filter(old_enough), func.count().filter(old_enough & came_back)]
    found = session.execute(select(*counts).select_from(User).where(live)).one()
    data: dict[str, float] = {}
    for number, old_enough_users, returned in zip(RETENTION_DAYS, found[::2], found[1::2], strict=True):
        data |= {
            f"retention_d{number}": percent(returned, old_enough_users),
            f"retention_d{number}_n": old_enough_users,
        }
    return data


job = Job(
    name="weekly-aggregation",
    kind="rollup",
    schedule="cron(0 2 ? * SUN *)",
    audited=False,
    steps=(
        RollUp(
            scope="week",
            period=last_week,
            figures=figures,
            counting=("active", "new", "sessions"),
        ),
    ),
)
handler = lambda_handler(job)
