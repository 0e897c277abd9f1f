"""Add up what was taken in a day, for each day. Here it adds nothing up."""

from nightshift import Job, lambda_handler

from ..market._nothing import nothing

job = Job(
    name="daily-takings", kind="rollup", schedule="cron(0 3 * * ? *)", steps=(nothing,), needs=frozenset({"keys"})
)
handler = lambda_handler(job)
