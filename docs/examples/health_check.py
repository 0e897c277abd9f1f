"""Look at the database, the outbox, the jobs and the file store, and tell the operators of what is bad twice running.

Checks are kept for 30 days. When the database does not answer there is nowhere to write: then a metric is logged and
the operators are paged at once, at most every five minutes. Add what matters to your application as `measures`.
"""

from nightshift import Delete, Job, Parameter
from nightshift.runtime import paging_handler
from nightshift.steps import HealthCheck
from nightshift.steps.tables import HealthRecord

RETENTION = Parameter("retention_days", 30, "days", minimum=2, about="health checks")

job = Job(
    name="health-check",
    kind="check",
    schedule="cron(0/5 * * * ? *)",
    needs=frozenset({"files", "operators", "deployment"}),
    critical=True,
    audited=False,
    steps=(
        HealthCheck(),
        Delete(HealthRecord, older_than=RETENTION, measured_by=HealthRecord.checked_at),
    ),
)
handler = paging_handler(job)
