"""Delete e-mail verification tokens that have expired or were used.

The user's `email_verified_at` holds the fact that outlives the token. Users who never verified are not deleted.
"""

from functions.identity._one_time_tokens import delete_used_or_expired
from nightshift import Job, lambda_handler

job = Job(
    name="email-verification-cleanup",
    kind="retention",
    schedule="cron(5 * * * ? *)",
    steps=delete_used_or_expired("email_verification"),
)
handler = lambda_handler(job)
