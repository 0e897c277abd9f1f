"""What is unusual about a run, measured by the job's own last runs, and about a job that has no success.

Only runs of the schedule are judged, and by such runs: what a person asks for may have other parameters, and what a
backfill does has other rows. A job with fewer than `LEAST_HISTORY` successes is not judged at all.
"""

import datetime as dt
import statistics
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from nightshift.declaration import PERIODS_WITHOUT_SUCCESS, DeployedJob, Job, Schedule, iso
from nightshift.ledger.claims import UNASKED
from nightshift.ledger.pauses import pause_in_force
from nightshift.ledger.runs import RUNS_COMPARED, database_clock, lock_job
from nightshift.ledger.tables import RegisteredJob, RunRecord

LEAST_HISTORY = 5
"""So many successes of the schedule a job needs before its runs are judged. The last 20 are compared."""

TIMES_SLOWER = 5
LEAST_SECONDS_LONGER = 60.0
"""A run is slow if it took five times the median and a minute more. Seconds more are no news."""

USUALLY = 0.9
"""A job usually touches rows if it did in so many of its last runs."""

TIMES_MORE = 10
TIMES_THE_MOST = 2
LEAST_ROWS_MORE = 1_000
"""A run touched far more if it is ten times the median, twice the most there was, and a thousand rows more than that
median."""

JUDGED_WITHIN = dt.timedelta(days=1)
"""Runs that ended longer ago are not judged any more."""

JUDGED_AT_ONCE = 200

Kind = Literal["slow", "nothing", "many"]


@dataclass(frozen=True)
class Past:
    """What one of a job's last runs took and touched."""

    seconds: float
    touched: int


@dataclass(frozen=True)
class Anomaly:
    """One thing that is unusual about a run."""

    run_id: uuid.UUID
    job: str
    kind: Kind
    said: str


@dataclass(frozen=True)
class Silence:
    """A job without a success for longer than its rhythm allows."""

    job: str
    since: dt.datetime
    said: str


def judged(history: Sequence[Past], seconds: float, touched: int | None) -> dict[Kind, str]:
    """What is unusual, in words, by kind.

    touched: how many rows the run has changed; None while it is at work, and for a job that changes none.
    """
    if len(history) < LEAST_HISTORY:
        return {}
    found: dict[Kind, str] = {}
    usual = statistics.median(past.seconds for past in history)
    if seconds > TIMES_SLOWER * usual and seconds - usual > LEAST_SECONDS_LONGER:
        found["slow"] = f"it has taken {seconds:,.0f} s, and usually takes {usual:,.0f} s"
    if touched is None:
        return found
    rows = [past.touched for past in history]
    middle = statistics.median(rows)
    if touched == 0 and sum(number > 0 for number in rows) >= USUALLY * len(rows):
        found["nothing"] = f"it has touched no row, and usually touches {middle:,.0f}"
    far_more = touched > TIMES_MORE * middle and touched > TIMES_THE_MOST * max(rows)
    if far_more and touched - middle >= LEAST_ROWS_MORE:
        found["many"] = f"it has touched {touched:,} rows, and usually touches {middle:,.0f}"
    return found


def unjudged(session: Session) -> list[tuple[uuid.UUID, str]]:
    """Runs of the schedule that are at work or have succeeded, and are not known to be usual or unusual."""
    with session.begin():
        lately = RunRecord.finished_at > database_clock(session) - JUDGED_WITHIN
        ended = and_(RunRecord.state == "succeeded", lately, RunRecord.judged_at.is_(None))
        found = select(RunRecord.id, RunRecord.job).where(
            RunRecord.trigger.in_(UNASKED), RunRecord.mode == "apply", or_(ended, RunRecord.state == "running")
        )
        return [(run, job) for run, job in session.execute(found.order_by(RunRecord.created_at).limit(JUDGED_AT_ONCE))]


def judge(session: Session, run_id: uuid.UUID, job: Job) -> list[Anomaly]:
    """Mark a run with what is unusual about it, in the caller's transaction. Returns what nobody knew before."""
    found = select(RunRecord).where(RunRecord.id == run_id).with_for_update(skip_locked=True)
    record = session.scalars(found.execution_options(populate_existing=True)).one_or_none()
    if record is None or record.started_at is None or record.state not in ("running", "succeeded"):
        return []
    ended = record.state == "succeeded"
    touches = ended and any(step.changes for step in job.steps)
    seconds = ((record.finished_at or database_clock(session)) - record.started_at).total_seconds()
    touched = job.changed(record.counters) if touches else None
    known = record.anomalies or {}
    unusual = judged(_history(session, record, job), seconds, touched)
    fresh = [Anomaly(run_id, job.name, kind, said) for kind, said in unusual.items() if kind not in known]
    if ended:
        record.judged_at = database_clock(session)
    if fresh:
        record.anomalies = known | {str(kind): said for kind, said in unusual.items()}
    return fresh


def _history(session: Session, record: RunRecord, job: Job) -> list[Past]:
    last = (
        select(RunRecord.started_at, RunRecord.finished_at, RunRecord.counters)
        .where(
            RunRecord.job == record.job,
            RunRecord.mode == "apply",
            RunRecord.state == "succeeded",
            RunRecord.trigger.in_(UNASKED),
            RunRecord.scheduled_for < record.scheduled_for,
        )
        .order_by(RunRecord.scheduled_for.desc())
        .limit(RUNS_COMPARED)
    )
    return [
        Past((finished - started).total_seconds(), job.changed(counters))
        for started, finished, counters in session.execute(last)
        if started is not None and finished is not None
    ]


def silences(session: Session, jobs: Mapping[str, DeployedJob]) -> list[Silence]:
    """The jobs that have no success for longer than two periods of their schedules, and of which nobody knows it yet.

    Those that are paused are left out.
    """
    last = select(RunRecord.finished_at).where(RunRecord.job == RegisteredJob.name, RunRecord.state == "succeeded")
    success = last.order_by(RunRecord.scheduled_for.desc()).limit(1).scalar_subquery()
    with session.begin():
        clock = database_clock(session)
        rows = session.execute(select(RegisteredJob, success).where(RegisteredJob.name.in_(jobs))).all()
        return [
            found
            for registered, at in rows
            if (found := _silent(jobs[registered.name].schedule, registered, at, clock)) is not None
            and pause_in_force(session, registered, clock) is None
        ]


def _silent(
    schedule: Schedule, registered: RegisteredJob, success: dt.datetime | None, clock: dt.datetime
) -> Silence | None:
    since = success or registered.registered_at
    if registered.silent_since == since or (due := schedule.next_after(since)) is None or due > clock:
        return None
    if clock - since <= PERIODS_WITHOUT_SUCCESS * schedule.period(clock):
        return None
    said = f"its last success was at {iso(since)}" if success else f"it has not succeeded since {iso(since)}"
    return Silence(registered.name, since, f"{said}, more than two periods of its schedule ago")


def note_silence(session: Session, silence: Silence) -> None:
    """Operators are told of it, in the caller's transaction."""
    registered, _ = lock_job(session, silence.job)
    registered.silent_since = silence.since
