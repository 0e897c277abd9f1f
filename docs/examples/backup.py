"""Back the database up every night: every table that the role may read, to the file store, read back afterwards.

Where the database is one of RDS, a snapshot is begun as well. Kept are 7 daily backups and 4 of Sundays; the last good
one stays whatever its age. `nightshift backup restore` brings one back; with `--drill` it only tries, which is due
once a month.
"""

from nightshift import Job, Policy, lambda_handler
from nightshift.steps import Backup

job = Job(
    name="backup",
    kind="report",  # like one, it writes down how things are, also when nothing has happened
    policy=Policy(overlap="skip", missed="latest"),
    schedule="cron(30 1 * * ? *)",
    needs=frozenset({"files", "snapshots"}),
    critical=True,
    audited=False,  # it reads the application's rows and changes none
    memory_mb=1024,  # compression is paid by the processor's share, which comes with the memory
    steps=Backup.parts(),
)
handler = lambda_handler(job)
