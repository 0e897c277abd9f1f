"""Close administrators' invitations and API keys that have expired; delete closed ones after 30 days, and spent tokens.

Invitations count from their creation, keys from the end of their use. Deletions come before closings, so a key closed
now stays 30 days more. Tokens are those no other cleanup owns: access deny-lists and MFA challenges.
"""

from sqlalchemy import func

from application.models import ApiKey, AuthToken, Invitation
from nightshift import Delete, Job, Parameter, Update, lambda_handler

RETENTION = Parameter("retention_days", 30, "days", minimum=7, about="how long closed invitations and keys are kept")

of_admins = Invitation.kind == "admin"
pending = Invitation.status == "pending"

job = Job(
    name="token-cleanup",
    kind="retention",
    schedule="cron(0 3 * * ? *)",
    critical=True,
    steps=(
        Delete(
            Invitation,
            where=of_admins & ~pending,
            older_than=RETENTION,
            measured_by=Invitation.created_at,
            counter="invitations_deleted",
        ),
        Delete(
            ApiKey,
            where=~ApiKey.is_active,
            older_than=RETENTION,
            measured_by=func.coalesce(ApiKey.revoked_at, ApiKey.expires_at),
            counter="keys_deleted",
        ),
        Delete(
            AuthToken,
            where=lambda run: (
                AuthToken.kind.in_(("access_denylist", "mfa_challenge")) & (AuthToken.expires_at < run.now)
            ),
            measured_by=AuthToken.expires_at,
            counter="tokens_deleted",
        ),
        Update(
            Invitation,
            where=lambda run: of_admins & pending & (Invitation.expires_at < run.now),
            measured_by=Invitation.expires_at,
            set={Invitation.status: "expired"},
            counter="invitations_expired",
        ),
        Update(
            ApiKey,
            where=lambda run: ApiKey.is_active & (ApiKey.expires_at < run.now),
            measured_by=ApiKey.expires_at,
            set=lambda run: {ApiKey.is_active: False, ApiKey.revoked_at: run.now, ApiKey.revoke_reason: "expired"},
            counter="keys_expired",
        ),
    ),
)
handler = lambda_handler(job)
