"""Report yesterday to the administrators: users, sessions, security, API keys, activity and failed jobs.

Yesterday is the day before the run's, in UTC. What has no history, like the number of users, is told as of the run.
"""

from functions.administration.reports import daily
from functions.administration.reports.step import WriteReport
from nightshift import Job, lambda_handler
from nightshift.steps import last_day

job = Job(
    name="daily-report",
    kind="report",
    schedule="cron(0 1 * * ? *)",
    needs=frozenset({"files"}),
    folders=("reports/",),
    audited=False,
    steps=(
        WriteReport(
            kind="daily",
            period=last_day,
            figures=daily.figures,
            counting={
                "activities": ("activity", "total"),
                "active_sessions": ("sessions", "active"),
                "security_events": ("security", "events"),
            },
        ),
    ),
)
handler = lambda_handler(job)
