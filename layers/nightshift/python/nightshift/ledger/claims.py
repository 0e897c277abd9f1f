"""Claims: which occurrence runs, and which attempt may write.

Each function here is one short transaction, or a part of the batch's transaction. Leases use the database's clock.
Every transaction that changes anything checks the epoch. So a zombie, an attempt whose run was taken over, changes
nothing.
"""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Tuple, and_, literal, or_, select, tuple_, update
from sqlalchemy.orm import Session

from nightshift.declaration import Mode, Policy, Run, Trigger
from nightshift.errors import EventError, Fenced
from nightshift.ledger.pauses import pause_in_force
from nightshift.ledger.runs import Standing, end_attempt, frozen, lock_job, with_clock
from nightshift.ledger.tables import OPEN_STATES, Attempt, RegisteredJob, RunRecord

LEASE_MARGIN_SECONDS = 10
"""A lease outlives the invocation's deadline by this much, so that a dying attempt cannot overlap the next one."""

LEASE_SECONDS = 90
"""How long a run stays an attempt's after a batch of many short ones. Any other work has it to the deadline."""

MAX_ATTEMPTS = 3
"""The first delivery and Lambda's two retries of an asynchronous invocation."""

CLOCK_TOLERANCE = dt.timedelta(minutes=1)
"""How far EventBridge's clock may be ahead of the database's."""

UNASKED = ("schedule", "catch_up")
"""Triggers without a person behind them. Only these runs obey pauses and late limits."""

UNDONE = ("missed", "paused", "skipped")
"""Outcomes of occurrences that were left out: nothing was done."""


@dataclass(frozen=True)
class Request:
    """What an invocation asks for. `run_id` alone continues a run that the ledger already holds."""

    trigger: Trigger = "manual"
    mode: Mode = "apply"
    scheduled_for: dt.datetime | None = None
    run_id: uuid.UUID | None = None
    id: uuid.UUID | None = None
    """The id of the run if it is a new one. Whoever asks for it again means the same run."""
    request_id: str | None = None
    forced: bool = False
    once: bool = False
    """Somebody waits for the end: an attempt that fails is not tried again."""
    parameters: Mapping[str, int] = field(default_factory=dict)
    """Of a run that is there already only those that it lacks."""

    @property
    def heard(self) -> bool:
        """Whether somebody hears of an error that the invocation raises: Lambda's dead-letter queue gets an event's or
        an asynchronous call's, and whoever waits for the answer sees it. A run that is continued is the supervisor's.
        """
        return self.run_id is None or self.once


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
    counted: str | None
    """A fingerprint of the queries that the candidates were counted with. None: of a version before it was kept."""
    counters: dict[str, int]
    errors: list[str]
    notes: list[str] = field(default_factory=list)


@dataclass
class Tried:
    """What one invocation has begun, and got no answer to: it may have been committed all the same.

    Whoever tries again with it gets that claim. A request's id would not tell: Lambda may deliver an event twice.
    """

    claim: Claim | None = None
    begun_at: dt.datetime | None = None

    def remember(self, claim: Claim, clock: dt.datetime) -> Claim:
        self.claim, self.begun_at = claim, clock
        return claim

    def granted(self, session: Session) -> Claim | None:
        """The claim, if it was committed and still holds. In the caller's transaction."""
        if self.claim is None:
            return None
        mine = (
            select(RunRecord.id)
            .join(Attempt, and_(Attempt.run_id == RunRecord.id, Attempt.epoch == RunRecord.epoch))
            .where(
                RunRecord.id == self.claim.run.id,
                RunRecord.epoch == self.claim.epoch,
                RunRecord.state == "running",
                Attempt.started_at == self.begun_at,
            )
        )
        return None if session.scalar(mine) is None else self.claim


def claim(
    session: Session,
    job: str,
    policy: Policy,
    request: Request,
    *,
    seconds: float,
    frozen: str | None = None,
    tried: Tried | None = None,
) -> Claim | Standing:
    """Claim the requested run for this attempt, or say how it stands and why it was not granted.

    `seconds` is the time left until the invocation's deadline. A second delivery, a late retry and an overlapping
    occurrence get a `Standing`: they are not errors.
    frozen: why the job may not begin now. Its run waits for the end of the freeze then; which of several do is the
        policy's.
    tried: what this invocation has tried before, where it tries again.

    Raises:
        EventError: `run_id` names no run of this job, `id` is another run's, or `scheduled_for` is in the future.
    """
    tried = tried or Tried()
    with session.begin():
        registered, clock = lock_job(session, job)
        if (mine := tried.granted(session)) is not None:
            return mine
        record, alone = _find(session, job, request), False
        if record is None and frozen is not None and request.mode == "apply":
            _give_up_those_before(session, registered, policy, clock, frozen)
        if record is None:
            record = open_run(session, registered, policy, request, clock)
            # So there are none, unless it waits for a backfill's.
            alone = record.state == "queued" and record.reason is None and _is_skipped_beside_others(record, policy)
        elif record.state in UNDONE and request.trigger not in UNASKED and request.run_id is None:
            reopen(record, request)
        if frozen is not None and record.mode == "apply":
            _wait_for_the_end(record, policy, clock, frozen)
        elif alone or _may_start(session, record, clock):
            return tried.remember(grant(session, record, request, clock, seconds), clock)
        last = select(Attempt.request_id).where(Attempt.run_id == record.id, Attempt.epoch == record.epoch)
        return Standing.of(record, session.scalar(last))


def _give_up_those_before(
    session: Session, registered: RegisteredJob, policy: Policy, clock: dt.datetime, frozen: str
) -> None:
    """Of the occurrences within a freeze the last one is caught up, unless the policy wants every one."""
    if policy.missed != "latest":
        return
    waiting = select(RunRecord).where(
        RunRecord.job == registered.name,
        RunRecord.mode == "apply",
        RunRecord.state == "queued",
        RunRecord.trigger.in_(UNASKED),
        RunRecord.epoch == 0,
    )
    for record in session.scalars(waiting.with_for_update()):
        record.state, record.finished_at = "missed", clock
        record.reason = f"{frozen}; a later occurrence is due"
    session.flush()


def _wait_for_the_end(record: RunRecord, policy: Policy, clock: dt.datetime, frozen: str) -> None:
    """A run that may not begin within a freeze."""
    if record.state not in ("queued", "interrupted", "retrying"):
        return
    if policy.missed == "none" and record.trigger in UNASKED and record.epoch == 0:
        record.state, record.reason, record.finished_at = "missed", f"{frozen}; this job does not catch up", clock
    else:
        record.reason = frozen


def reopen(record: RunRecord, request: Request) -> None:
    """Open an occurrence that was left out, because a person asks for it, with the parameters that the person gave."""
    open_again(record)
    record.trigger, record.request_id = request.trigger, request.request_id
    record.parameters = dict(request.parameters)
    record.override = None


def open_again(record: RunRecord, reason: str | None = None) -> None:
    """Let a run that has ended wait for its next attempt, with all attempts anew.

    It is timed anew as well: else the hours for which nobody worked on it would be called its duration.
    """
    record.state, record.reason, record.attempts = "queued", reason, 0
    record.started_at = record.finished_at = None


def _find(session: Session, job: str, request: Request) -> RunRecord | None:
    """The run that the request means, locked: this waits for a batch that is about to commit."""
    if request.run_id is not None:
        same = RunRecord.id == request.run_id
    elif request.scheduled_for is not None and not request.forced and request.mode == "apply":
        same = and_(
            RunRecord.scheduled_for == request.scheduled_for, RunRecord.mode == "apply", RunRecord.forced.is_(False)
        )
    elif request.id is not None:
        same = and_(RunRecord.id == request.id, RunRecord.mode == request.mode, RunRecord.forced.is_(request.forced))
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
    """Make a new run: ready to start, waiting its turn, or settled at once. The caller has locked the job.

    Raises:
        EventError: `scheduled_for` is in the future, so rows that are young now would count as old. Or another run
            has the id.
    """
    if request.scheduled_for is not None and request.scheduled_for > clock + CLOCK_TOLERANCE:
        raise EventError(f"scheduled_for {request.scheduled_for.isoformat()} lies in the future; name a past time")
    if request.id is not None and session.get(RunRecord, request.id) is not None:
        raise EventError(f"id {request.id} is another run's; name one that no run has")
    record = RunRecord(
        id=request.id or uuid.uuid4(),
        job=registered.name,
        scheduled_for=request.scheduled_for or clock,
        trigger=request.trigger,
        mode=request.mode,
        forced=request.forced,
        request_id=request.request_id,
        parameters=dict(request.parameters),
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
    """The outcome and reason of an occurrence that must not run. A run that a person asks for is never too late."""
    if record.trigger in UNASKED and (pause := pause_in_force(session, registered, clock)) is not None:
        return "paused", str(pause)
    late = clock - record.scheduled_for
    if record.trigger in UNASKED and policy.late_limit is not None and late > policy.late_limit:
        return "missed", f"started {late} after its time; the limit is {policy.late_limit}"
    if _is_skipped_beside_others(record, policy):
        backfilled = RunRecord.trigger == "backfill"
        other = session.scalars(select(RunRecord).where(*others_open(record)).order_by(backfilled).limit(1)).first()
        if other is not None and other.trigger == "backfill":
            # A backfill has time, and takes no occurrence from the job's own schedule.
            record.reason = f"waits for run {other.id} of a backfill"
        elif other is not None:
            return "skipped", f"run {other.id} of {other.scheduled_for:%Y-%m-%dT%H:%M:%SZ} is still {other.state}"
    return None


def _is_skipped_beside_others(record: RunRecord, policy: Policy) -> bool:
    return record.mode == "apply" and policy.overlap == "skip" and record.trigger != "backfill"


def others_open(record: RunRecord) -> tuple[ColumnElement[bool], ...]:
    """The open runs of the same job, but for this one and plans."""
    return (
        RunRecord.job == record.job,
        RunRecord.mode == "apply",
        RunRecord.state.in_(OPEN_STATES),
        RunRecord.id != record.id,
    )


def in_turn(run: type[RunRecord]) -> Tuple:
    """What runs of a job that wait for each other are ordered by: backfills last, then by their occurrences."""
    return tuple_(run.trigger == "backfill", run.scheduled_for, run.id)


def _may_start(session: Session, record: RunRecord, clock: dt.datetime) -> bool:
    """Whether an attempt may start now. Runs that wait for each other start in the order of `in_turn`."""
    if record.state not in OPEN_STATES:
        return False
    if record.state == "running" and record.lease_until is not None and record.lease_until > clock:
        return False
    if record.attempts >= record.max_attempts:
        return False  # its last attempt died; the supervisor settles and reports the run
    if record.mode == "plan":
        return True
    ahead = or_(
        and_(RunRecord.state == "running", RunRecord.lease_until > clock),
        in_turn(RunRecord) < tuple_(literal(record.trigger == "backfill"), record.scheduled_for, record.id),
    )
    return session.scalar(select(RunRecord.id).where(*others_open(record), ahead).limit(1)) is None


def grant(session: Session, record: RunRecord, request: Request, clock: dt.datetime, seconds: float) -> Claim:
    """Begin an attempt at a locked run, under a new epoch."""
    if record.epoch:
        end_attempt(session, record, clock, "lost")
    if not request.parameters.keys() <= record.parameters.keys():  # the job got others since the run was opened
        record.parameters = {**request.parameters, **record.parameters}
    record.epoch += 1
    record.attempts += 1
    record.state = "running"
    record.reason = record.strain = None
    record.started_at = record.started_at or clock
    record.lease_until = clock + dt.timedelta(seconds=seconds + LEASE_MARGIN_SECONDS)
    session.flush()  # a new run's row goes in before that of its attempt, which refers to it
    session.add(Attempt(run_id=record.id, epoch=record.epoch, request_id=request.request_id, started_at=clock))
    return Claim(
        frozen(record),
        record.epoch,
        record.attempts,
        record.max_attempts,
        record.step,
        record.position,
        record.fingerprint,
        record.candidates,
        record.counted,
        dict(record.counters),
        list(record.errors),
        list(record.notes),
    )


def taken_over(claim: Claim) -> Fenced:
    return Fenced(f"run {claim.run.id} was taken over: epoch {claim.epoch} has ended")


def update_own(session: Session, claim: Claim, **values: Any) -> None:
    """Change the run if this attempt still owns it. One statement checks the epoch and makes the change."""
    own = update(RunRecord).where(
        RunRecord.id == claim.run.id, RunRecord.epoch == claim.epoch, RunRecord.state == "running"
    )
    if session.execute(own.values(**values).execution_options(synchronize_session=False)).rowcount == 0:  # type: ignore[attr-defined]
        raise taken_over(claim)


def own(session: Session, claim: Claim) -> tuple[RunRecord, dt.datetime]:
    """The run, locked for its end, and the time at which it is locked.

    Raises:
        Fenced: another attempt has taken the run over.
    """
    mine = (RunRecord.id == claim.run.id, RunRecord.epoch == claim.epoch, RunRecord.state == "running")
    found = with_clock(select(RunRecord).where(*mine).with_for_update(), RunRecord)
    ours = session.execute(found.execution_options(populate_existing=True)).one_or_none()
    if ours is None:
        raise taken_over(claim)
    record, clock = ours
    return record, clock
