"""Delete push tokens of devices that have not been heard of for 90 days.

A token that was never used counts from its registration. A device that comes back registers again.
"""

from sqlalchemy import func

from application.models import PushToken
from nightshift import Delete, Job, Parameter, lambda_handler

RETENTION = Parameter("retention_days", 90, "days", minimum=30)

job = Job(
    name="cleanup-push-tokens",
    kind="retention",
    schedule="cron(30 2 * * ? *)",
    steps=(
        Delete(
            PushToken,
            older_than=RETENTION,
            measured_by=func.coalesce(PushToken.last_used_at, PushToken.created_at),
        ),
    ),
)
handler = lambda_handler(job)
