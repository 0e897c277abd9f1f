"""End login sessions that are past their time or idle for 30 days, and delete those that ended 90 days ago.

A session that is both counts as expired. An active session is never deleted, however old it is.
"""

from application.models import UserSession
from nightshift import Delete, Job, Parameter, Update, lambda_handler

IDLE = Parameter("idle_days", 30, "days", minimum=1, about="end active sessions without activity for this long")
RETENTION = Parameter("retention_days", 90, "days", minimum=14, about="keep sessions this long after their end")

active = UserSession.status == "active"
ended = UserSession.status != "active"

job = Job(
    name="session-cleanup",
    kind="retention",
    schedule="cron(0 0/6 * * ? *)",
    steps=(
        Update(
            UserSession,
            name="end-expired",
            where=lambda run: active & (UserSession.expires_at < run.now),
            measured_by=UserSession.expires_at,
            set=lambda run: {
                UserSession.status: "expired",
                UserSession.terminated_at: run.now,
                UserSession.termination_reason: "expired",
            },
            counter="expired",
        ),
        Update(
            UserSession,
            name="end-inactive",
            where=lambda run: active & (UserSession.expires_at >= run.now),
            older_than=IDLE,
            measured_by=UserSession.last_activity_at,
            set=lambda run: {
                UserSession.status: "expired",
                UserSession.terminated_at: run.now,
                UserSession.termination_reason: "inactive",
            },
            counter="inactive",
        ),
        Delete(
            UserSession,
            name="delete-ended",
            where=ended,
            older_than=RETENTION,
            measured_by=UserSession.terminated_at,
        ),
        Delete(
            UserSession,
            name="delete-ended-at-an-unknown-time",
            where=ended & UserSession.terminated_at.is_(None),
            older_than=RETENTION,
            measured_by=UserSession.expires_at,
        ),
    ),
)
handler = lambda_handler(job)
