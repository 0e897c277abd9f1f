"""How a run ends, and how an ended run is opened again."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.database import describe
from nightshift.declaration import this_project
from nightshift.errors import EventError, printable
from nightshift.ledger.claims import UNASKED, Claim, open_again, own
from nightshift.ledger.runs import ERRORS_KEPT, NOTES_KEPT, Standing, database_clock, end_attempt
from nightshift.ledger.tables import OPEN_STATES, RunRecord


def fail(
    session: Session, record: RunRecord, clock: dt.datetime, reason: str, *, critical: bool, reported: bool = False
) -> None:
    """Settle a run as failed. If the job is critical, tell the project.

    reported: the caller raises the failure to somebody who hears it. Otherwise the supervisor reports it.
    """
    record.state, record.reason, record.finished_at, record.lease_until = "failed", reason, clock, None
    record.reported_at = clock if reported else None
    record.told_at = record.recovered_at = None
    failures = this_project().failures() if critical else None
    if failures is None:
        return
    try:
        with session.begin_nested():
            failures.note(session, record.job, record.id, reason, clock)
    except Exception as cause:  # noqa: BLE001 - the project's own code: whatever it raises, the run has failed
        telemetry.error("failure.not_noted", cause, job=record.job, run_id=str(record.id), reason=describe(cause))


def finish(
    session: Session,
    claim: Claim,
    *,
    counters: Mapping[str, int],
    errors: Sequence[str] = (),
    plan: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Standing:
    """Settle the run as succeeded (or planned), inside the caller's transaction.

    Raises:
        Fenced: another attempt has taken the run over.
    """
    record, clock = own(session, claim)
    record.state = "planned" if claim.run.mode == "plan" else "succeeded"
    record.counters, record.errors = dict(counters), list(errors)[:ERRORS_KEPT]
    record.notes = list(notes)[:NOTES_KEPT]
    record.plan = dict(plan) if plan is not None else None
    record.finished_at, record.lease_until, record.position = clock, None, None
    _calm(record)
    end_attempt(session, record, clock, "finished")
    session.flush()
    return Standing.of(record)


def interrupt(
    session: Session,
    claim: Claim,
    *,
    progressed: bool,
    critical: bool,
    reported: bool = False,
    held: str | None = None,
    late_limit: dt.timedelta | None = None,
) -> Standing:
    """Give the run back before the deadline. An interruption is not a failure: the attempt is not counted.

    progressed: the attempt has committed a batch. One that has not is counted, and after the last one the run is
        failed: it would go on without an end.
    held: what the attempt waited for. It is not counted then: that it did nothing is not its fault.
    late_limit: a scheduled run that was held, has done nothing yet, and is later than this is recorded as missed.
    reported: see `fail`.

    Raises:
        Fenced: another attempt has taken the run over.
    """
    with session.begin():
        record, clock = own(session, claim)
        if held is not None:
            return _held(session, record, clock, held, late_limit)
        if not progressed and record.attempts >= record.max_attempts:
            reason = f"out of time in {record.attempts} attempts in a row, without one batch that was committed"
            fail(session, record, clock, reason, critical=critical, reported=reported)
            end_attempt(session, record, clock, "interrupted")
            return Standing.of(record)
        record.state, record.reason = "interrupted", "out of time; goes on at its cursor"
        record.attempts -= progressed
        record.lease_until = None
        _calm(record)
        end_attempt(session, record, clock, "interrupted")
        return Standing.of(record)


def _held(
    session: Session, record: RunRecord, clock: dt.datetime, held: str, late_limit: dt.timedelta | None
) -> Standing:
    """The same, of an attempt that waited."""
    late = clock - record.scheduled_for
    begun = record.step is not None or record.position is not None
    if late_limit is not None and late > late_limit and record.trigger in UNASKED and not begun:
        record.state, record.finished_at = "missed", clock
        record.reason = printable(f"held, and now {late} after its time; the limit is {late_limit}. {held}")
        _calm(record)
    else:
        record.state = "interrupted"
        record.reason = printable(f"held, and goes on when that is over: {held}")
        record.attempts -= 1
    record.lease_until = None
    end_attempt(session, record, clock, "interrupted")
    return Standing.of(record)


def _calm(record: RunRecord) -> None:
    """It waits for nothing any more. What it could not read is still told."""
    if record.strain is not None:
        unknown = record.strain.get("unknown")
        record.strain = {"unknown": unknown} if unknown else None


def fail_attempt(
    session: Session, claim: Claim, error: str, *, permanent: bool, critical: bool, reported: bool = False
) -> Standing:
    """Record a failed attempt. The run stays open for a retry. If none is left, or none would help, it is failed.

    The project is told of the final failure of a critical job.
    reported: see `fail`.

    Raises:
        Fenced: another attempt has taken the run over.
    """
    with session.begin():
        record, clock = own(session, claim)
        record.errors = [*record.errors, error][-ERRORS_KEPT:]
        if permanent or record.attempts >= record.max_attempts:
            fail(session, record, clock, error, critical=critical, reported=reported)
        else:
            record.state = "retrying"
            record.reason = f"attempt {record.attempts} of {record.max_attempts} failed: {error}"
            record.lease_until = None
        end_attempt(session, record, clock, "failed", error)
        return Standing.of(record)


def cancel(session: Session, run_id: uuid.UUID, reason: str) -> RunRecord:
    """End an open run for good, in the caller's transaction. An attempt that is working becomes a zombie.

    Raises:
        EventError: the run has already ended.
    """
    record = _locked(session, run_id)
    if record.state not in OPEN_STATES:
        raise EventError(f"run {run_id} has already ended: {record.state}")
    clock = database_clock(session)
    end_attempt(session, record, clock, "lost")
    record.state, record.reason, record.finished_at, record.lease_until = "cancelled", reason, clock, None
    return record


def redrive(
    session: Session, run_id: uuid.UUID, reason: str, *, override: Mapping[str, str] | None = None
) -> RunRecord:
    """Open a failed or cancelled run again, in the caller's transaction: at its cursor, with all attempts anew.

    override: who lifts the cap and why, as `by` and `reason`: once, and to the number that the run has stated. Without
        it a run that had not begun counts anew.

    Raises:
        EventError: it has ended otherwise, or not at all; or there is no cap to lift.
    """
    record = _locked(session, run_id)
    if record.state not in ("failed", "cancelled"):
        raise EventError(f"run {run_id} is {record.state}: only a failed or cancelled one can go on")
    if override is not None:
        if not record.candidates or record.step is not None:
            raise EventError(
                f"run {run_id} has stated no candidates that were too many: redrive it without lifting a cap"
            )
        record.override = dict(override)
    elif record.step is None:
        record.candidates = None
    open_again(record, reason)
    return record


def _locked(session: Session, run_id: uuid.UUID) -> RunRecord:
    found = select(RunRecord).where(RunRecord.id == run_id).with_for_update()
    return session.execute(found.execution_options(populate_existing=True)).scalar_one()
