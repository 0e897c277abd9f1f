"""Report to the administrators whether last month kept the rules: access, accounts, requests, retention, backups.

Each rule is a check with the numbers it was judged by; the score is the share that passed.
"""

from functions.administration.reports import monthly
from functions.administration.reports.step import WriteReport
from nightshift import Job, lambda_handler
from nightshift.steps import last_month

job = Job(
    name="monthly-report",
    kind="report",
    schedule="cron(30 2 1 * ? *)",
    needs=frozenset({"files"}),
    folders=("reports/",),
    audited=False,
    steps=(
        WriteReport(
            kind="monthly",
            period=last_month,
            figures=monthly.figures,
            counting={"checks": ("compliance", "checks"), "failed_checks": ("compliance", "failed")},
        ),
    ),
)
handler = lambda_handler(job)
