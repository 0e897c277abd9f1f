"""The Lambda side of a job: event → claim → run → settle → result. Every job uses the same wrapper."""

import datetime as dt
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift import ledger, telemetry
from nightshift.database import DatabaseSettings, describe, sqlstate, still_answers
from nightshift.database.failures import READ_ONLY
from nightshift.deadline import Deadline
from nightshift.declaration import Job, Schedule, iso
from nightshift.declaration.parameters import from_environment
from nightshift.declaration.step import CUTOFF
from nightshift.declaration.windows import freeze_of, freezes_from
from nightshift.engine import HELD, SLOWED, Resources, RunExecution, carry_out, whole
from nightshift.environment import ENABLED_VARIABLE
from nightshift.errors import (
    DatabaseAwayError,
    EventError,
    Fenced,
    Held,
    Interrupted,
    PermanentError,
    RunFailedError,
    SettingError,
    UnclaimedError,
)
from nightshift.ledger import Claim, Request, Standing
from nightshift.ledger.claims import UNASKED
from nightshift.runtime.due import not_due
from nightshift.runtime.entry import LambdaContext, entry_point
from nightshift.runtime.events import read_event
from nightshift.runtime.reach import Reach

SECONDS_TO_END = 0.5
"""What is left of the invocation when it gives up on a database that is away, to say so."""


Handler = Callable[[Any, LambdaContext], dict[str, Any]]


def lambda_handler(job: Job, *, patience: float = math.inf) -> Handler:
    """The function that Lambda calls for a job. patience: see `invoke`."""

    @entry_point
    def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
        telemetry.logger().append_keys(job=job.name, request_id=context.aws_request_id)
        return invoke(job, event, context, patience=patience)

    handler.job = job  # type: ignore[attr-defined]  # the registry compares it with the file's own job
    return handler


def invoke(job: Job, event: Any, context: LambdaContext, *, patience: float = math.inf) -> dict[str, Any]:
    """One invocation. It also returns a result for a duplicate delivery, or for a run that another attempt works on.
    Whoever waits for the answer (`once`) finds `"already": true` in it: it tells what an earlier invocation did.

    `{"check": true}` asks for no run: it returns what the job would meet in its database.

    patience: for how many seconds it tries to reach a database that is away, before it has begun its run. Without it,
        until its own end is near.

    Raises:
        EventError, SettingError: the payload or a setting is refused; nothing was changed.
        RunFailedError: the attempt failed; a lost connection alone does not end it. Lambda retries an asynchronous
            invocation, and sends the last failure to the dead-letter queue. The final failure of a run that the
            supervisor has started is returned: the supervisor reports it.
    """
    deadline = Deadline(lambda: context.get_remaining_time_in_millis() / 1000)
    if isinstance(event, Mapping) and "check" in event:
        from nightshift.runtime.checking import check  # no run needs what finds it

        return check(job, event, deadline)
    if os.environ.get(ENABLED_VARIABLE) == "false":
        raise SettingError(f"job {job.name} is disabled in the deployment's settings; enable it there and deploy again")
    try:
        request = read_event(job, event, request_id=context.aws_request_id, configured=from_environment())
        if schedule := not_due(job, request):
            return _dropped(job, request, schedule)
        settings = DatabaseSettings.from_environment()
    except (EventError, SettingError) as refusal:
        telemetry.error("event.refused", reason=str(refusal))
        raise
    database = Reach(settings, deadline, f"nightshift/{job.name}")
    with _claimed(job, request, database, patience) as (session, granted):
        if isinstance(granted, Standing):
            telemetry.log("run.not_claimed", run_id=str(granted.run.id), state=granted.state, reason=granted.reason)
            if granted.state == "missed":
                telemetry.measure(OccurrencesMissed=1)
            if request.heard and granted.state == "failed" and granted.last_request_id == context.aws_request_id:
                # This is Lambda's retry of the invocation that finally failed. It must fail too, to reach the queue.
                raise RunFailedError(f"{job.name}, run {granted.run.id}: {granted.reason}")
            others = request.once and granted.last_request_id not in (None, context.aws_request_id)
            return result(job, granted) | ({"already": True} if others else {})
        telemetry.logger().append_keys(run_id=str(granted.run.id), epoch=granted.epoch)
        telemetry.log("run.claimed", scheduled_for=iso(granted.run.now), attempt=granted.attempt, mode=granted.run.mode)
        ended = _work(job, granted, session, deadline)
    while ended.lost and not deadline.near:
        ended = _go_on(job, ended, database, heard=request.heard)
    if request.once:  # whoever waits for the answer decides whether it is tried again
        ended = ended._replace(permanent=True)
    standing = _settled(job, ended, database, heard=request.heard)
    telemetry.log("run.finished", outcome=standing.state, duration_ms=standing.duration_ms, counters=standing.counters)
    return result(job, standing)


def _dropped(job: Job, request: Request, schedule: Schedule) -> dict[str, Any]:
    """An event of the job's rule that is no occurrence of the job."""
    assert request.scheduled_for is not None
    time, following = iso(request.scheduled_for), schedule.next_after(request.scheduled_for)
    due = following and iso(following)
    telemetry.log("occurrence.not_due", scheduled_for=time, schedule=str(schedule), next=due)
    reason = f"the rule fires whenever {schedule} can be; this is not that time"
    return {"job": job.name, "scheduled_for": time, "outcome": "not_due", "reason": reason, "next": due}


@contextmanager
def _claimed(
    job: Job, request: Request, database: Reach, patience: float
) -> Iterator[tuple[Session, Claim | Standing]]:
    """A session, and the ledger's answer to the request, as soon as there is one.

    Raises:
        UnclaimedError: the function could not connect to the database, or the ledger was locked, all the time.
        EventError: the request names a run that does not exist, or a person asks for a run within a freeze.
        SettingError: the deployment's freezes cannot be meant.
    """
    freeze = freeze_of(freezes_from(os.environ), job, dt.datetime.now(dt.UTC))
    frozen = None if freeze is None else str(freeze)
    if frozen is not None and request.run_id is None and request.trigger not in UNASKED and request.mode == "apply":
        raise EventError(f"job {job.name} is {frozen}. Nothing was changed; a plan can be made at any time")

    tried = ledger.Tried()

    def claim(session: Session) -> Claim | Standing:
        seconds = database.deadline.remaining
        policy = job.effective_policy
        return ledger.claim(session, job.name, policy, request, seconds=seconds, frozen=frozen, tried=tried)

    with ExitStack() as stack:
        try:
            begun = stack.enter_context(database.begun(claim, patience=patience))
        except (DBAPIError, OSError) as cause:
            telemetry.error("run.unclaimed", cause, reason=describe(cause))
            raise UnclaimedError(f"job {job.name} could not claim its run: {describe(cause)}") from None
        yield begun


class _Ended(NamedTuple):
    """How the work on one connection ended."""

    claim: Claim
    standing: Standing | None = None
    """How the run stands, where that is settled."""
    reason: str | None = None
    """Why it failed, or the connection was lost. Without it and without a standing: it was interrupted."""
    permanent: bool = False
    superseded: bool = False
    lost: bool = False
    progressed: bool = False
    held: str | None = None
    """What it waited for when it was interrupted."""


def _work(job: Job, claim: Claim, session: Session, deadline: Deadline) -> _Ended:
    execution = RunExecution(session, claim, deadline, telemetry.log, Resources())
    try:
        return _Ended(claim, carry_out(job, execution))
    except Interrupted as stop:
        return _Ended(claim, progressed=execution.progressed, held=str(stop) if isinstance(stop, Held) else None)
    except Fenced as superseded:
        telemetry.warn("run.superseded", reason=str(superseded))
        return _Ended(claim, superseded=True)
    except Exception as cause:  # noqa: BLE001 - every failure is recorded, and raised again without its text
        reason, permanent = describe(cause), isinstance(cause, PermanentError)
        if sqlstate(cause) == READ_ONLY or not still_answers(session):
            telemetry.error("run.connection_lost", cause, reason=reason)
            return _Ended(claim, reason=reason, lost=True, progressed=execution.progressed)
        telemetry.error("run.attempt_failed", cause, reason=reason, attempt=claim.attempt, of=claim.max_attempts)
        return _Ended(claim, reason=reason, permanent=permanent)
    finally:
        execution.pacing.tell()
        for name, kind in (("HeldSeconds", HELD), ("SlowedSeconds", SLOWED)):
            if seconds := whole(execution.pacing.spent, kind):
                telemetry.measure(**{name: seconds})


def _go_on(job: Job, lost: _Ended, database: Reach, *, heard: bool) -> _Ended:
    """Connect again as long as there is time, claim the run again, and go on with it."""
    tried = ledger.Tried()

    def work(session: Session) -> _Ended:
        granted = ledger.claim_again(
            session,
            lost.claim,
            str(lost.reason),
            progressed=lost.progressed,
            critical=job.critical,
            reported=heard,
            seconds=database.deadline.remaining,
            tried=tried,
        )
        if isinstance(granted, Standing):
            return _Ended(lost.claim, granted)
        telemetry.logger().append_keys(epoch=granted.epoch)
        telemetry.log("run.claimed_again", attempt=granted.attempt, reason=lost.reason)
        return _work(job, granted, session, database.deadline)

    try:
        return database.again(work, spare=database.deadline.reserve)
    except Fenced as superseded:
        telemetry.warn("run.superseded", reason=str(superseded))
        return _Ended(lost.claim, superseded=True)
    except (DBAPIError, OSError) as cause:
        # The first reason is the one to be told: those after it say only that the database is still away.
        telemetry.error("run.not_claimed_again", cause, reason=describe(cause))
        return lost._replace(lost=False)


def _settled(job: Job, ended: _Ended, database: Reach, *, heard: bool) -> Standing:
    """Write down how the attempt ended, as far as that is not done yet, however long the database is away.

    heard: somebody hears of an error that is raised. Otherwise a final failure is returned, and the supervisor reports
        it; Lambda would do so as well, minutes later.

    Raises:
        RunFailedError: the attempt failed.
    """
    try:
        try:
            standing = ended.standing or database.again(
                lambda session: _settle(job, ended, session, heard), spare=SECONDS_TO_END
            )
        except Fenced as superseded:
            # By another attempt, or by the same words of this one, whose answer was lost.
            telemetry.warn("run.superseded", reason=str(superseded))
            ended = ended._replace(superseded=True)
            standing = database.again(lambda session: _settle(job, ended, session, heard), spare=SECONDS_TO_END)
    except (DBAPIError, OSError) as cause:
        told = ended.reason or "out of time"
        telemetry.error("run.unsettled", cause, reason=told, database=describe(cause))
        raise DatabaseAwayError(
            f"{job.name}, run {ended.claim.run.id}: {told}; this could not be written down: {describe(cause)}"
        ) from None
    if not ended.superseded:
        _measure(job, standing)
    if standing.state == "retrying" or (standing.state == "failed" and heard):
        raise RunFailedError(f"{job.name}, run {ended.claim.run.id}: {ended.reason or standing.reason}")
    return standing


def _settle(job: Job, ended: _Ended, session: Session, heard: bool) -> Standing:
    claim, told = ended.claim, {"critical": job.critical, "reported": heard}
    if ended.superseded:
        return ledger.standing(session, claim.run.id)
    if ended.reason is not None:
        return ledger.fail_attempt(session, claim, ended.reason, permanent=ended.permanent, **told)
    late_limit = job.effective_policy.late_limit
    return ledger.interrupt(session, claim, progressed=ended.progressed, held=ended.held, late_limit=late_limit, **told)


def _measure(job: Job, standing: Standing) -> None:
    match standing.state:
        case "failed":
            telemetry.measure(RunsFailed=1)
        case "retrying":
            telemetry.measure(AttemptsFailed=1)
        case "interrupted":
            telemetry.measure(RunsInterrupted=1)
        case _:
            telemetry.measure(
                RunsSucceeded=1,
                RowsChanged=job.changed(standing.counters),
                RowsQuarantined=standing.counters.get("quarantined", 0),
                RunSeconds=(standing.duration_ms or 0) / 1000,
            )


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
    if standing.notes:
        answer["notes"] = list(standing.notes)
    if standing.plan is not None:
        answer["plan"] = standing.plan
    return answer
