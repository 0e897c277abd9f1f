"""Roll last month up, in UTC: users by segment, churn, sessions, goals, and the use of each feature.

Every live user created before the month's end is in one segment, the first that fits: new (created in the month),
churned (not seen for more than 30 days before the run, or never), at risk (for more than 14), power (more than 20
completed sessions in the month), active. Churn is the churned ones' share of the users who are not new.
"""

from sqlalchemy import case, func, literal_column, or_, select
from sqlalchemy.orm import Session

from application.models import FeatureEvent, TimerSession, User
from application.rounding import percent, ratio
from functions.productivity._counting import active_users, completed, goals, last_seen, live, new_users, within
from nightshift import Job, Run, days, lambda_handler
from nightshift.steps import Figures, Period, RollUp, last_month

CHURNED, AT_RISK = days(30), days(14)
POWER_SESSIONS = 20
SEGMENTS = ("new", "churned", "at_risk", "power", "active")


def figures(session: Session, run: Run, month: Period) -> Figures:
    segments, sessions = people(session, run, month)
    active = active_users(session, month)
    created, finished, _ = goals(session, month)
    events = select(FeatureEvent.feature, func.count()).where(within(FeatureEvent.occurred_at, month))
    features = dict(session.execute(events.group_by(FeatureEvent.feature)).all())
    everybody = sum(segments.values())
    data = {
        "active_users": active,
        "new_users": new_users(session, month),
        "completed_sessions": sessions,
        "sessions_per_active_user": ratio(sessions, active),
        "goals_created": created,
        "goals_completed": finished,
        "segments": segments,
        "churn_rate": percent(segments["churned"], everybody - segments["new"]),
        "feature_usage": features,
    }
    return Figures(data, {"users_segmented": everybody, "features": len(features)})


def people(session: Session, run: Run, month: Period) -> tuple[dict[str, int], int]:
    """The number of live users in each segment, and of everybody's completed sessions: one pass over the sessions."""
    timers = (
        select(TimerSession.user_id, func.count().label("n"))
        .where(completed, within(TimerSession.created_at, month))
        .group_by(TimerSession.user_id)
        .cte("timers")
    )
    segment = case(
        (~live | (User.created_at >= month.end), None),
        (User.created_at >= month.start, "new"),
        (or_(last_seen.is_(None), last_seen < run.ago(CHURNED)), "churned"),
        (last_seen < run.ago(AT_RISK), "at_risk"),
        (timers.c.n > POWER_SESSIONS, "power"),
        else_="active",
    ).label("segment")
    sessions = func.coalesce(func.sum(timers.c.n), 0)
    counted = select(segment, func.count(), sessions).select_from(User).group_by(literal_column(segment.name))
    found = session.execute(counted.outerjoin(timers, timers.c.user_id == User.id)).all()
    sizes = {name: n for name, n, _ in found}
    return {name: sizes.get(name, 0) for name in SEGMENTS}, sum(int(n) for _, _, n in found)


job = Job(
    name="monthly-insights",
    kind="rollup",
    schedule="cron(0 3 1 * ? *)",
    audited=False,
    steps=(
        RollUp(
            scope="month",
            period=last_month,
            figures=figures,
            counting=("users_segmented", "features"),
        ),
    ),
)
handler = lambda_handler(job)
