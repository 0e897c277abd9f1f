"""The supervisor reads the ledger every minute and continues what nobody else would.

- An occurrence whose event did not arrive is settled by its job's policy.
- Interrupted runs, waiting runs, runs whose attempt died, and retries that Lambda lost get their next attempt from
  here. A job never invokes itself, because AWS cuts such chains after 16 hops.
- A run that died on its last attempt is settled.
- A final failure that nobody has been told of is reported. The operators are told of each, and of the recovery.
- What is unusual about a run, or about a job without a success, is marked and told once.
- Backfills that somebody has asked for are worked off, one run of a job at a time.
- An open run of a job that the settings disable, or that is not deployed any more, is cancelled: nobody may begin it.
- Runs that ended long ago are deleted from the ledger.
"""

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from nightshift import ledger, telemetry
from nightshift.database import describe, still_answers
from nightshift.declaration import DeployedJob, Deployment, function_name, iso
from nightshift.declaration.windows import Freeze, freeze_of
from nightshift.ledger import Stalled, Standing, anomalies, backfills, dialling, occurrences

InvokeLater = Callable[[str, Mapping[str, Any]], None]
"""Invoke a function by name with a payload, asynchronously."""

Report = Callable[[Mapping[str, Any]], None]
"""Put a record of a final failure into the dead-letter queue."""


@dataclass(frozen=True)
class Notice:
    """What the operators are told of a job, past alarms, in words."""

    title: str
    happened: str
    first: str
    """What to do first; empty where there is nothing to do."""
    read_on: str
    """The anchor of a section of the operations guide."""


Tell = Callable[[Notice], None]
"""Publish a notice to the operators."""

SECONDS_BETWEEN_LOOKS = 2.0
"""While an occurrence waits for the one before it to end."""


@dataclass(frozen=True)
class Round:
    """What one round did."""

    caught_up: int
    missed: int
    continued: int
    failed: int
    hindered: int
    """How many runs and jobs could not be looked after, each for a reason of its own."""
    oldest_open_seconds: float


def look_over(
    session: Session,
    deployment: Deployment,
    invoke_later: InvokeLater,
    report: Report,
    *,
    tell: Tell | None = None,
    stay: Callable[[float], bool] = lambda _: False,
) -> Round:
    """One round. `invoke_later` and `report` are parameters, so that a test can replace AWS.

    tell: tells the operators of each final failure, and of the job's first success after it. Without it nobody is told,
        and what happens meanwhile is told once there is one again.
    stay: waits so many seconds, and says whether there is time for another look. While an occurrence waits for its
        turn, the round goes on: those after it would otherwise begin one a minute. A run is begun once a round at most.

    Each run and each job is looked after apart. What fails for one of them is logged and measured, and the others'
    turn comes.

    A final failure that nobody has heard of is reported, and then noted as reported. If the supervisor dies in between,
    the failure is reported twice, never zero times.
    """
    (jobs, misunderstood), apart = deployment.understood(), _Apart(session)
    for name, one in misunderstood.items():
        apart.hindered += 1
        telemetry.error("supervisor.hindered", job=name, reason=one.reason)
    declared = [one.job for one in jobs.values()] + [one.job for one in misunderstood.values()]
    critical = {job.name for job in declared if job.critical}
    failed = 0
    for dead in ledger.exhausted(session):
        with apart.of(dead.job, run_id=dead.run_id):
            failed += _give_up(session, dead, critical=dead.job in critical)
    for unheard in ledger.unreported(session):
        run = unheard.standing.run
        with apart.of(run.job, run_id=run.id):
            report(failure_record(unheard.standing, died=unheard.died))
            ledger.note_reported(session, run.id)
    if tell is not None:
        _tell(session, tell, apart)
    working = [name for name, deployed in jobs.items() if deployed.enabled]
    kept_back = _kept_back(session, jobs, deployment.freezes)
    for job, open_runs in ledger.left_behind(session, [*working, *misunderstood]).items():
        with apart.of(job):
            why = "the deployment's settings disable its job" if job in jobs else "its job is not deployed any more"
            telemetry.warn("runs.left_behind", job=job, runs=open_runs, reason=why)
            ledger.settle_left_behind(session, job, why)
    unannounced: Counter[str] = Counter()
    for watched in occurrences.watched(session, jobs):
        with apart.of(watched.name):
            unannounced += occurrences.account(session, watched, jobs[watched.name])
    if unannounced:
        telemetry.warn("occurrences.unannounced", counts=dict(unannounced))
    may_go_on = {name: jobs[name] for name in working if name not in kept_back}
    unusual = _tell_what_is_unusual(session, may_go_on, tell, apart)
    with session.begin():
        ledger.forget(session)
        ledger.note_alive(session, ledger.SUPERVISOR)
    oldest = ledger.oldest_open_seconds(session)
    begun: set[uuid.UUID] = set()
    continued = 0
    while True:
        filling = _fill(session, may_go_on, apart)
        continued += _go_on(session, may_go_on, invoke_later, apart, begun)
        if not (filling or ledger.waiting(session, may_go_on)) or not stay(SECONDS_BETWEEN_LOOKS):
            break
    caught_up, missed = unannounced["queued"], unannounced["missed"]
    telemetry.measure(
        OccurrencesCaughtUp=caught_up,
        OccurrencesMissed=missed,
        RunsContinued=continued,
        RunsFailed=failed,
        Anomalies=unusual,
        SupervisorHindered=apart.hindered,
        OldestOpenRunSeconds=oldest,
    )
    return Round(caught_up, missed, continued, failed, apart.hindered, oldest)


def _tell_what_is_unusual(session: Session, jobs: Mapping[str, DeployedJob], tell: Tell | None, apart: "_Apart") -> int:
    """Mark runs that are unusual, and jobs without a success, and tell the operators of each once. Returns how many.

    It is told before it is noted: if the supervisor dies in between, it is told twice, never zero times.
    """
    told = 0
    if tell is None:
        return told
    for run_id, name in anomalies.unjudged(session):
        if name in jobs:
            with apart.of(name, run_id=run_id), session.begin():
                for found in anomalies.judge(session, run_id, jobs[name].job):
                    _unusual(tell, name, found.said, f"nightshift show {run_id}")
                    told += 1
    for silent in anomalies.silences(session, jobs):
        with apart.of(silent.job), session.begin():
            _unusual(tell, silent.job, silent.said, f"nightshift runs {silent.job}")
            anomalies.note_silence(session, silent)
            told += 1
    return told


def _unusual(tell: Tell, job: str, said: str, first: str) -> None:
    telemetry.warn("job.unusual", job=job, reason=said)
    tell(Notice(f"{job} is unusual", f"The job {job}: {said}", first, "a-run-is-unusual"))


def _fill(session: Session, jobs: Mapping[str, DeployedJob], apart: "_Apart") -> bool:
    """Go on with the backfills of these jobs. Returns whether there are any."""
    waiting = backfills.waiting_jobs(session, jobs)
    for name in waiting:
        with apart.of(name):
            backfills.advance(session, jobs[name])
    return bool(waiting)


def _kept_back(session: Session, jobs: Mapping[str, DeployedJob], freezes: Sequence[Freeze]) -> dict[str, str]:
    """The jobs that may do nothing now, with the reason: an operator holds them, or a freeze does.

    Their open runs are not invoked in vain every minute; they go on when it is over.
    """
    now = dt.datetime.now(dt.UTC)
    found = dialling.kept_back(session, jobs, now)
    for name, deployed in jobs.items():
        freeze = freeze_of(freezes, deployed.job, now)
        if freeze is not None:
            found[name] = str(freeze)
    if found:
        telemetry.log("jobs.kept_back", jobs=found)
    return found


class _Apart:
    """Looks after one run or job after the other. What hinders it in one is told, and the next one's turn comes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.hindered = 0

    @contextmanager
    def of(self, job: str, **about: Any) -> Iterator[None]:
        try:
            yield
        except Exception as cause:
            if not still_answers(self._session):
                raise  # not the trouble of one: the next round begins anew
            self.hindered += 1
            told = {name: str(value) for name, value in about.items()}
            telemetry.error("supervisor.hindered", cause, job=job, reason=describe(cause), **told)


def _go_on(
    session: Session, working: Collection[str], invoke_later: InvokeLater, apart: "_Apart", begun: set[uuid.UUID]
) -> int:
    """Have the runs that nobody works on go on, but for those that have been begun. Returns how many."""
    continued = 0
    for stalled in ledger.stalled(session):
        if stalled.job in working and stalled.run_id not in begun:
            begun.add(stalled.run_id)
            with apart.of(stalled.job, run_id=stalled.run_id):
                invoke_later(function_name(stalled.job), {"run_id": str(stalled.run_id)})
                telemetry.log("run.continued", job=stalled.job, run_id=str(stalled.run_id), state=stalled.state)
                continued += 1
    return continued


def _tell(session: Session, tell: Tell, apart: "_Apart") -> None:
    """Tell the operators what failed for good and what has recovered, each apart. If the supervisor dies between that
    and its note, it is told twice, never zero times.
    """
    for standing in ledger.untold(session):
        run = standing.run
        with apart.of(run.job, run_id=run.id):
            tell(
                Notice(
                    f"{run.job} has failed",
                    f"The job {run.job}, due {iso(run.now)}, has failed for good, run {run.id}: {standing.reason}",
                    f"nightshift show {run.id}, and when its cause is mended: nightshift redrive {run.id}",
                    "a-job-failed",
                )
            )
            ledger.note_told(session, run.id)
    for standing in ledger.recovered(session):
        run = standing.run
        with apart.of(run.job, run_id=run.id):
            happened = (
                f"The job {run.job}, due {iso(run.now)}, has succeeded, run {run.id}: the first time since it failed"
            )
            tell(Notice(f"{run.job} is well again", happened, "", "a-job-failed"))
            ledger.note_recovered(session, run.job)


def _give_up(session: Session, dead: Stalled, *, critical: bool) -> int:
    """Settle a run that no attempt will work on any more. Returns whether this has done it, as a number."""
    standing = ledger.fail_exhausted(session, dead.run_id, critical=critical)
    if standing is None:
        return 0
    telemetry.error("run.given_up", job=dead.job, run_id=str(dead.run_id), reason=standing.reason)
    return 1


def failure_record(standing: Standing, *, died: bool) -> dict[str, Any]:
    """A final failure in the form of Lambda's on-failure record, so that readers of the queue see one form."""
    why = "LeaseExpired" if died else "RunFailed"
    return {
        "version": "1.0",
        "timestamp": iso(dt.datetime.now(dt.UTC)),
        "requestContext": {"functionName": function_name(standing.run.job), "condition": why},
        "requestPayload": {"run_id": str(standing.run.id)},
        "responsePayload": {"errorType": why, "errorMessage": standing.reason},
    }
