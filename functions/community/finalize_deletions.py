"""Erase people who asked for it 30 days ago: anonymised by default, deleted with all their work if they chose that.

One transaction a request; what becomes of each table is in `application.erasure`. Files made for the person's export
requests, everything under `exports/<request id>/`, go first. The last super-admin and people under a legal hold are
blocked, and somebody is alerted; an operator sets the request back to PENDING when the obstacle is gone.
"""

import uuid
from collections.abc import Sequence

from sqlalchemy import Text, cast, literal, select, tuple_
from sqlalchemy.exc import DBAPIError

from application.erasure import Quotes
from application.erasure.quotes import find
from application.erasure.rules import TABLES
from application.models import DataRequest, User
from functions.community._deletion_requests import delete_exports, put_off, settle
from functions.community._due_deletions import GRACE, Request, due, plan
from nightshift import Function, Job, Run, lambda_handler
from nightshift.database import by_halves, describe, is_passing, savepoint, sqlstate
from nightshift.database.halving import DATA_ERRORS
from nightshift.declaration import Batch, Execution
from nightshift.store import FileStoreError

REQUESTS_AT_ONCE = 500
"""For how many the audit log is read at once, in search of their addresses."""

WHAT_LOCKED_IS = "locked: somebody else had so many requests, or what belongs to them; the next run takes them up"

LOCK_SECONDS = 1
"""How long a request waits for somebody else who is at the account, or at a row that goes with it."""

OUT_OF_TIME = "57014"
"""The state of a statement that was cancelled, because the invocation is about to end."""


def next_requests(execution: Execution) -> Sequence[Request]:
    requests = due(execution.run)
    if (place := execution.position) is not None:
        # A request that was put off is still due, but not in this run.
        at = cast(literal(place["requested_at"], Text), DataRequest.requested_at.type)
        requests = requests.where(
            tuple_(DataRequest.requested_at, DataRequest.id) > tuple_(at, literal(uuid.UUID(place["id"])))
        )
    with execution.session.begin():
        return execution.session.execute(requests.limit(REQUESTS_AT_ONCE)).all()


def look_for_quotes(execution: Execution, requests: Sequence[Request]) -> Quotes:
    users = [request.user_id for request in requests]
    with execution.session.begin():
        addresses = execution.session.scalars(select(User.email).where(User.id.in_(users))).all()
        return find(execution.session, addresses, at=execution.run.now)


def finalize(execution: Execution) -> None:
    while requests := next_requests(execution):
        execution.stop_if_late()
        quotes = look_for_quotes(execution, requests)
        for request in requests:
            finalize_one(execution, request, quotes)


def finalize_one(execution: Execution, request: Request, quotes: Quotes) -> None:
    execution.stop_if_late()
    failure = None
    try:
        delete_exports(execution.session, execution.resources.files, request.user_id)
    except FileStoreError as error:
        failure = describe(error)
    with execution.batch(lock_seconds=LOCK_SECONDS) as batch:
        batch.position = {"requested_at": str(request.requested_at), "id": str(request.id)}
        pending = select(DataRequest.id).where(DataRequest.id == request.id, DataRequest.status == "PENDING")
        if batch.session.scalar(pending.with_for_update(skip_locked=True)) is None:
            if batch.session.scalar(pending) is not None:
                batch.leave_locked(WHAT_LOCKED_IS)
            return  # else it was taken back a moment ago
        if failure is None:
            try:
                with savepoint(batch.session):
                    outcome = settle(batch.session, execution.run, request.id, quotes, batch.quarantine)
                batch.count(**{outcome: 1})
            except DBAPIError as error:
                if sqlstate(error) is None or (sqlstate(error) == OUT_OF_TIME and is_passing(error)):
                    raise
                if is_passing(error):  # a lock or a deadlock
                    batch.leave_locked(WHAT_LOCKED_IS)
                    return
                failure = describe(error)
            except DATA_ERRORS as error:
                failure = type(error).__name__  # its text may quote the person's data
        batch.count(requests=1)
        if failure is not None:
            batch.count(errors=1)
            batch.quarantine(f"data_requests:{request.id}", failure)
            note_failure(batch, execution.run, request.id, failure)


def note_failure(batch: Batch, run: Run, request_id: uuid.UUID, failure: str) -> None:
    """With the request, unless that is what the database refuses: then the run alone tells it."""

    def note(ids: Sequence[uuid.UUID]) -> None:
        put_off(batch.session, run, ids[0], failure, batch.quarantine)

    def leave(_: uuid.UUID, error: str) -> None:
        batch.note(f"data_requests:{request_id}: its failure cannot be noted with it: {error}")

    by_halves(batch.session, [request_id], note, leave)


OUTCOMES = ("anonymized", "deleted", "already_gone", "blocked")

job = Job(
    name="finalize-deletions",
    kind="retention",
    schedule="cron(30 4 * * ? *)",
    needs=frozenset({"application_files"}),
    critical=True,
    steps=(
        Function(
            name="finalize",
            apply=finalize,
            plan=plan,
            counters=("requests", *OUTCOMES, "errors"),
            changes=OUTCOMES,
            parameters=(GRACE,),
            tables=TABLES,
            destructive=True,
        ),
    ),
)
handler = lambda_handler(job)
