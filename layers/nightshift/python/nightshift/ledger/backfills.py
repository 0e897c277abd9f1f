"""Backfills: past occurrences that somebody asks for, worked off by the supervisor at its own pace.

A job has one run of a backfill at a time, the oldest occurrence of the oldest request first. The job's own schedule
comes before it: no run of a backfill is begun while another run of the job is open, or while an occurrence is due
within the time that a run usually takes. An occurrence that comes all the same does not count as overlapping with it,
and starts before a backfill's run that has been interrupted.
"""

import datetime as dt
import statistics
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from nightshift.database.apart import BRIEFLY
from nightshift.database.transaction import transaction
from nightshift.declaration import DeployedJob, Schedule, iso
from nightshift.errors import EventError
from nightshift.ledger.claims import UNDONE, Request, open_run, reopen
from nightshift.ledger.endings import redrive
from nightshift.ledger.operators import Backfill
from nightshift.ledger.pauses import pause_in_force
from nightshift.ledger.runs import database_clock, durations, lock_job
from nightshift.ledger.tables import OPEN_STATES, RegisteredJob, RunRecord

Reprocess = Literal["none", "failed", "all"]
"""Which occurrences that have run already are run again: none; those that failed or were cancelled; or all."""

REPROCESS: tuple[Reprocess, ...] = get_args(Reprocess)

AT_WORK = ("open", "paused")
MOST_OCCURRENCES = 10_000
"""Of one request. A job that runs every minute has as many in a week."""

PASSED_AT_ONCE = 500
"""So many occurrences that are left as they are, a look passes over."""

USUAL_SECONDS = 60.0
"""How long a run is taken to last, of a job that has not succeeded yet."""


@dataclass(frozen=True)
class Past:
    """A past occurrence, and what a backfill does with it."""

    time: dt.datetime
    outcome: str | None
    """How its run stands; None: it has none."""
    runs: bool
    """Whether the backfill runs it."""


def past_occurrences(
    session: Session, job: str, schedule: Schedule, since: dt.datetime, until: dt.datetime, reprocess: Reprocess
) -> list[Past]:
    """What a backfill would do, oldest first, in the caller's transaction.

    Raises:
        EventError: there are none, or too many.
    """
    times = list(islice(schedule.between(since, until), MOST_OCCURRENCES + 1))
    if not times:
        raise EventError(f"job {job} has no occurrence from {iso(since)} to {iso(until)}: its schedule is {schedule}")
    if len(times) > MOST_OCCURRENCES:
        raise EventError(f"that is more than {MOST_OCCURRENCES} occurrences of job {job}: ask for a shorter time")
    taken = select(RunRecord.scheduled_for, RunRecord.state).where(
        RunRecord.job == job,
        RunRecord.scheduled_for.between(times[0], times[-1]),
        RunRecord.mode == "apply",
        RunRecord.forced.is_(False),
    )
    states: dict[dt.datetime, str] = dict(session.execute(taken).all())
    return [Past(time, (state := states.get(time)), _runs(state, reprocess)) for time in times]


def _runs(state: str | None, reprocess: Reprocess) -> bool:
    if state is None or state in UNDONE:
        return True
    if state in OPEN_STATES:
        return False
    return reprocess == "all" or (reprocess == "failed" and state in ("failed", "cancelled"))


def ask_for(
    session: Session,
    job: str,
    schedule: Schedule,
    since: dt.datetime,
    until: dt.datetime,
    reprocess: Reprocess,
    *,
    by: str,
    reason: str,
) -> tuple[Backfill, list[Past]]:
    """Note a backfill for the supervisor, in the caller's transaction. Returns it with what it will do.

    Raises:
        EventError: it has nothing to do, or too much, or its end is not past.
    """
    _, clock = lock_job(session, job)
    if until > clock:
        raise EventError(f"to must be past; got {iso(until)}")
    past = past_occurrences(session, job, schedule, since, until, reprocess)
    backfill = Backfill(
        id=uuid.uuid4(),
        job=job,
        schedule=schedule.expression,
        timezone=schedule.timezone,
        since=since,
        until=until,
        reprocess=reprocess,
        state="open" if any(each.runs for each in past) else "done",
        occurrences=len(past),
        reached=since,
        counts={},
        requested_by=by,
        reason=reason,
        created_at=clock,
    )
    if backfill.state == "done":
        backfill.reached, backfill.finished_at, backfill.counts = until, clock, {"kept": len(past)}
    session.add(backfill)
    session.flush()
    return backfill, past


def waiting_jobs(session: Session, jobs: Collection[str]) -> list[str]:
    """Those of the jobs that have an open backfill."""
    open_ones = select(Backfill.job).where(Backfill.state == "open", Backfill.job.in_(jobs)).distinct()
    with session.begin():
        return list(session.scalars(open_ones.order_by(Backfill.job)))


Ended = Literal["paused", "cancelled"]


@dataclass(frozen=True)
class LeftBehind:
    """A backfill that nobody would work off."""

    id: uuid.UUID
    job: str
    requested_by: str


def left_behind(session: Session, working: Collection[str], known: Collection[str]) -> list[LeftBehind]:
    """Open ones of jobs that do not work, and paused ones of jobs that are not even known."""
    left = or_(
        and_(Backfill.state == "open", Backfill.job.not_in(working)),
        and_(Backfill.state == "paused", Backfill.job.not_in([*working, *known])),
    )
    with session.begin():
        found = select(Backfill.id, Backfill.job, Backfill.requested_by).where(left)
        return [LeftBehind(*row) for row in session.execute(found.order_by(Backfill.created_at, Backfill.id))]


def settle_left_behind(session: Session, backfill_id: uuid.UUID, to: Ended, why: str) -> bool:
    """Pause or cancel such a backfill, in the caller's transaction, unless somebody else has or is about to.

    A run of it that is open is settled like every other one of its job.
    """
    found = select(Backfill).where(Backfill.id == backfill_id, Backfill.state.in_(AT_WORK))
    locked = found.with_for_update(skip_locked=True).execution_options(populate_existing=True)
    backfill = session.scalars(locked).one_or_none()
    if backfill is None:
        return False
    backfill.state, backfill.told = to, why
    backfill.finished_at = database_clock(session) if to == "cancelled" else None
    session.flush()
    return True


def advance(session: Session, deployed: DeployedJob) -> None:
    """Look at a job's oldest open backfill: note how its run has ended, and make the next one if it may begin now."""
    name = deployed.job.name
    with transaction(session, settings=BRIEFLY):
        registered, clock = lock_job(session, name)
        oldest = select(Backfill).where(Backfill.job == name, Backfill.state == "open")
        backfill = session.scalars(oldest.order_by(Backfill.created_at, Backfill.id).limit(1)).first()
        if backfill is None or not _run_has_ended(session, backfill):
            return
        if not _has_time(session, registered, deployed, clock):
            return
        _begin_next(session, backfill, registered, deployed, clock)


def _run_has_ended(session: Session, backfill: Backfill) -> bool:
    """Whether no run of it is open. One that failed pauses it: what failed once would fail for every occurrence."""
    if backfill.run_id is None:
        return True
    record = session.get(RunRecord, backfill.run_id, populate_existing=True)
    if record is not None and record.state in OPEN_STATES:
        return False
    outcome = "gone" if record is None else record.state
    _count(backfill, outcome)
    backfill.run_id = None
    if record is not None and record.state in ("failed", "cancelled"):
        backfill.state = "paused"
        backfill.told = f"its run {record.id} of {iso(record.scheduled_for)} is {record.state}: {record.reason}"
    return backfill.state == "open"


def _has_time(session: Session, registered: RegisteredJob, deployed: DeployedJob, clock: dt.datetime) -> bool:
    """Whether the job's own schedule leaves time for a run."""
    another = select(RunRecord.id).where(
        RunRecord.job == registered.name, RunRecord.mode == "apply", RunRecord.state.in_(OPEN_STATES)
    )
    if session.scalar(another.limit(1)) is not None or pause_in_force(session, registered, clock) is not None:
        return False
    following = deployed.schedule.next_after(clock)
    took = [seconds for seconds, _ in durations(session, registered.name)]
    usual = dt.timedelta(seconds=statistics.median(took) if took else USUAL_SECONDS)
    return following is None or following - clock > usual


def _begin_next(
    session: Session, backfill: Backfill, registered: RegisteredJob, deployed: DeployedJob, clock: dt.datetime
) -> None:
    schedule = Schedule(backfill.schedule, backfill.timezone)
    following = dt.timedelta(microseconds=1)
    times: Iterator[dt.datetime] = schedule.between(backfill.reached, backfill.until)
    for time in islice(times, PASSED_AT_ONCE):
        found = select(RunRecord).where(
            RunRecord.job == backfill.job,
            RunRecord.scheduled_for == time,
            RunRecord.mode == "apply",
            RunRecord.forced.is_(False),
        )
        record = session.scalars(found.with_for_update()).one_or_none()
        backfill.reached = time + following
        if not _runs(record.state if record else None, backfill.reprocess):  # type: ignore[arg-type]
            _count(backfill, "kept")
            continue
        request = Request("backfill", scheduled_for=time, parameters=deployed.parameters)
        if record is None:
            record = open_run(session, registered, deployed.job.effective_policy, request, clock)
        elif record.state in UNDONE:
            reopen(record, request)
        elif record.state == "succeeded":
            forced = Request("backfill", scheduled_for=time, parameters=deployed.parameters, forced=True)
            record = open_run(session, registered, deployed.job.effective_policy, forced, clock)
        else:
            told = f"redriven by the backfill of {backfill.requested_by}; before: {record.reason}"
            record = redrive(session, record.id, told)
            record.trigger = request.trigger  # it gives way to the job's own occurrences from here on
        backfill.run_id = record.id
        return
    if next(schedule.between(backfill.reached, backfill.until), None) is None:
        backfill.state, backfill.finished_at, backfill.reached = "done", clock, backfill.until


def _count(backfill: Backfill, what: str) -> None:
    backfill.counts = {**backfill.counts, what: backfill.counts.get(what, 0) + 1}


def change(session: Session, backfill_id: uuid.UUID, to: Literal["open", "paused", "cancelled"], told: str) -> Backfill:
    """Pause a backfill, let it go on, or cancel it, in the caller's transaction. A run of it that is open goes on.

    Raises:
        EventError: it has ended, or is so already.
    """
    found = select(Backfill).where(Backfill.id == backfill_id).with_for_update()
    backfill = session.execute(found.execution_options(populate_existing=True)).scalar_one()
    if backfill.state not in AT_WORK:
        raise EventError(f"backfill {backfill_id} has already ended: {backfill.state}")
    if backfill.state == to:
        raise EventError(f"backfill {backfill_id} is {to} already" + (f": {backfill.told}" if backfill.told else ""))
    backfill.state, backfill.told = to, told
    backfill.finished_at = database_clock(session) if to == "cancelled" else None
    return backfill
