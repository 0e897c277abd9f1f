"""Occurrences whose event did not arrive: found from the schedules, and settled by the policies of their jobs.

EventBridge delivers an event at least once and, rarely, never. For each job the ledger holds an instant: every
occurrence before it has a run. An occurrence after it that is due for two minutes and has no run gets one here. It is
queued to be caught up, or settled with the reason why not. If the event arrives after all, it finds the occurrence
taken.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ARRAY, DateTime, cast, exists, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from nightshift.database.transaction import transaction
from nightshift.declaration import DeployedJob
from nightshift.ledger.claims import MAX_ATTEMPTS, Request, open_run
from nightshift.ledger.pauses import pause_in_force
from nightshift.ledger.runs import database_clock, lock_job
from nightshift.ledger.tables import RegisteredJob, RunRecord


def occurrences(session: Session, job: str, first: dt.datetime, last: dt.datetime) -> set[dt.datetime]:
    """The occurrences of a job, from `first` to `last`, that have a run."""
    taken = select(RunRecord.scheduled_for).where(
        RunRecord.job == job,
        RunRecord.scheduled_for.between(first, last),
        RunRecord.mode == "apply",
        RunRecord.forced.is_(False),
    )
    return set(session.scalars(taken))


def note_missed(session: Session, job: str, times: Sequence[dt.datetime], reason: str, clock: dt.datetime) -> None:
    """Settle occurrences as missed. The caller has locked the job, and knows that they have no run."""
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


PATIENCE = dt.timedelta(minutes=2)
"""How long an event may take to arrive: a rule fires within its minute, and Lambda's queue is usually fast."""

LOCK_SECONDS = 2
"""How long one job's lock is waited for, which others of its claims may hold. The other jobs' turn comes soon."""

REACH = dt.timedelta(days=31)
"""How far back this looks for occurrences, even after a longer pause of the supervisor."""


@dataclass(frozen=True)
class Watched:
    """A job whose occurrences are looked for, as the ledger knows it."""

    name: str
    schedule: str | None
    accounted_until: dt.datetime
    horizon: dt.datetime
    """Occurrences before this instant should have a run by now."""


def watched(session: Session, jobs: Collection[str]) -> list[Watched]:
    """Those of the jobs that the ledger knows."""
    with session.begin():
        horizon = database_clock(session) - PATIENCE
        known = select(RegisteredJob.name, RegisteredJob.schedule, RegisteredJob.accounted_until)
        seen = session.execute(known.where(RegisteredJob.name.in_(jobs)).order_by(RegisteredJob.name))
        return [Watched(*row, horizon) for row in seen]


def account(session: Session, watched: Watched, deployed: DeployedJob) -> Counter[str]:
    """Give a run to every occurrence of a job that has none. Returns how many got which state.

    A schedule counts from the moment it is first seen here. So a job that is new, was enabled again, or has a new
    schedule has missed nothing.
    """
    known = watched.schedule == _schedule(deployed)
    if known and not (deployed.enabled and next(_due(deployed, watched.accounted_until, watched.horizon), None)):
        return Counter()
    with transaction(session, settings={"lock_timeout": f"{LOCK_SECONDS}s"}):
        return +_account(session, deployed)  # without zeros


def _account(session: Session, deployed: DeployedJob) -> Counter[str]:
    """The same, under the lock that claims take: an event that arrives now comes before or after this."""
    registered, clock = lock_job(session, deployed.job.name)
    horizon = clock - PATIENCE
    found: Counter[str] = Counter()
    if deployed.enabled and registered.schedule == _schedule(deployed):
        due = list(_due(deployed, registered.accounted_until, horizon))
        found = _settle(session, registered, deployed, due, clock)
    registered.schedule = _schedule(deployed)
    registered.accounted_until = max(registered.accounted_until, horizon)
    return found


def _schedule(deployed: DeployedJob) -> str | None:
    """The schedule by which occurrences are expected; None for a disabled job."""
    return str(deployed.schedule) if deployed.enabled else None


def _due(deployed: DeployedJob, since: dt.datetime, horizon: dt.datetime) -> Iterator[dt.datetime]:
    return deployed.schedule.between(max(since, horizon - REACH), horizon)


def _settle(
    session: Session, registered: RegisteredJob, deployed: DeployedJob, due: list[dt.datetime], clock: dt.datetime
) -> Counter[str]:
    """Make a run for each due occurrence that has none. The policy decides which are missed; the rest may run."""
    if not due:
        return Counter()
    announced = occurrences(session, registered.name, due[0], due[-1])
    missing = [time for time in due if time not in announced]
    policy = deployed.job.effective_policy
    if pause_in_force(session, registered, clock) is not None or policy.missed == "every":
        given_up, reason = [], ""
    elif policy.missed == "none":
        given_up, reason = missing, "this job does not catch up"
    else:
        given_up = [time for time in missing if time < due[-1]]
        reason = f"a later occurrence is due: {due[-1]:%Y-%m-%dT%H:%M:%SZ}"
    note_missed(session, registered.name, given_up, f"no event arrived for it, and {reason}", clock)
    states = Counter({"missed": len(given_up)})
    for time in missing[len(given_up) :]:
        request = Request("catch_up", scheduled_for=time, parameters=deployed.parameters)
        states[open_run(session, registered, policy, request, clock).state] += 1
    return states


@dataclass(frozen=True)
class NeverBegun:
    """A job of which no run has ever begun, without plans."""

    job: str
    registered_at: dt.datetime | None
    """None: no deployment has made it known to the ledger."""
    due: dt.datetime | None
    """Its first occurrence that has no run, if that was due for `PATIENCE`, and for as long again to find it."""
    ended: dict[str, int]
    """Its runs that never began, by state."""


def never_begun(session: Session, jobs: Mapping[str, DeployedJob]) -> list[NeverBegun]:
    """Such jobs among those that the settings do not disable, in the caller's transaction."""
    registered = {each.name: each for each in session.scalars(select(RegisteredJob))}
    begun = exists().where(RunRecord.job == RegisteredJob.name, RunRecord.mode == "apply", RunRecord.epoch > 0)
    others = set(session.scalars(select(RegisteredJob.name).where(~begun)))
    names = [name for name, each in jobs.items() if each.enabled and (name in others or name not in registered)]
    states: dict[str, dict[str, int]] = {name: {} for name in names}
    counted = select(RunRecord.job, RunRecord.state, func.count()).where(
        RunRecord.job.in_(names), RunRecord.mode == "apply"
    )
    for job, state, number in session.execute(
        counted.group_by(RunRecord.job, RunRecord.state).order_by(RunRecord.job, RunRecord.state)
    ):
        states[job][state] = number
    horizon = database_clock(session) - 2 * PATIENCE
    return [
        NeverBegun(
            name,
            registered[name].registered_at if name in registered else None,
            _unaccounted(registered.get(name), jobs[name], horizon),
            states[name],
        )
        for name in names
    ]


def _unaccounted(registered: RegisteredJob | None, deployed: DeployedJob, horizon: dt.datetime) -> dt.datetime | None:
    """The first occurrence before the horizon that has no run. A schedule of which the supervisor knows another one
    begins with its next round."""
    if registered is None or registered.schedule not in (None, _schedule(deployed)):
        return None
    return next(_due(deployed, registered.accounted_until, horizon), None)
