"""How a run stands, and what every change to the ledger starts with: the job's lock and the database's clock."""

import datetime as dt
import uuid
from typing import Any, Literal, NamedTuple, TypeVar

from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from nightshift.declaration import Run
from nightshift.ledger.tables import Attempt, QuarantinedItem, RegisteredJob, RunRecord

ERRORS_KEPT = 10
NOTES_KEPT = 50

RUNS_COMPARED = 20
"""From so many of a job's last runs it is told how long the next one will take."""

Row = TypeVar("Row")

Ending = Literal["finished", "interrupted", "failed", "lost"]


class Standing(NamedTuple):
    """How a run stands: the answer to a claim that was not granted, and the result of a run that has ended."""

    run: Run
    state: str
    reason: str | None
    duration_ms: int | None
    counters: dict[str, int]
    errors: list[str]
    plan: dict[str, Any] | None
    last_request_id: str | None = None
    """Lambda's request id of the last attempt. Lambda's retries of an invocation have the same id."""
    notes: tuple[str, ...] = ()
    """What whoever looks at the run should read: what was kept and why, and advice."""

    @classmethod
    def of(cls, record: RunRecord, last_request_id: str | None = None) -> "Standing":
        return cls(
            frozen(record),
            record.state,
            record.reason,
            duration_ms(record.started_at, record.finished_at),
            record.counters,
            record.errors,
            record.plan,
            last_request_id,
            tuple(record.notes),
        )


def duration_ms(started_at: dt.datetime | None, finished_at: dt.datetime | None) -> int | None:
    """How long a run took from its first attempt, since it was opened or redriven, to its end; None before that."""
    return round((finished_at - started_at).total_seconds() * 1000) if started_at and finished_at else None


def lock_job(session: Session, job: str) -> tuple[RegisteredJob, dt.datetime]:
    """Lock the job's row: claims of one job happen one after the other. Returns it with the time since which it is."""
    known = with_clock(select(RegisteredJob).where(RegisteredJob.name == job).with_for_update(), RegisteredJob)
    if (found := session.execute(known).one_or_none()) is None:
        session.execute(insert(RegisteredJob).values(name=job).on_conflict_do_nothing())
        found = session.execute(known).one()
    registered, clock = found
    return registered, clock


def with_clock(locking: Select[Row], of: type[Row]) -> Select[Row, dt.datetime]:
    """The same rows, each with the database's clock at the moment at which it was locked.

    Within the statement that locks, PostgreSQL would ask the clock before it waits for the lock.
    """
    return select(aliased(of, locking.subquery()), func.clock_timestamp())


def database_clock(session: Session) -> dt.datetime:
    clock: dt.datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return clock


def frozen(record: RunRecord) -> Run:
    """The facts of the run that never change."""
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


def end_attempt(
    session: Session, record: RunRecord, clock: dt.datetime, ending: Ending, error: str | None = None
) -> None:
    """Close the run's current attempt, unless it is closed already."""
    session.execute(
        update(Attempt)
        .where(Attempt.run_id == record.id, Attempt.epoch == record.epoch, Attempt.ended_at.is_(None))
        .values(ended_at=clock, ending=ending, error=error)
    )


def durations(session: Session, job: str) -> list[tuple[float, dict[str, int]]]:
    """How many seconds each of a job's last successful runs took, with its counters. In the caller's transaction."""
    took = func.extract("epoch", RunRecord.finished_at - RunRecord.started_at)
    last = (
        select(took, RunRecord.counters)
        .where(RunRecord.job == job, RunRecord.mode == "apply", RunRecord.state == "succeeded")
        .order_by(RunRecord.scheduled_for.desc())
        .limit(RUNS_COMPARED)
    )
    return [(float(seconds), counters) for seconds, counters in session.execute(last) if seconds is not None]


def quarantined(session: Session, run_id: uuid.UUID, step: str) -> set[str]:
    """The items that a step of a run has left as they were. In the caller's transaction."""
    mine = (QuarantinedItem.run_id == run_id, QuarantinedItem.step == step)
    return set(session.scalars(select(QuarantinedItem.item).where(*mine)))


def standing(session: Session, run_id: uuid.UUID) -> Standing:
    """How a run stands now.

    Raises:
        NoResultFound: there is no such run.
    """
    with session.begin():
        return Standing.of(session.execute(select(RunRecord).where(RunRecord.id == run_id)).scalar_one())
