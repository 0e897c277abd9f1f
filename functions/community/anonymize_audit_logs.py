"""Anonymise audit rows older than one year; what is on legal hold stays as it is.

Who it was goes: actor, session, address and user agent, the personal keys at any depth of metadata and changes, and
every e-mail address in a text. What happened stays: action, time, country, counts. A row is done once.
"""

from sqlalchemy import func

from application.models import AuditLog
from nightshift import Count, Job, Parameter, Update, lambda_handler

RETENTION = Parameter("retention_years", 1, "years", minimum=1)

redact = func.nightshift.redact
mask_emails = func.nightshift.mask_emails

job = Job(
    name="anonymize-audit-logs",
    kind="retention",
    schedule="cron(0 3 * * ? *)",
    critical=True,
    steps=(
        Update(
            AuditLog,
            where=AuditLog.anonymized_at.is_(None) & AuditLog.legal_hold.is_(False),
            older_than=RETENTION,
            measured_by=AuditLog.occurred_at,
            set=lambda run: {
                AuditLog.actor_id: None,
                AuditLog.session_id: None,
                AuditLog.ip: None,
                AuditLog.user_agent: None,
                AuditLog.resource_id: mask_emails(AuditLog.resource_id),
                AuditLog.metadata_: redact(AuditLog.metadata_),
                AuditLog.changes: redact(AuditLog.changes),
                AuditLog.anonymized_at: run.now,
            },
            irreversible=True,
            counter="anonymized",
            counting={
                "metadata_sanitized": (redact(AuditLog.metadata_) != AuditLog.metadata_)
                | (redact(AuditLog.changes) != AuditLog.changes)
            },
        ),
        Count(
            AuditLog,
            where=AuditLog.anonymized_at.is_(None) & AuditLog.legal_hold.is_(True),
            older_than=RETENTION,
            measured_by=AuditLog.occurred_at,
            counter="held",
        ),
    ),
)
handler = lambda_handler(job)
