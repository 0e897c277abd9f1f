"""Delete carts that nobody has touched for 30 days, with their lines.

What was paid for is an order, and stands elsewhere.
"""

from nightshift import Delete, Job, Parameter, lambda_handler

from ._tables import Cart

RETENTION = Parameter("retention_days", 30, "days", minimum=7)

job = Job(
    name="abandoned-carts",
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    steps=(Delete(Cart, older_than=RETENTION, measured_by=Cart.updated_at),),
)
handler = lambda_handler(job)
