"""Back the database up: a snapshot by RDS where there is one, and an export of every table to the file store.

The export is read back before it counts as good. Kept are 7 daily ones, 4 of Sundays, and, if wanted, some of the 1st;
the longest time wins, and the last good one stays whatever its age. Snapshots are started and looked after by the next
runs. `nightshift backup restore` brings an export back; with `--drill` it only tries, which is due once a month.
"""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from application import alerts
from nightshift import Job, Policy, Run, lambda_handler
from nightshift.steps import Backup

ALERT = "backup-snapshot"


def alert(session: Session, run: Run, problems: Sequence[tuple[str, str]]) -> None:
    """Snapshots that failed are an open alert, until a run finds all in order."""
    if problems:
        details = {"subject": "snapshots of RDS", "reason": problems[-1][1]}
        alerts.sight(session, rule=ALERT, subject="rds", severity="critical", details=details, at=run.now)
    else:
        alerts.resolve(session, rule=ALERT, quiet_since=run.now, at=run.now)


job = Job(
    name="backup",
    kind="report",  # like one, it writes down how things are, also when nothing has happened
    policy=Policy(overlap="skip", missed="latest"),
    schedule="cron(30 1 * * ? *)",
    needs=frozenset({"files", "snapshots"}),
    critical=True,
    audited=False,  # it reads the application's rows and changes none
    memory_mb=1024,  # compression is paid by the processor's share, which comes with the memory
    steps=Backup.parts(problems=alert),
)
handler = lambda_handler(job)
