"""How far an operator may turn the example's jobs. A floor is a promise: to lower one is a decision, not a slip."""

from functions.administration.audit.archive import ARCHIVE_AFTER
from functions.community.delete_audit_logs import RETENTION
from nightshift.declaration import MAX_ROWS, MAX_SHARE, UNINDEXED_ROWS, registry

EVERY_JOBS_OWN = {MAX_ROWS.name, MAX_SHARE.name, UNINDEXED_ROWS.name}

LIMITS = {
    "anonymize-audit-logs retention_years": (1, None),
    "audit-log-cleanup audit_archive_after_days": (365, None),
    "backup keep_daily": (1, 35),
    "backup keep_monthly": (0, 120),
    "backup keep_weekly": (0, 5),
    "cache-cleanup max_age_hours": (1, None),
    "cleanup-invitations retention_days": (7, None),
    "cleanup-orphaned-files retention_days": (7, None),
    "cleanup-push-tokens retention_days": (30, None),
    "data-cleanup analytics_retention_days": (365, None),
    "data-cleanup cleanup_interval_days": (62, 364),
    "data-cleanup notification_retention_days": (31, None),
    "data-cleanup request_retention_days": (2, None),
    "data-cleanup use_retention_days": (62, None),
    "delete-audit-logs retention_years": (2, None),
    "finalize-deletions grace_days": (7, None),
    "health-check retention_days": (2, None),
    "login-attempt-cleanup retention_days": (1, None),
    "performance-monitor daily_retention_years": (1, None),
    "performance-monitor hourly_retention_days": (7, None),
    "performance-monitor samples_retention_days": (1, None),
    "refresh-token-cleanup retain_expired": (0, None),
    "reminder-generation lead_days": (1, 180),
    "session-cleanup idle_days": (1, None),
    "session-cleanup retention_days": (14, None),
    "subscription-lifecycle cancel_after_days": (1, None),
    "subscription-lifecycle pay_within_hours": (1, None),
    "subscription-lifecycle suspend_after_days": (1, None),
    "subscription-lifecycle unused_after_days": (7, None),
    "summary-regeneration look_back_days": (1, None),
    "summary-regeneration summaries_a_run": (1, 10_000),
    "token-cleanup retention_days": (7, None),
}
"""The floor and the ceiling in code of every parameter that is a job's own."""


def test_no_floor_and_no_ceiling_moves_by_itself() -> None:
    assert {
        f"{name} {parameter.name}": (parameter.minimum, parameter.maximum)
        for name, found in registry().items()
        for parameter in found.job.all_parameters
        if parameter.name not in EVERY_JOBS_OWN
    } == LIMITS


def test_no_audit_row_goes_before_it_could_be_archived() -> None:
    """Archives are made month by month, of rows that are past their age by default."""
    assert ARCHIVE_AFTER.default is not None
    assert RETENTION.minimum * 365 > ARCHIVE_AFTER.default + 31
