"""The ledger decides: which occurrence runs, which attempt may write, where a run goes on, how it ended.

Every function here is one short transaction or a part of the batch's own. The lease is set by the database's clock.
The epoch is checked inside every transaction that changes anything, so that an attempt which has lost its run
(a zombie) changes nothing.
"""

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import ARRAY, ColumnElement, DateTime, and_, cast, delete, func, literal, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import Session

from nightshift.errors import EventError, Fenced
from nightshift.models.ledger import OPEN_STATES, Attempt, QuarantinedItem, RegisteredJob, RunRecord
from nightshift.run import Mode, Run, Trigger

LEASE_MARGIN_SECONDS = 10
"""A lease outlives the invocation's deadline by this much, so that a dying attempt cannot overlap its successor."""

MAX_ATTEMPTS = 3
"""The first delivery and Lambda's two retries of an asynchronous invocation."""

CLOCK_TOLERANCE = dt.timedelta(minutes=1)
"""How far EventBridge's clock may be ahead of the database's."""

KEPT = dt.timedelta(days=400)
"""How long the ledger remembers a run that has ended: a year and a month, so that years can be compared."""

FORGOTTEN_AT_ONCE = 500

ERRORS_KEPT = 10

UNASKED = ("schedule", "catch_up")
"""Triggers behind which no person stands: pauses and late limits hold for them."""

UNDONE = ("missed", "paused", "skipped")
"""Outcomes of occurrences that were left out before anything was done."""

Ending = Literal["finished", "interrupted", "failed", "lost"]


@dataclass(frozen=True)
class Policy:
    """What a job does when occurrences overlap, were missed or come late.

    overlap: a new occurrence that meets an open run is skipped, or waits its turn.
    missed: which missed occurrences are caught up: the latest one, every one (oldest first, up to 31 days), or none.
    late_limit: a scheduled occurrence that comes later than this is settled as missed. None means no limit.
    """

    overlap: Literal["skip", "wait"] = "skip"
    missed: Literal["latest", "every", "none"] = "latest"
    late_limit: dt.timedelta | None = None


@dataclass(frozen=True)
class Request:
    """What an invocation asks for. `run_id` alone continues a run that the ledger already holds."""

    trigger: Trigger = "manual"
    mode: Mode = "apply"
    scheduled_for: dt.datetime | None = None
    run_id: uuid.UUID | None = None
    request_id: str | None = None
    forced: bool = False
    parameters: Mapping[str, int] = field(default_factory=dict)
    override: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Claim:
    """The right to work on a run until `lease_until`, under one epoch."""

    run: Run
    epoch: int
    attempt: int
    max_attempts: int
    step: str | None
    position: dict[str, Any] | None
    fingerprint: str | None
    candidates: dict[str, Any] | None
    counters: dict[str, int]
    errors: list[str]


@dataclass(frozen=True)
class Standing:
    """How a run stands, whoever asks: the answer to a claim that was not granted, and the result of one that was."""

    run: Run
    state: str
    reason: str | None
    duration_ms: int | None
    counters: dict[str, int]
    errors: list[str]
    plan: dict[str, Any] | None
    last_request_id: str | None = None
    """Lambda's id of the invocation that made the last attempt. Its retries carry the same one."""

    @classmethod
    def of(cls, record: RunRecord, last_request_id: str | None = None) -> "Standing":
        took = (record.finished_at - record.started_at) if record.finished_at and record.started_at else None
        return cls(
            _frozen(record),
            record.state,
            record.reason,
            round(took.total_seconds() * 1000) if took is not None else None,
            record.counters,
            record.errors,
            record.plan,
            last_request_id,
        )


def claim(session: Session, job: str, policy: Policy, request: Request, *, seconds: float) -> Claim | Standing:
    """Take the requested run for this attempt, or say how it stands and why it was not granted.

    `seconds` is the time left until the invocation's deadline. A doubled delivery, a late retry and an overlapping
    occurrence are answered with a `Standing`: they are not errors.

    Raises:
        EventError: `run_id` names no run of this job, or the run would be as of a time to come.
    """
    with session.begin():
        registered = lock_job(session, job)
        clock = database_clock(session)
        record = _find(session, job, request)
        if record is None:
            record = open_run(session, registered, policy, request, clock)
        elif record.state in UNDONE and request.trigger not in UNASKED and request.run_id is None:
            _reopen(record, request)
        if _may_start(session, record, clock):
            return _grant(session, record, request, clock, seconds)
        last = select(Attempt.request_id).where(Attempt.run_id == record.id, Attempt.epoch == record.epoch)
        return Standing.of(record, session.scalar(last))


def _reopen(record: RunRecord, request: Request) -> None:
    """A person asks for an occurrence that was left out: it is run after all, as this person wants it."""
    record.state, record.reason, record.finished_at = "queued", None, None
    record.trigger, record.request_id = request.trigger, request.request_id
    record.parameters = dict(request.parameters)
    record.override = dict(request.override) if request.override else None


def lock_job(session: Session, job: str) -> RegisteredJob:
    """The job's own row, locked: claims of one job happen one after the other."""
    session.execute(insert(RegisteredJob).values(name=job).on_conflict_do_nothing())
    return session.execute(select(RegisteredJob).where(RegisteredJob.name == job).with_for_update()).scalar_one()


def database_clock(session: Session) -> dt.datetime:
    clock: dt.datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return clock


def _find(session: Session, job: str, request: Request) -> RunRecord | None:
    """The run that the request means, locked, so that a batch which is about to commit is waited for."""
    if request.run_id is not None:
        same = RunRecord.id == request.run_id
    elif request.scheduled_for is not None and not request.forced and request.mode == "apply":
        same = and_(
            RunRecord.scheduled_for == request.scheduled_for, RunRecord.mode == "apply", RunRecord.forced.is_(False)
        )
    elif request.request_id is not None:
        same = RunRecord.request_id == request.request_id
    else:
        return None
    found = select(RunRecord).where(RunRecord.job == job, same).with_for_update()
    record = session.execute(found.execution_options(populate_existing=True)).scalar_one_or_none()
    if record is None and request.run_id is not None:
        raise EventError(f"job {job} has no run {request.run_id}")
    return record


def open_run(
    session: Session, registered: RegisteredJob, policy: Policy, request: Request, clock: dt.datetime
) -> RunRecord:
    """A new run: ready to start, waiting its turn, or settled at once. The caller has locked the job.

    Raises:
        EventError: it would run as of a time to come, at which rows that are young now would count as old.
    """
    if request.scheduled_for is not None and request.scheduled_for > clock + CLOCK_TOLERANCE:
        raise EventError(f"scheduled_for {request.scheduled_for.isoformat()} lies in the future; name a past time")
    record = RunRecord(
        id=uuid.uuid4(),
        job=registered.name,
        scheduled_for=request.scheduled_for or clock,
        trigger=request.trigger,
        mode=request.mode,
        forced=request.forced,
        request_id=request.request_id,
        parameters=dict(request.parameters),
        override=dict(request.override) if request.override else None,
        state="queued",
        epoch=0,
        attempts=0,
        max_attempts=MAX_ATTEMPTS,
        counters={},
        errors=[],
        created_at=clock,
    )
    if settled := _settled_at_once(session, record, registered, policy, clock):
        record.state, record.reason = settled
        record.finished_at = clock
    session.add(record)
    return record


def _settled_at_once(
    session: Session, record: RunRecord, registered: RegisteredJob, policy: Policy, clock: dt.datetime
) -> tuple[str, str] | None:
    """The outcome of an occurrence that must not run, with its reason. What a person asks for is never late."""
    if record.trigger in UNASKED and registered.paused_at is not None:
        return "paused", f"paused by {registered.paused_by}: {registered.pause_reason}"
    late = clock - record.scheduled_for
    if record.trigger in UNASKED and policy.late_limit is not None and late > policy.late_limit:
        return "missed", f"begun {late} after its time; the limit is {policy.late_limit}"
    if record.mode == "apply" and policy.overlap == "skip" and record.trigger != "backfill":
        other = session.scalars(select(RunRecord).where(*_others_open(record)).limit(1)).first()
        if other is not None:
            return "skipped", f"run {other.id} of {other.scheduled_for:%Y-%m-%dT%H:%M:%SZ} is still {other.state}"
    return None


def occurrences(session: Session, job: str, first: dt.datetime, last: dt.datetime) -> set[dt.datetime]:
    """Which occurrences of a job have a run, from the first to the last."""
    taken = select(RunRecord.scheduled_for).where(
        RunRecord.job == job,
        RunRecord.scheduled_for.between(first, last),
        RunRecord.mode == "apply",
        RunRecord.forced.is_(False),
    )
    return set(session.scalars(taken))


def note_missed(session: Session, job: str, times: Sequence[dt.datetime], reason: str, clock: dt.datetime) -> None:
    """Settle occurrences that nobody will run. The caller has locked the job, and knows that they have no run."""
    if not times:
        return
    columns = {
        RunRecord.job: literal(job),
        RunRecord.scheduled_for: func.unnest(cast(list(times), ARRAY(DateTime(timezone=True)))),
        RunRecord.trigger: literal("catch_up"),
        RunRecord.state: literal("missed"),
        RunRecord.reason: literal(reason),
        RunRecord.max_attempts: literal(MAX_ATTEMPTS),
        RunRecord.created_at: literal(clock),
        RunRecord.finished_at: literal(clock),
    }
    session.execute(insert(RunRecord).from_select(list(columns), select(*columns.values())))


def _others_open(record: RunRecord) -> tuple[ColumnElement[bool], ...]:
    return (
        RunRecord.job == record.job,
        RunRecord.mode == "apply",
        RunRecord.state.in_(OPEN_STATES),
        RunRecord.id != record.id,
    )


def _may_start(session: Session, record: RunRecord, clock: dt.datetime) -> bool:
    """Whether an attempt may begin now. Runs that wait for each other go in the order of their occurrences."""
    if record.state not in OPEN_STATES:
        return False
    if record.state == "running" and record.lease_until is not None and record.lease_until > clock:
        return False
    if record.attempts >= record.max_attempts:
        return False  # its last attempt ended without a word; the supervisor settles it and reports it
    if record.mode == "plan":
        return True
    ahead = or_(
        and_(RunRecord.state == "running", RunRecord.lease_until > clock),
        tuple_(RunRecord.scheduled_for, RunRecord.id) < tuple_(record.scheduled_for, record.id),
    )
    return session.scalar(select(RunRecord.id).where(*_others_open(record), ahead).limit(1)) is None


def _grant(session: Session, record: RunRecord, request: Request, clock: dt.datetime, seconds: float) -> Claim:
    _end_attempt(session, record, clock, "lost")
    record.epoch += 1
    record.attempts += 1
    record.state = "running"
    record.reason = None
    record.started_at = record.started_at or clock
    record.lease_until = clock + dt.timedelta(seconds=seconds + LEASE_MARGIN_SECONDS)
    session.add(Attempt(run_id=record.id, epoch=record.epoch, request_id=request.request_id, started_at=clock))
    return Claim(
        _frozen(record),
        record.epoch,
        record.attempts,
        record.max_attempts,
        record.step,
        record.position,
        record.fingerprint,
        record.candidates,
        dict(record.counters),
        list(record.errors),
    )


def _frozen(record: RunRecord) -> Run:
    """The run's facts that never change."""
    return Run(
        id=record.id,
        job=record.job,
        scheduled_for=record.scheduled_for.astimezone(dt.UTC),
        trigger=record.trigger,  # type: ignore[arg-type]
        mode=record.mode,  # type: ignore[arg-type]
        forced=record.forced,
        parameters=record.parameters,
        override=record.override,
    )


def _end_attempt(
    session: Session, record: RunRecord, clock: dt.datetime, ending: Ending, error: str | None = None
) -> None:
    """Close the run's current attempt, unless it has been closed before."""
    session.execute(
        update(Attempt)
        .where(Attempt.run_id == record.id, Attempt.epoch == record.epoch, Attempt.ended_at.is_(None))
        .values(ended_at=clock, ending=ending, error=error)
    )


def _fail(session: Session, record: RunRecord, clock: dt.datetime, reason: str, *, critical: bool) -> None:
    record.state, record.reason, record.finished_at, record.lease_until = "failed", reason, clock, None
    if critical:
        from nightshift import alerts  # with its models, which no start but that of a failure needs

        details = {"job": record.job, "run_id": str(record.id)}
        alerts.sight(session, rule="job_failure", subject=record.job, severity="critical", details=details, at=clock)


def commit_batch(
    session: Session,
    claim: Claim,
    *,
    step: str,
    fingerprint: str,
    position: Mapping[str, Any] | None,
    counters: Mapping[str, int],
    errors: Sequence[str],
    quarantined: Iterable[tuple[str, str]] = (),
) -> None:
    """Record a batch in the transaction that carries its effects: cursor, counters, quarantined items (item, error).

    Raises:
        Fenced: the run has been taken over; the caller's transaction must roll back.
    """
    _update_own(
        session,
        claim,
        step=step,
        fingerprint=fingerprint,
        position=dict(position) if position is not None else None,
        counters=dict(counters),
        errors=list(errors)[:ERRORS_KEPT],
    )
    rows = [{"run_id": claim.run.id, "step": step, "item": item, "error": error} for item, error in quarantined]
    if rows:
        session.execute(insert(QuarantinedItem).values(rows).on_conflict_do_nothing())


def state_candidates(session: Session, claim: Claim, candidates: Mapping[str, Any]) -> None:
    """Write down what a destructive run is going to touch, before it touches anything.

    Raises:
        Fenced: the run has been taken over.
    """
    with session.begin():
        _update_own(session, claim, candidates=dict(candidates))


def renew(session: Session, claim: Claim, *, seconds: float) -> None:
    """Prolong the lease to `seconds` from now, for work between batches that the database does not see.

    Raises:
        Fenced: the run has been taken over.
    """
    with session.begin():
        lease = func.clock_timestamp() + dt.timedelta(seconds=seconds + LEASE_MARGIN_SECONDS)
        _update_own(session, claim, lease_until=lease)


def _update_own(session: Session, claim: Claim, **values: Any) -> None:
    """Change the run if this attempt still owns it. The epoch and the change are one statement: no gap to fall into."""
    own = update(RunRecord).where(
        RunRecord.id == claim.run.id, RunRecord.epoch == claim.epoch, RunRecord.state == "running"
    )
    if session.execute(own.values(**values).execution_options(synchronize_session=False)).rowcount == 0:  # type: ignore[attr-defined]
        raise Fenced(f"run {claim.run.id} has gone on without epoch {claim.epoch}")


def finish(
    session: Session,
    claim: Claim,
    *,
    counters: Mapping[str, int],
    errors: Sequence[str] = (),
    plan: Mapping[str, Any] | None = None,
) -> Standing:
    """Settle the run as succeeded (or planned), inside the caller's transaction.

    Raises:
        Fenced: the run has been taken over.
    """
    record = _own(session, claim)
    clock = database_clock(session)
    record.state = "planned" if claim.run.mode == "plan" else "succeeded"
    record.counters, record.errors = dict(counters), list(errors)[:ERRORS_KEPT]
    record.plan = dict(plan) if plan is not None else None
    record.finished_at, record.lease_until, record.position = clock, None, None
    _end_attempt(session, record, clock, "finished")
    session.flush()
    return Standing.of(record)


def interrupt(session: Session, claim: Claim) -> Standing:
    """Give the run back before the deadline. An interruption is not a failure: the attempt is not counted.

    Raises:
        Fenced: the run has been taken over.
    """
    with session.begin():
        record = _own(session, claim)
        clock = database_clock(session)
        record.state, record.reason = "interrupted", "out of time; goes on at its cursor"
        record.attempts -= 1
        record.lease_until = None
        _end_attempt(session, record, clock, "interrupted")
        return Standing.of(record)


def fail_attempt(session: Session, claim: Claim, error: str, *, permanent: bool, critical: bool) -> Standing:
    """Record a failed attempt: the run stays open for a retry, or is failed when no attempt is left or would help.

    The final failure of a critical job also raises an alert.

    Raises:
        Fenced: the run has been taken over.
    """
    with session.begin():
        record = _own(session, claim)
        clock = database_clock(session)
        record.errors = [*record.errors, error][-ERRORS_KEPT:]
        if permanent or record.attempts >= record.max_attempts:
            _fail(session, record, clock, error, critical=critical)
        else:
            record.state = "retrying"
            record.reason = f"attempt {record.attempts} of {record.max_attempts} failed: {error}"
            record.lease_until = None
        _end_attempt(session, record, clock, "failed", error)
        return Standing.of(record)


def _own(session: Session, claim: Claim) -> RunRecord:
    found = (
        select(RunRecord)
        .where(RunRecord.id == claim.run.id, RunRecord.epoch == claim.epoch, RunRecord.state == "running")
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    record = session.execute(found).scalar_one_or_none()
    if record is None:
        raise Fenced(f"run {claim.run.id} has gone on without epoch {claim.epoch}")
    return record


def cancel(session: Session, run_id: uuid.UUID, reason: str) -> RunRecord:
    """End an open run for good, in the caller's transaction. An attempt at work is a zombie from now on.

    Raises:
        EventError: it has ended already.
    """
    record = _locked(session, run_id)
    if record.state not in OPEN_STATES:
        raise EventError(f"run {run_id} has ended already: {record.state}")
    clock = database_clock(session)
    _end_attempt(session, record, clock, "lost")
    record.state, record.reason, record.finished_at, record.lease_until = "cancelled", reason, clock, None
    return record


def redrive(session: Session, run_id: uuid.UUID, reason: str) -> RunRecord:
    """Open a failed or cancelled run again, in the caller's transaction: at its cursor, with all attempts anew.

    Raises:
        EventError: it has ended otherwise, or not at all.
    """
    record = _locked(session, run_id)
    if record.state not in ("failed", "cancelled"):
        raise EventError(f"run {run_id} is {record.state}: only a failed or cancelled one can go on")
    record.state, record.reason, record.finished_at, record.attempts = "queued", reason, None, 0
    return record


def _locked(session: Session, run_id: uuid.UUID) -> RunRecord:
    found = select(RunRecord).where(RunRecord.id == run_id).with_for_update()
    return session.execute(found.execution_options(populate_existing=True)).scalar_one()


def standing(session: Session, run_id: uuid.UUID) -> Standing:
    """How a run stands now.

    Raises:
        NoResultFound: there is no such run.
    """
    with session.begin():
        return Standing.of(session.execute(select(RunRecord).where(RunRecord.id == run_id)).scalar_one())


@dataclass(frozen=True)
class Stalled:
    """An open run that nobody works on."""

    run_id: uuid.UUID
    job: str
    state: str


RETRY_PATIENCE = dt.timedelta(minutes=4)
"""Lambda retries after one and two minutes. A failed attempt without one by then is the supervisor's to continue."""


def stalled(session: Session) -> list[Stalled]:
    """Open runs that need a new attempt, oldest occurrence first: interrupted, waiting, or left by a dead attempt.

    Of the runs of one job that wait for each other only the first: the others could not start yet.
    """
    last_end = select(func.max(Attempt.ended_at)).where(Attempt.run_id == RunRecord.id).scalar_subquery()
    needs_attempt = or_(
        RunRecord.state.in_(("interrupted", "queued")),
        and_(RunRecord.state == "running", RunRecord.lease_until < func.clock_timestamp()),
        and_(RunRecord.state == "retrying", last_end < func.clock_timestamp() - RETRY_PATIENCE),
    )
    first = (
        select(RunRecord.id, RunRecord.job, RunRecord.state, RunRecord.scheduled_for)
        .where(RunRecord.attempts < RunRecord.max_attempts, needs_attempt)
        .ext(distinct_on(RunRecord.job, RunRecord.mode))
        .order_by(RunRecord.job, RunRecord.mode, RunRecord.scheduled_for, RunRecord.id)
        .subquery()
    )
    with session.begin():
        found = session.execute(select(first.c.id, first.c.job, first.c.state).order_by(first.c.scheduled_for))
        return [Stalled(*row) for row in found]


def oldest_open_seconds(session: Session) -> float:
    """The age, in seconds since its occurrence was due, of the oldest run that is still open; 0 when there is none."""
    oldest = func.min(RunRecord.scheduled_for)
    age = func.extract("epoch", func.clock_timestamp() - oldest)
    with session.begin():
        found = session.execute(select(age).where(RunRecord.state.in_(OPEN_STATES))).scalar_one()
    return max(0.0, float(found or 0))


def fail_exhausted(session: Session, critical: Collection[str]) -> list[Standing]:
    """Settle as failed every run whose lease expired on its last attempt. Returns them.

    In the caller's transaction, so that the caller can report them before it is settled for good.
    `critical` are the names of the jobs whose failure raises an alert.
    """
    clock = database_clock(session)
    dead = (
        select(RunRecord)
        .where(
            RunRecord.state == "running",
            RunRecord.lease_until < clock,
            RunRecord.attempts >= RunRecord.max_attempts,
        )
        .with_for_update(skip_locked=True)
    )
    records = list(session.scalars(dead))
    for record in records:
        _end_attempt(session, record, clock, "lost")
        reason = f"attempt {record.attempts} of {record.max_attempts} ended without a word"
        _fail(session, record, clock, reason, critical=record.job in critical)
    session.flush()
    return [Standing.of(record) for record in records]


def forget(session: Session) -> int:
    """Delete a portion of the runs that ended longer ago than the ledger keeps them. Returns how many."""
    old = (
        select(RunRecord.id)
        .where(RunRecord.finished_at < database_clock(session) - KEPT)
        .order_by(RunRecord.finished_at)
        .limit(FORGOTTEN_AT_ONCE)
    )
    forgotten = delete(RunRecord).where(RunRecord.id.in_(old)).execution_options(synchronize_session=False)
    return session.execute(forgotten).rowcount  # type: ignore[attr-defined, no-any-return]
