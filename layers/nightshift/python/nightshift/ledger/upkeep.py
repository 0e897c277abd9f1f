"""Runs that nobody works on: stalled runs, runs out of attempts, and runs that ended long ago."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, aliased

from nightshift import telemetry
from nightshift.database.apart import BRIEFLY, each_for_itself
from nightshift.database.transaction import transaction
from nightshift.ledger.claims import in_turn
from nightshift.ledger.endings import fail
from nightshift.ledger.operators import CommandRecord, SignOfLife
from nightshift.ledger.runs import Standing, database_clock, end_attempt
from nightshift.ledger.tables import OPEN_STATES, Attempt, RunRecord

KEPT = dt.timedelta(days=400)
"""How long the ledger keeps a run that has ended: a year and a month, so that two years can be compared."""

COMMANDS_KEPT = dt.timedelta(days=3 * 365)
"""How long the ledger keeps who changed what: longer than the runs, whose ids then lead nowhere."""

FORGOTTEN_AT_ONCE = 500
SHARE_APPLIES_ABOVE = 1_000
REPORTED_AT_ONCE = 100


@dataclass(frozen=True)
class Stalled:
    """An open run that nobody works on."""

    run_id: uuid.UUID
    job: str
    state: str


RETRY_PATIENCE = dt.timedelta(minutes=1)
"""Lambda retries after one and two minutes. The supervisor's next round after this time starts what Lambda has not: it
gives up for good on what it could not start."""

ASKED = ("manual",)
"""Triggers with a person behind them, who may have waited for the failure and seen it."""

ASKED_PATIENCE = dt.timedelta(minutes=4)
"""After this time Lambda does not retry any more what a person has invoked, or never would have."""


def stalled(session: Session) -> list[Stalled]:
    """Open runs that need a new attempt, oldest occurrence first: interrupted, waiting, or left by a dead attempt.

    What a person has asked for and seen fail is not tried again unasked: see `exhausted`.

    Of the runs of one job that wait for each other, only the first, and only when none is at work: the others could not
    start yet.
    """
    needs_attempt = or_(
        RunRecord.state.in_(("interrupted", "queued")),
        and_(RunRecord.state == "running", RunRecord.lease_until < func.clock_timestamp()),
        and_(RunRecord.trigger.not_in(ASKED), _waits_for_a_retry(RETRY_PATIENCE)),
    )
    other = aliased(RunRecord)
    ahead = exists().where(
        other.job == RunRecord.job,
        other.mode == "apply",
        other.state.in_(OPEN_STATES),
        other.id != RunRecord.id,
        or_(
            and_(other.state == "running", other.lease_until > func.clock_timestamp()),
            in_turn(other) < in_turn(RunRecord),
        ),
    )
    may_start = or_(RunRecord.mode == "plan", ~ahead)
    first = (
        select(RunRecord.id, RunRecord.job, RunRecord.state, RunRecord.scheduled_for)
        .where(RunRecord.attempts < RunRecord.max_attempts, needs_attempt, may_start)
        .ext(distinct_on(RunRecord.job, RunRecord.mode))
        .order_by(RunRecord.job, RunRecord.mode, RunRecord.scheduled_for, RunRecord.id)
        .subquery()
    )
    with session.begin():
        found = session.execute(select(first.c.id, first.c.job, first.c.state).order_by(first.c.scheduled_for))
        return [Stalled(*row) for row in found]


@dataclass(frozen=True)
class Unreported:
    """A run that failed for good, of which nobody has been told."""

    standing: Standing
    died: bool
    """Its last attempt ended without a word."""


def unreported(session: Session) -> list[Unreported]:
    """Such runs, those that failed first before the others."""
    ending = select(Attempt.ending).where(Attempt.run_id == RunRecord.id, Attempt.epoch == RunRecord.epoch)
    found = select(RunRecord, ending.scalar_subquery()).where(
        RunRecord.state == "failed", RunRecord.reported_at.is_(None)
    )
    with session.begin():
        rows = session.execute(found.order_by(RunRecord.finished_at, RunRecord.id).limit(REPORTED_AT_ONCE))
        return [Unreported(Standing.of(record), how == "lost") for record, how in rows]


def note_reported(session: Session, run_id: uuid.UUID) -> None:
    """Somebody has been told of the run's failure."""
    _note(session, "reported_at", RunRecord.id == run_id, RunRecord.state == "failed")


def _note(session: Session, what: str, *runs: ColumnElement[bool]) -> None:
    """Write down of these runs that it has happened now."""
    noted = update(RunRecord).where(*runs).values({what: func.clock_timestamp()})
    with transaction(session, settings=BRIEFLY):
        session.execute(noted.execution_options(synchronize_session=False))


def untold(session: Session) -> list[Standing]:
    """Runs that failed for good, of which the operators have not been told in words. Plans are their asker's own."""
    found = select(RunRecord).where(RunRecord.state == "failed", RunRecord.mode == "apply", RunRecord.told_at.is_(None))
    with session.begin():
        rows = session.scalars(found.order_by(RunRecord.finished_at, RunRecord.id).limit(REPORTED_AT_ONCE))
        return [Standing.of(record) for record in rows]


def note_told(session: Session, run_id: uuid.UUID) -> None:
    """The operators have been told of the run's failure."""
    _note(session, "told_at", RunRecord.id == run_id, RunRecord.state == "failed")


def recovered(session: Session) -> list[Standing]:
    """The first success of each job since the operators were told of a failure, where they have not heard of it."""
    failed = aliased(RunRecord)
    open_failures = (
        select(failed.job, func.max(failed.told_at).label("told_at"))
        .where(failed.told_at.is_not(None), failed.recovered_at.is_(None))
        .group_by(failed.job)
        .subquery()
    )
    first = (
        select(RunRecord)
        .join(
            open_failures, and_(RunRecord.job == open_failures.c.job, RunRecord.finished_at > open_failures.c.told_at)
        )
        .where(RunRecord.state == "succeeded", RunRecord.mode == "apply")
        .ext(distinct_on(RunRecord.job))
        .order_by(RunRecord.job, RunRecord.finished_at)
    )
    with session.begin():
        return [Standing.of(record) for record in session.scalars(first)]


def note_recovered(session: Session, job: str) -> None:
    """The operators have been told that the job succeeds again."""
    _note(
        session, "recovered_at", RunRecord.job == job, RunRecord.told_at.is_not(None), RunRecord.recovered_at.is_(None)
    )


SUPERVISOR = "supervisor"


def note_alive(session: Session, name: str) -> None:
    """A function of the platform has done its work to the end, in the caller's transaction."""
    sign = insert(SignOfLife).values(name=name, at=func.clock_timestamp())
    session.execute(sign.on_conflict_do_update(index_elements=[SignOfLife.name], set_={"at": sign.excluded.at}))


def left_behind(session: Session, working: Collection[str]) -> dict[str, int]:
    """How many open runs that nobody works on other jobs have than these, by job."""
    left = select(RunRecord.job, func.count()).where(RunRecord.job.not_in(working), *_idle())
    with session.begin():
        return dict(session.execute(left.group_by(RunRecord.job).order_by(RunRecord.job)).all())


def settle_left_behind(session: Session, job: str, reason: str) -> int:
    """Cancel the open runs of a job that nobody works on and nobody may begin. Returns how many.

    An attempt that still works is left to its end.
    """
    with transaction(session, settings=BRIEFLY):
        clock = database_clock(session)
        told = func.concat(reason, ", and it was ", RunRecord.state, "; redrive it once the job runs again")
        ended = {"state": "cancelled", "reason": told, "finished_at": clock, "lease_until": None}
        cancelled = update(RunRecord).where(RunRecord.job == job, *_idle()).values(ended).returning(RunRecord.id)
        runs = session.scalars(cancelled.execution_options(synchronize_session=False)).all()
        lost = update(Attempt).where(Attempt.run_id.in_(runs), Attempt.ended_at.is_(None))
        session.execute(lost.values(ended_at=clock, ending="lost").execution_options(synchronize_session=False))
    return len(runs)


def _idle() -> tuple[ColumnElement[bool], ...]:
    """Open runs that nobody works on."""
    dead = RunRecord.lease_until < func.clock_timestamp()
    return (RunRecord.state.in_(OPEN_STATES), or_(RunRecord.state != "running", dead))


def waiting(session: Session, working: Collection[str]) -> bool:
    """Whether an occurrence of one of these jobs waits for its turn."""
    queued = select(RunRecord.id).where(RunRecord.state == "queued", RunRecord.job.in_(working))
    with session.begin():
        return session.scalar(queued.limit(1)) is not None


def oldest_open_seconds(session: Session) -> float:
    """How many seconds ago the oldest open run was due; 0 when no run is open. Those of backfills were due long ago."""
    oldest = func.min(RunRecord.scheduled_for)
    age = func.extract("epoch", func.clock_timestamp() - oldest)
    with session.begin():
        found = session.execute(
            select(age).where(RunRecord.state.in_(OPEN_STATES), RunRecord.trigger != "backfill")
        ).scalar_one()
    return max(0.0, float(found or 0))


def exhausted(session: Session) -> list[Stalled]:
    """Runs whose lease expired on their last attempt, and those that a person asked for, failed, and nobody retried."""
    with session.begin():
        dead = select(RunRecord.id, RunRecord.job, RunRecord.state).where(_exhausted())
        return [Stalled(*row) for row in session.execute(dead.order_by(RunRecord.scheduled_for))]


def fail_exhausted(session: Session, run_id: uuid.UUID, *, critical: bool) -> Standing | None:
    """Settle such a run as failed. None: somebody else has settled it, or is about to.

    It is not reported by that: see `unreported`.
    `critical`: the job is critical, and the project is told of the failure.
    """
    dead = select(RunRecord).where(RunRecord.id == run_id, _exhausted()).with_for_update(skip_locked=True)
    with transaction(session, settings=BRIEFLY):
        record = session.scalars(dead.execution_options(populate_existing=True)).one_or_none()
        if record is None:
            return None
        clock = database_clock(session)
        if record.state == "retrying":
            reason = f"{record.reason}; nobody tried it again"
        else:
            reason = f"attempt {record.attempts} of {record.max_attempts} died without a result"
        end_attempt(session, record, clock, "lost")
        fail(session, record, clock, reason, critical=critical)
        return Standing.of(record)


def _exhausted() -> ColumnElement[bool]:
    died = and_(RunRecord.state == "running", RunRecord.lease_until < func.clock_timestamp())
    return or_(
        and_(died, RunRecord.attempts >= RunRecord.max_attempts),
        and_(RunRecord.trigger.in_(ASKED), _waits_for_a_retry(ASKED_PATIENCE)),
    )


def _waits_for_a_retry(patience: dt.timedelta) -> ColumnElement[bool]:
    """Its last attempt failed longer ago than that."""
    last_end = select(func.max(Attempt.ended_at)).where(Attempt.run_id == RunRecord.id).scalar_subquery()
    return and_(RunRecord.state == "retrying", last_end < func.clock_timestamp() - patience)


def forget(session: Session) -> int:
    """Delete some of the runs that ended longer ago than `KEPT`, in the caller's transaction. Returns how many.

    Many are not deleted while they are the greater part of all: then the clock is wrong, and not the ledger that old.
    """
    due = RunRecord.finished_at < database_clock(session) - KEPT
    number = session.scalar(select(func.count()).select_from(RunRecord).where(due)) or 0
    if number > SHARE_APPLIES_ABOVE and number * 2 > (of := session.scalar(select(func.count(RunRecord.id))) or 0):
        reason = "most runs look older than the ledger keeps them: is the database's clock right?"
        telemetry.error("ledger.not_forgotten", due=number, of=of, reason=reason)
        return 0
    ancient = select(CommandRecord.id).where(CommandRecord.at < database_clock(session) - COMMANDS_KEPT)
    _delete(session, CommandRecord, ancient.order_by(CommandRecord.at))
    return _delete(session, RunRecord, select(RunRecord.id).where(due).order_by(RunRecord.finished_at))


def _delete(session: Session, table: type[CommandRecord | RunRecord], which: Select[Any]) -> int:
    """Delete some of these rows, each apart from the others. Returns how many. A locked one has its turn later."""
    gone = 0

    def delete_these(ids: Sequence[Any]) -> None:
        nonlocal gone
        these = delete(table).where(table.id.in_(ids)).execution_options(synchronize_session=False)
        gone += session.execute(these).rowcount  # type: ignore[attr-defined]

    def leave(key: Any, reason: str, _cause: DBAPIError | None) -> None:
        telemetry.error("ledger.not_forgotten", table=table.__tablename__, row=str(key), reason=reason)

    ids = session.scalars(which.limit(FORGOTTEN_AT_ONCE).with_for_update(skip_locked=True)).all()
    each_for_itself(session, ids, delete_these, leave)
    return gone
