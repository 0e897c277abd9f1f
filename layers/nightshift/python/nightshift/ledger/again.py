"""An attempt whose connection was lost claims its own run again and goes on."""

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from nightshift.ledger.claims import Claim, Request, Tried, grant, others_open, taken_over
from nightshift.ledger.endings import fail
from nightshift.ledger.runs import Standing, end_attempt, lock_job
from nightshift.ledger.tables import Attempt, RunRecord


def claim_again(
    session: Session,
    claim: Claim,
    lost: str,
    *,
    progressed: bool,
    critical: bool,
    reported: bool = False,
    seconds: float,
    tried: Tried | None = None,
) -> Claim | Standing:
    """Claim the run again whose attempt lost its connection, under a new epoch: the old one is a zombie now.

    lost: why the connection was lost.
    progressed: the claim has committed a batch. One that has not is counted as an attempt, and after the last one the
        run is failed: it may be what brings the connection down.
    reported: see `nightshift.ledger.endings.fail`.
    tried: what this invocation has tried before, where it tries again.

    Returns the run's standing where there is nothing to go on with: this attempt had ended it, without an answer; it
    is failed; or another run of the job was begun meanwhile.

    Raises:
        Fenced: another attempt has taken the run over.
    """
    tried = tried or Tried()
    with session.begin():
        _, clock = lock_job(session, claim.run.job)
        if (mine := tried.granted(session)) is not None:
            return mine
        found = select(RunRecord).where(RunRecord.id == claim.run.id, RunRecord.epoch == claim.epoch)
        found = found.with_for_update().execution_options(populate_existing=True)
        record = session.execute(found).scalar_one_or_none()
        if record is None:
            raise taken_over(claim)
        if record.state != "running":
            return Standing.of(record)
        if not progressed and record.attempts >= record.max_attempts:
            times = f"{record.attempts} attempts in a row, without one batch that was committed"
            fail(
                session,
                record,
                clock,
                f"the connection was lost in {times}: {lost}",
                critical=critical,
                reported=reported,
            )
            end_attempt(session, record, clock, "failed", lost)
            session.flush()
            return Standing.of(record)
        end_attempt(session, record, clock, "lost", lost)
        begun = and_(RunRecord.state == "running", RunRecord.lease_until > clock)
        if record.mode == "apply" and session.scalar(select(RunRecord.id).where(*others_open(record), begun).limit(1)):
            record.state, record.reason, record.lease_until = "interrupted", f"{lost}; it waits for its turn", None
            session.flush()
            return Standing.of(record)
        record.attempts -= progressed
        request_id = select(Attempt.request_id).where(Attempt.run_id == record.id, Attempt.epoch == record.epoch)
        request = Request(request_id=session.scalar(request_id))
        return tried.remember(grant(session, record, request, clock, seconds), clock)
