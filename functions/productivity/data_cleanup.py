"""Delete finished timer sessions after 180 days, figures after a year, and traces of use; archive closed goals.

A session goes only when the figures of its day, in UTC, have been made: what was never counted stays, and is counted
here as kept, until `nightshift run daily-analytics --at` the day after makes its figures. Running and paused sessions
stay whatever their age. A goal's age is counted from when it was closed. Uses of features and days of activity go after
400 days, requests after 14, sent notices after 90.
"""

from sqlalchemy import func, select

from application.models import FeatureEvent, Goal, RequestStats, TimerSession, UserActivityDay
from nightshift import Count, Delete, Job, Parameter, Update, lambda_handler
from nightshift.outbox import Notification
from nightshift.steps import MetricFinding, MetricRollup

# Two months are what streaks and monthly figures look back on. Figures must outlive the sessions that wait for them by
# a day: those of a day are as old as its beginning, its sessions as young as its end.
CLEANUP = Parameter("cleanup_interval_days", 180, "days", minimum=62, maximum=364, about="sessions, and closed goals")
ANALYTICS = Parameter("analytics_retention_days", 365, "days", minimum=365, about="figures and findings")
USE = Parameter("use_retention_days", 400, "days", minimum=62, about="feature events and days of activity")
REQUESTS = Parameter("request_retention_days", 14, "days", minimum=2, about="requests by minute")
NOTICES = Parameter("notification_retention_days", 90, "days", minimum=31, about="notifications, once sent")

finished = TimerSession.status.in_(("completed", "abandoned"))
counted = (
    select(MetricRollup.scope)
    .where(
        MetricRollup.scope == "day",
        MetricRollup.period_start == func.date_trunc("day", TimerSession.created_at, "UTC"),
    )
    .exists()
)

job = Job(
    name="data-cleanup",
    kind="retention",
    schedule="cron(0 4 * * ? *)",
    parameters=(USE,),
    steps=(
        Delete(
            TimerSession,
            where=finished & counted,
            older_than=CLEANUP,
            measured_by=TimerSession.created_at,
            counter="sessions_deleted",
        ),
        Count(
            TimerSession,
            where=finished & ~counted,
            older_than=CLEANUP,
            measured_by=TimerSession.created_at,
            counter="kept_without_rollup",
        ),
        Update(
            Goal,
            where=(Goal.status != "active") & Goal.archived_at.is_(None),
            older_than=CLEANUP,
            measured_by=func.coalesce(Goal.completed_at, Goal.cancelled_at, Goal.updated_at),
            set=lambda run: {Goal.archived_at: run.now},
            counter="goals_archived",
        ),
        Delete(
            MetricRollup,
            where=MetricRollup.scope.not_like("perf\\_%"),  # performance-monitor clears its own
            older_than=ANALYTICS,
            measured_by=MetricRollup.period_start,
            counter="metrics_deleted",
        ),
        Delete(
            MetricFinding,
            older_than=ANALYTICS,
            measured_by=MetricFinding.period_start,
            counter="metrics_deleted",
        ),
        Delete(
            FeatureEvent,
            older_than=USE,
            measured_by=FeatureEvent.occurred_at,
            counter="events_deleted",
        ),
        Delete(
            UserActivityDay,
            where=lambda run: UserActivityDay.day < run.ago(USE).date(),
            measured_by=UserActivityDay.day,
            counter="activity_days_deleted",
        ),
        Delete(
            RequestStats,
            older_than=REQUESTS,
            measured_by=RequestStats.minute,
            counter="request_minutes_deleted",
        ),
        Delete(
            Notification,
            where=Notification.status == "sent",
            older_than=NOTICES,
            measured_by=Notification.sent_at,
            counter="notifications_deleted",
        ),
    ),
)
handler = lambda_handler(job)
