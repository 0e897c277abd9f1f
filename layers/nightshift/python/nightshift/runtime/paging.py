"""A handler that tells the operators when the database, and the outbox with it, cannot be reached."""

import datetime as dt
import os
from collections.abc import Callable
from typing import Any

from nightshift import telemetry
from nightshift.declaration import Job
from nightshift.environment import FILES_VARIABLE
from nightshift.errors import DatabaseAwayError, UnclaimedError
from nightshift.outbox import page
from nightshift.runtime.entry import LambdaContext
from nightshift.runtime.handler import lambda_handler
from nightshift.store import FileStore, FileStoreError

PAGED_KEY = "health/paged"
AGAIN_AFTER = dt.timedelta(minutes=5)
PATIENCE_SECONDS = 10.0
"""A database that is restarted is back by then, and nobody is called for it."""
TITLE = "The database does not answer"
BODY = (
    "Nightshift's health check cannot reach the database. No job can run until it answers; what is missed meanwhile is "
    "caught up afterwards.\n\nFirst: look at the database's own state and at its connections."
)


def paging_handler(job: Job) -> Callable[[Any, LambdaContext], dict[str, Any]]:
    """The handler of a job that pages past the outbox when the database does not answer; it needs files and operators.

    The failure goes on to Lambda all the same.
    """
    work = lambda_handler(job, patience=PATIENCE_SECONDS)

    def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
        try:
            return work(event, context)
        except (UnclaimedError, DatabaseAwayError):
            database_unreachable()
            raise

    return handler


def database_unreachable() -> None:
    """Log it as a metric, and page, unless that was done within the last five minutes: Lambda tries a check again."""
    telemetry.error("health.database_unreachable")
    telemetry.measure(DatabaseUnreachable=1)
    telemetry.flush()
    files = FileStore(os.environ[FILES_VARIABLE])
    if _paged_lately(files):
        return
    if not page(TITLE, BODY):
        return
    try:
        files.write(PAGED_KEY, b"", content_type="text/plain")
    except FileStoreError as error:
        telemetry.error("health.page_not_noted", reason=str(error))


def _paged_lately(files: FileStore) -> bool:
    """Without an answer from the file store: no. Paged twice is better than never."""
    now = dt.datetime.now(dt.UTC)  # no run has begun whose time could be asked
    try:
        pages = [found for page in files.pages(PAGED_KEY) for found in page]
    except FileStoreError:
        return False
    return any(now - found.modified_at < AGAIN_AFTER for found in pages)
