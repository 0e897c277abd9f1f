"""Delete login attempts older than 7 days, failed and successful alike.

They hold addresses and serve lockouts that look back minutes. What looks back further reads the audit log.
"""

from application.models import LoginAttempt
from nightshift import Delete, Job, Parameter, lambda_handler

RETENTION = Parameter("retention_days", 7, "days", minimum=1)

job = Job(
    name="login-attempt-cleanup",
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    steps=(Delete(LoginAttempt, older_than=RETENTION, measured_by=LoginAttempt.attempted_at),),
)
handler = lambda_handler(job)
