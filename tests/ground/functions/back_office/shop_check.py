"""Look whether the shop is open, each quarter of an hour, and page when it is not. Here it looks at nothing."""

from nightshift import Job, lambda_handler

from ..market._nothing import nothing

job = Job(
    name="shop-check",
    kind="check",
    schedule="cron(0/15 * * * ? *)",
    steps=(nothing,),
    needs=frozenset({"operators", "deployment"}),
    critical=True,
)
handler = lambda_handler(job)
