"""Put away what is to be kept, in the file store and as a snapshot of the database. Here it puts nothing away."""

from nightshift import Job, lambda_handler

from ..market._nothing import nothing

job = Job(
    name="store-room",
    kind="report",
    schedule="cron(0 4 ? * SUN *)",
    steps=(nothing,),
    needs=frozenset({"files", "snapshots"}),
)
handler = lambda_handler(job)
