"""Delete password reset tokens that have expired or were used.

Afterwards a used link is an unknown one: the application must answer both alike, and count its rate limit elsewhere.
"""

from functions.identity._one_time_tokens import delete_used_or_expired
from nightshift import Job, lambda_handler

job = Job(
    name="password-reset-cleanup",
    kind="retention",
    schedule="cron(10 * * * ? *)",
    steps=delete_used_or_expired("password_reset"),
)
handler = lambda_handler(job)
