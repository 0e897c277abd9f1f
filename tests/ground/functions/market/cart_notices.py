"""Tell people of the carts that they have left, each quarter of an hour. Here it tells nobody."""

from nightshift import Job, lambda_handler

from ._nothing import nothing

job = Job(name="cart-notices", kind="notification", schedule="cron(0/15 * * * ? *)", steps=(nothing,))
handler = lambda_handler(job)
