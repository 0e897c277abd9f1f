"""The supervisor reads the ledger every minute and continues what nobody else would.

- An occurrence whose event did not arrive is settled by its job's policy.
- Interrupted runs, waiting runs, runs whose attempt died, and retries that Lambda lost get their next attempt from
  here. A job never invokes itself, because AWS cuts such chains after 16 hops.
- A run that died on its last attempt is settled and reported.
- Runs that ended long ago are deleted from the ledger.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from nightshift import ledger, telemetry
from nightshift.declaration import Deployment, function_name, iso
from nightshift.ledger import Standing, occurrences

InvokeLater = Callable[[str, Mapping[str, Any]], None]
"""Invoke a function by name with a payload, asynchronously."""

Report = Callable[[Mapping[str, Any]], None]
"""Put a record of a final failure into the dead-letter queue."""


@dataclass(frozen=True)
class Round:
    """What one round did."""

    caught_up: int
    missed: int
    continued: int
    failed: int
    oldest_open_seconds: float


def look_over(session: Session, deployment: Deployment, invoke_later: InvokeLater, report: Report) -> Round:
    """One round. `invoke_later` and `report` are parameters, so that a test can replace AWS.

    A failure is reported before the ledger settles it. If the supervisor dies in between, the failure is reported
    twice, never zero times.
    """
    jobs = deployment.jobs()
    with session.begin():
        failed = ledger.fail_exhausted(session, {name for name, deployed in jobs.items() if deployed.job.critical})
        for standing in failed:
            telemetry.error("run.given_up", job=standing.run.job, run_id=str(standing.run.id), reason=standing.reason)
            report(failure_record(standing))
    unannounced = occurrences.account(session, jobs)
    if unannounced:
        telemetry.warn("occurrences.unannounced", counts=dict(unannounced))
    stalled = [run for run in ledger.stalled(session) if run.job in jobs]
    for run in stalled:
        telemetry.log("run.continued", job=run.job, run_id=str(run.run_id), state=run.state)
        invoke_later(function_name(run.job), {"run_id": str(run.run_id)})
    with session.begin():
        ledger.forget(session)
    oldest = ledger.oldest_open_seconds(session)
    caught_up, missed = unannounced["queued"], unannounced["missed"]
    telemetry.measure(
        OccurrencesCaughtUp=caught_up,
        OccurrencesMissed=missed,
        RunsContinued=len(stalled),
        RunsFailed=len(failed),
        OldestOpenRunSeconds=oldest,
    )
    return Round(caught_up, missed, len(stalled), len(failed), oldest)


def failure_record(standing: Standing) -> dict[str, Any]:
    """A final failure in the form of Lambda's on-failure record, so that readers of the queue see one form."""
    return {
        "version": "1.0",
        "timestamp": iso(dt.datetime.now(dt.UTC)),
        "requestContext": {"functionName": function_name(standing.run.job), "condition": "LeaseExpired"},
        "requestPayload": {"run_id": str(standing.run.id)},
        "responsePayload": {"errorType": "LeaseExpired", "errorMessage": standing.reason},
    }
