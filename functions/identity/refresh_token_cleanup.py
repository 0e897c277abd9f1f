"""Delete refresh tokens that have expired.

Thirty days is the lifetime a token is given when it is issued; after it nothing is kept, unless `retain_expired` says
so. A token that was revoked or replaced stays until it expires: its reuse is how a stolen one is noticed.
"""

from application.models import AuthToken
from nightshift import Delete, Job, Parameter, lambda_handler

RETAIN_EXPIRED = Parameter("retain_expired", 0, "days", minimum=0, about="keep tokens this long after they expire")

job = Job(
    name="refresh-token-cleanup",
    kind="retention",
    schedule="cron(0 * * * ? *)",
    steps=(
        Delete(
            AuthToken,
            where=AuthToken.kind == "refresh",
            older_than=RETAIN_EXPIRED,
            measured_by=AuthToken.expires_at,
        ),
    ),
)
handler = lambda_handler(job)
