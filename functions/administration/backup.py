"""Back the database up: a snapshot by RDS where there is one, and an export of every table to the file store.

The export is read back before it counts as good. Kept are 7 daily ones, 4 of Sundays, and, if wanted, some of the 1st;
the longest time wins, and the last good one stays whatever its age. Snapshots are started and looked after by the next
runs. `nightshift backup restore` brings an export back; with `--drill` it only tries, which is due once a month.
"""

from sqlalchemy.orm import Session

from functions.administration.backups.expiry import expire, plan_expiry
from functions.administration.backups.export import export_tables, plan_export
from functions.administration.backups.rows import BACKUPS, KEEP_DAILY, KEEP_MONTHLY, KEEP_WEEKLY
from functions.administration.backups.snapshots import take_snapshot
from functions.administration.backups.verification import verify
from nightshift import Function, Job, Policy, Run, StepPlan, lambda_handler


def no_plan(_session: Session, _run: Run) -> list[StepPlan]:
    """The step changes nothing of the application's, and what it will find is not known before."""
    return []


job = Job(
    name="backup",
    kind="report",  # like one, it writes down how things are, also when nothing has happened
    policy=Policy(overlap="skip", missed="latest"),
    schedule="cron(30 1 * * ? *)",
    needs=frozenset({"files", "snapshots"}),
    critical=True,
    audited=False,  # it reads the application's rows and changes none
    memory_mb=1024,  # compression is paid by the processor's share, which comes with the memory
    parameters=(KEEP_DAILY, KEEP_WEEKLY, KEEP_MONTHLY),
    steps=(
        Function(name="snapshot", apply=take_snapshot, plan=no_plan, counters=(), tables=(BACKUPS,)),
        Function(
            name="export",
            apply=export_tables,
            plan=plan_export,
            counters=("tables", "rows", "bytes"),
            changes=("tables",),
            tables=(BACKUPS,),
        ),
        Function(name="verify", apply=verify, plan=no_plan, counters=("verified",), tables=(BACKUPS,)),
        Function(
            name="expire",
            apply=expire,
            plan=plan_expiry,
            counters=("expired_deleted",),
            changes=("expired_deleted",),
            tables=(BACKUPS,),
            destructive=True,
        ),
    ),
)
handler = lambda_handler(job)
