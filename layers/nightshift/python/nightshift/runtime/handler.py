"""The Lambda side of a job: event → claim → run → settle → result. Every job uses the same wrapper."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift import ledger, telemetry
from nightshift.database import DatabaseSettings, describe, session_for
from nightshift.deadline import Deadline
from nightshift.declaration import Job, iso
from nightshift.declaration.parameters import from_environment
from nightshift.declaration.step import CUTOFF
from nightshift.engine import Resources, RunExecution, carry_out
from nightshift.environment import ENABLED_VARIABLE
from nightshift.errors import (
    EventError,
    Fenced,
    Interrupted,
    PermanentError,
    RunFailedError,
    SettingError,
    UnclaimedError,
)
from nightshift.ledger import Claim, Request, Standing
from nightshift.runtime.events import read_event

SECONDS_TO_RECORD_A_FAILURE = 5.0


class LambdaContext(Protocol):
    """The part of Lambda's context object that a job uses."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


Handler = Callable[[Any, LambdaContext], dict[str, Any]]


def lambda_handler(job: Job) -> Handler:
    """The function that Lambda calls for a job."""

    def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
        telemetry.logger().clear_state()
        telemetry.logger().append_keys(job=job.name, request_id=context.aws_request_id)
        try:
            return invoke(job, event, context)
        finally:
            telemetry.flush()

    handler.job = job  # type: ignore[attr-defined]  # the registry compares it with the file's own job
    return handler


def invoke(job: Job, event: Any, context: LambdaContext) -> dict[str, Any]:
    """One invocation. It also returns a result for a duplicate delivery, or for a run that another attempt works on.

    Raises:
        EventError, SettingError: the payload or a setting is refused; nothing was changed.
        RunFailedError: the attempt failed. Lambda retries an asynchronous invocation, and sends the last failure to
            the dead-letter queue.
    """
    if os.environ.get(ENABLED_VARIABLE) == "false":
        raise SettingError(f"job {job.name} is disabled in the deployment's settings; enable it there and deploy again")
    deadline = Deadline(lambda: context.get_remaining_time_in_millis() / 1000)
    try:
        request = read_event(job, event, request_id=context.aws_request_id, configured=from_environment())
        settings = DatabaseSettings.from_environment()
    except (EventError, SettingError) as refusal:
        telemetry.error("event.refused", reason=str(refusal))
        raise
    with _claimed(job, request, deadline, settings) as (session, granted):
        if isinstance(granted, Standing):
            telemetry.log("run.not_claimed", run_id=str(granted.run.id), state=granted.state, reason=granted.reason)
            if granted.state == "missed":
                telemetry.measure(OccurrencesMissed=1)
            if granted.state == "failed" and granted.last_request_id == context.aws_request_id:
                # This is Lambda's retry of the invocation that finally failed. It must fail too, to reach the queue.
                raise RunFailedError(f"{job.name}, run {granted.run.id}: {granted.reason}")
            return result(job, granted)
        telemetry.logger().append_keys(run_id=str(granted.run.id), epoch=granted.epoch)
        telemetry.log("run.claimed", scheduled_for=iso(granted.run.now), attempt=granted.attempt, mode=granted.run.mode)
        standing = _work(job, granted, session, deadline, settings)
    telemetry.log("run.finished", outcome=standing.state, duration_ms=standing.duration_ms, counters=standing.counters)
    return result(job, standing)


@contextmanager
def _claimed(
    job: Job, request: Request, deadline: Deadline, settings: DatabaseSettings
) -> Iterator[tuple[Session, Claim | Standing]]:
    """A session, and the ledger's answer to the request.

    Raises:
        UnclaimedError: the function cannot connect to the database, or the ledger is locked.
        EventError: the request names a run that does not exist.
    """
    with ExitStack() as stack:
        try:
            opened = session_for(settings, seconds=deadline.remaining, application_name=f"nightshift/{job.name}")
            session = stack.enter_context(opened)
            granted = ledger.claim(session, job.name, job.effective_policy, request, seconds=deadline.remaining)
        except (DBAPIError, OSError) as cause:
            telemetry.error("run.unclaimed", cause, reason=describe(cause))
            raise UnclaimedError(f"job {job.name} could not claim its run: {describe(cause)}") from None
        yield session, granted


def _work(job: Job, claim: Claim, session: Session, deadline: Deadline, settings: DatabaseSettings) -> Standing:
    execution = RunExecution(session, claim, deadline, telemetry.log, Resources())
    try:
        try:
            standing = carry_out(job, execution)
        except Interrupted:
            telemetry.measure(RunsInterrupted=1)
            standing = ledger.interrupt(session, claim, progressed=execution.progressed, critical=job.critical)
            if standing.state == "failed":
                telemetry.measure(RunsFailed=1)
                raise RunFailedError(f"{job.name}, run {claim.run.id}: {standing.reason}") from None
            return standing
        except Fenced:
            raise
        except Exception as cause:  # noqa: BLE001 - every failure is recorded, and raised again without its text
            _record_failure(job, claim, session, settings, cause)
            raise RunFailedError(f"{job.name}, run {claim.run.id}: {describe(cause)}") from None
    except Fenced as superseded:
        telemetry.warn("run.superseded", reason=str(superseded))
        session.close()
        with session_for(settings, seconds=SECONDS_TO_RECORD_A_FAILURE) as fresh:
            return ledger.standing(fresh, claim.run.id)
    telemetry.measure(
        RunsSucceeded=1,
        RowsChanged=job.changed(standing.counters),
        RowsQuarantined=standing.counters.get("quarantined", 0),
        RunSeconds=(standing.duration_ms or 0) / 1000,
    )
    return standing


def _record_failure(job: Job, claim: Claim, session: Session, settings: DatabaseSettings, cause: Exception) -> Standing:
    """Record the failure in the ledger, on a new connection: the attempt's own may be the cause of the failure."""
    reason = describe(cause)
    telemetry.error("run.attempt_failed", cause, reason=reason, attempt=claim.attempt, of=claim.max_attempts)
    session.close()
    with session_for(settings, seconds=SECONDS_TO_RECORD_A_FAILURE) as fresh:
        standing = ledger.fail_attempt(
            fresh, claim, reason, permanent=isinstance(cause, PermanentError), critical=job.critical
        )
    telemetry.measure(**{"RunsFailed" if standing.state == "failed" else "AttemptsFailed": 1})
    return standing


def result(job: Job, standing: Standing) -> dict[str, Any]:
    """What the function returns. Times are ISO 8601 in UTC with Z; durations are in milliseconds."""
    declared: dict[str, Any] = {name: standing.counters.get(name, 0) for name in job.counters}
    counters = declared | standing.counters  # what no job declares (rows that stay, cascades) where there is any
    answer = {
        "job": job.name,
        "run_id": str(standing.run.id),
        "scheduled_for": iso(standing.run.now),
        "outcome": standing.state,
        "duration_ms": standing.duration_ms,
        "counters": counters,
        "errors": standing.errors,
    }
    cutoff = job.cutoff(standing.run)
    if cutoff is not None:
        counters[CUTOFF] = cutoff
    if standing.reason is not None:
        answer["reason"] = standing.reason
    if standing.plan is not None:
        answer["plan"] = standing.plan
    return answer
