"""Delete project invitations that nobody answered within 30 days.

The invited address is personal data of somebody who never became a user: deleting it is the point. Accepted and
declined invitations stay; invitations of administrators belong to token-cleanup.
"""

from application.models import Invitation
from nightshift import Delete, Job, Parameter, lambda_handler

RETENTION = Parameter("retention_days", 30, "days", minimum=7)

job = Job(
    name="cleanup-invitations",
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    steps=(
        Delete(
            Invitation,
            where=(Invitation.kind == "project")
            & (Invitation.status == "pending")
            & Invitation.accepted_at.is_(None)
            & Invitation.declined_at.is_(None),
            older_than=RETENTION,
            measured_by=Invitation.created_at,
        ),
    ),
)
handler = lambda_handler(job)
