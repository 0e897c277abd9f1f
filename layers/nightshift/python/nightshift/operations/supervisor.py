"""The supervisor reads the ledger every minute and continues what nobody else would.

- An occurrence whose event did not arrive is settled by its job's policy.
- Interrupted runs, waiting runs, runs whose attempt died, and retries that Lambda lost get their next attempt from
  here. A job never invokes itself, because AWS cuts such chains after 16 hops.
- A run that died on its last attempt is settled.
- A final failure that nobody has been told of is reported. The operators are told of each, and of the recovery.
- What is unusual about a run, or about a job without a success, is marked and told once.
- Backfills that somebody has asked for are worked off, one run of a job at a time. Those of a job that the settings
  disable, or that is not deployed any more, are paused or cancelled, and that is told.
- An open run of a job that the settings disable, or that is not deployed any more, is cancelled: nobody may begin it.
- Runs that ended long ago are deleted from the ledger.
"""

import datetime as dt
import math
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy.orm import Session

from nightshift import ledger, telemetry
from nightshift.database.apart import BRIEFLY, Apart
from nightshift.database.transaction import transaction
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

Call = TypeVar("Call", bound=Callable[..., None])

SECONDS_BETWEEN_LOOKS = 2.0
"""While an occurrence waits for the one before it to end."""

TELLING_SECONDS = 8.0
"""What a round may spend on telling the operators, and as much on the queue of failures. The rest waits a minute."""

TELLING_PATIENCE = 1.0
"""A call that is made once, and fails after so many seconds, has met silence."""

INVOKING_PATIENCE = 5.0
"""The same of a call that is made up to three times, with pauses, where a function is throttled."""


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

    Each run, each job and each part of the round is looked after apart. What fails for one of them is logged and
    measured, and the others' turn comes. Runs go on before anybody is told anything, and telling has little time.

    A final failure that nobody has heard of is reported, and then noted as reported. If the supervisor dies in between,
    the failure is reported twice, never zero times.
    """
    (jobs, misunderstood), apart = deployment.understood(), Apart(session, "supervisor.hindered")
    for name, one in misunderstood.items():
        apart.hindered += 1
        telemetry.error("supervisor.hindered", job=name, reason=one.reason)
    declared = [one.job for one in jobs.values()] + [one.job for one in misunderstood.values()]
    invoke = _Channel(invoke_later, patience=INVOKING_PATIENCE)
    say = None if tell is None else _Channel(tell, seconds=TELLING_SECONDS, patience=TELLING_PATIENCE)
    failed = 0
    with apart.of(part="exhausted"):
        failed = _settle_exhausted(session, {job.name for job in declared if job.critical}, apart)
    working = [name for name, deployed in jobs.items() if deployed.enabled]
    with apart.of(part="left_behind"):
        _settle_left_behind(session, [*working, *misunderstood], jobs, apart)
    unannounced: Counter[str] = Counter()
    with apart.of(part="occurrences"):
        _account(session, jobs, unannounced, apart)
    kept_back: dict[str, str] = {}
    with apart.of(part="kept_back"):
        kept_back = _kept_back(session, jobs, deployment.freezes)
    may_go_on = {name: jobs[name] for name in working if name not in kept_back}
    begun: set[uuid.UUID] = set()
    waits = _continue(session, may_go_on, invoke, apart, begun)
    # What follows goes through AWS, or waits for locks. So the runs come first.
    with apart.of(part="alive"), transaction(session, settings=BRIEFLY):
        ledger.note_alive(session, ledger.SUPERVISOR)
    with apart.of(part="reports"):
        _report(session, _Channel(report, seconds=TELLING_SECONDS, patience=TELLING_PATIENCE), apart)
    if say is not None:
        with apart.of(part="tell"):
            _tell(session, say, apart)
    with apart.of(part="backfills"):
        _settle_backfills(session, jobs, misunderstood, say, apart)
    unusual = 0
    with apart.of(part="unusual"):
        unusual = _tell_what_is_unusual(session, may_go_on, say, apart)
    with apart.of(part="forget"), transaction(session, settings=BRIEFLY):
        ledger.forget(session)
    oldest = 0.0
    with apart.of(part="oldest"):
        oldest = ledger.oldest_open_seconds(session)
    while waits and invoke.open and stay(SECONDS_BETWEEN_LOOKS):
        waits = _continue(session, may_go_on, invoke, apart, begun)
    caught_up, missed = unannounced["queued"], unannounced["missed"]
    continued = len(begun) - invoke.failures
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


def _settle_exhausted(session: Session, critical: Collection[str], apart: Apart) -> int:
    """Settle the runs that no attempt will work on any more. Returns how many."""
    failed = 0
    for dead in ledger.exhausted(session):
        with apart.of(job=dead.job, run_id=dead.run_id):
            failed += _give_up(session, dead, critical=dead.job in critical)
    return failed


def _settle_left_behind(
    session: Session, working: Collection[str], jobs: Mapping[str, DeployedJob], apart: Apart
) -> None:
    """Cancel the open runs of all other jobs than those that work."""
    for job, open_runs in ledger.left_behind(session, working).items():
        with apart.of(job=job):
            why = _why_not(job, jobs)
            telemetry.warn("runs.left_behind", job=job, runs=open_runs, reason=why)
            ledger.settle_left_behind(session, job, why)


def _why_not(job: str, jobs: Mapping[str, DeployedJob]) -> str:
    return "the deployment's settings disable its job" if job in jobs else "its job is not deployed any more"


def _account(session: Session, jobs: Mapping[str, DeployedJob], unannounced: Counter[str], apart: Apart) -> None:
    """Give a run to every occurrence whose event did not arrive, and count them."""
    for watched in occurrences.watched(session, jobs):
        with apart.of(job=watched.name):
            unannounced += occurrences.account(session, watched, jobs[watched.name])
    if unannounced:
        telemetry.warn("occurrences.unannounced", counts=dict(unannounced))


def _continue(
    session: Session,
    jobs: Mapping[str, DeployedJob],
    invoke: "_Channel[InvokeLater]",
    apart: Apart,
    begun: set[uuid.UUID],
) -> bool:
    """Go on with runs and backfills. Returns whether something waits for another look."""
    filling = waiting = False
    with apart.of(part="backfills"):
        filling = _fill(session, jobs, apart)
    with apart.of(part="runs"):
        _go_on(session, jobs, invoke, apart, begun)
        waiting = ledger.waiting(session, jobs)
    return filling or waiting


def _report(session: Session, report: "_Channel[Report]", apart: Apart) -> None:
    for unheard in ledger.unreported(session):
        run = unheard.standing.run
        if report.open:
            with apart.of(job=run.job, run_id=run.id):
                report(failure_record(unheard.standing, died=unheard.died))
                ledger.note_reported(session, run.id)


def _settle_backfills(
    session: Session,
    jobs: Mapping[str, DeployedJob],
    misunderstood: Collection[str],
    tell: "_Channel[Tell] | None",
    apart: Apart,
) -> None:
    """End the backfills that nobody would work off, and tell it: it is told twice rather than never.

    That of a disabled job is paused, because the job may come back. Whoever deploys it no more, or by another name, has
    to ask again.
    """
    enabled = {name for name, deployed in jobs.items() if deployed.enabled}
    for left in backfills.left_behind(session, [*enabled, *misunderstood], jobs):
        if tell is not None and not tell.open:
            break
        with apart.of(job=left.job, backfill_id=left.id), transaction(session, settings=BRIEFLY):
            to: backfills.Ended = "paused" if left.job in jobs else "cancelled"
            if not backfills.settle_left_behind(session, left.id, to, why := _why_not(left.job, jobs)):
                continue
            telemetry.warn("backfill.left_behind", job=left.job, backfill_id=str(left.id), reason=why)
            if tell is not None:
                first = f"nightshift backfills {left.job}"
                happened = f"The backfill of {left.job} that {left.requested_by} asked for is {to}: {why}"
                tell(Notice(f"A backfill of {left.job} is {to}", happened, first, "a-backfill-was-ended"))


def _tell_what_is_unusual(
    session: Session, jobs: Mapping[str, DeployedJob], tell: "_Channel[Tell] | None", apart: Apart
) -> int:
    """Mark runs that are unusual, and jobs without a success, and tell the operators of each once. Returns how many.

    It is told before it is noted: if the supervisor dies in between, it is told twice, never zero times.
    """
    told = 0
    if tell is None:
        return told
    for run_id, name in anomalies.unjudged(session):
        if name in jobs and tell.open:
            with apart.of(job=name, run_id=run_id), transaction(session, settings=BRIEFLY):
                for found in anomalies.judge(session, run_id, jobs[name].job):
                    _unusual(tell, name, found.said, f"nightshift show {run_id}")
                    told += 1
    for silent in anomalies.silences(session, jobs):
        if not tell.open:
            break
        with apart.of(job=silent.job), transaction(session, settings=BRIEFLY):
            _unusual(tell, silent.job, silent.said, f"nightshift runs {silent.job}")
            anomalies.note_silence(session, silent)
            told += 1
    return told


def _unusual(tell: Tell, job: str, said: str, first: str) -> None:
    telemetry.warn("job.unusual", job=job, reason=said)
    tell(Notice(f"{job} is unusual", f"The job {job}: {said}", first, "a-run-is-unusual"))


def _fill(session: Session, jobs: Mapping[str, DeployedJob], apart: Apart) -> bool:
    """Go on with the backfills of these jobs. Returns whether there are any."""
    waiting = backfills.waiting_jobs(session, jobs)
    for name in waiting:
        with apart.of(job=name):
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


class _Channel(Generic[Call]):
    """A way to AWS, which a round leaves alone once it keeps silent, or has taken as much time as it may.

    A refusal comes at once and says nothing of the next call; silence takes a wait each time, and other work waits too.
    """

    def __init__(self, call: Call, *, seconds: float = math.inf, patience: float) -> None:
        """seconds: what all calls of the round may take. patience: a failure that took longer was silence."""
        self._call, self._left, self._patience = call, seconds, patience
        self.failures = 0

    @property
    def open(self) -> bool:
        return self._left > 0

    def __call__(self, *arguments: Any) -> None:
        begun = time.monotonic()
        try:
            self._call(*arguments)
        except Exception:
            self.failures += 1
            if time.monotonic() - begun > self._patience:
                self._left = 0
            raise
        finally:
            self._left -= time.monotonic() - begun


def _go_on(
    session: Session,
    working: Collection[str],
    invoke: "_Channel[InvokeLater]",
    apart: Apart,
    begun: set[uuid.UUID],
) -> None:
    """Have the runs that nobody works on go on, but for those that have been begun."""
    for stalled in ledger.stalled(session):
        if stalled.job in working and stalled.run_id not in begun and invoke.open:
            begun.add(stalled.run_id)
            with apart.of(job=stalled.job, run_id=stalled.run_id):
                invoke(function_name(stalled.job), {"run_id": str(stalled.run_id)})
                telemetry.log("run.continued", job=stalled.job, run_id=str(stalled.run_id), state=stalled.state)


def _tell(session: Session, tell: "_Channel[Tell]", apart: Apart) -> None:
    """Tell the operators what failed for good and what has recovered, each apart. If the supervisor dies between that
    and its note, it is told twice, never zero times.
    """
    for standing in ledger.untold(session):
        run = standing.run
        if not tell.open:
            return
        with apart.of(job=run.job, run_id=run.id):
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
        if not tell.open:
            return
        with apart.of(job=run.job, run_id=run.id):
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
