"""Delete cached metrics that have expired, and those computed more than 24 hours ago even if they have not.

Readers pass over expired entries by themselves, so deleting one never changes an answer.
"""

from application.models import CachedMetric
from nightshift import Delete, Job, Parameter, lambda_handler

MAX_AGE = Parameter("max_age_hours", 24, "hours", minimum=1)
# Entries live for minutes and this runs once a day, so on an ordinary night nearly all of them go.
MAX_SHARE = Parameter("max_share", 100, "percent", maximum=100, about="stop before deleting more of the cache")

job = Job(
    name="cache-cleanup",
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    parameters=(MAX_SHARE,),
    steps=(
        Delete(
            CachedMetric,
            name="delete-expired",
            where=lambda run: CachedMetric.expires_at <= run.now,
            measured_by=CachedMetric.expires_at,
        ),
        Delete(
            CachedMetric,
            name="delete-too-old",
            where=lambda run: CachedMetric.expires_at > run.now,
            older_than=MAX_AGE,
            measured_by=CachedMetric.calculated_at,
        ),
    ),
)
handler = lambda_handler(job)
