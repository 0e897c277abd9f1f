"""Delete lines that were taken out of a cart more than a week ago."""

from nightshift import Delete, Job, days, lambda_handler

from ._tables import CartItem

job = Job(
    name="removed-items",
    kind="retention",
    schedule="cron(30 2 * * ? *)",
    steps=(
        Delete(
            CartItem,
            where=CartItem.removed_at.is_not(None),
            older_than=days(7),
            measured_by=CartItem.removed_at,
        ),
    ),
    audited=False,
)
handler = lambda_handler(job)
