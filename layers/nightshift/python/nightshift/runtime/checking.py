"""A check of a job by its own function: what it would meet in the database, as the role that its runs have.

It has no run, and writes nothing.
"""

import datetime as dt
import os
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.database import DatabaseSettings
from nightshift.database.transaction import transaction
from nightshift.deadline import Deadline
from nightshift.declaration import Job, Run
from nightshift.declaration.fields import shown
from nightshift.declaration.parameters import from_environment
from nightshift.engine.checking import check_job
from nightshift.environment import ENABLED_VARIABLE
from nightshift.errors import EventError
from nightshift.runtime.reach import Reach

PATIENCE = 5.0
"""Seconds for which a database that is away is tried again: somebody waits for the answer."""


def check(job: Job, event: Mapping[str, Any], deadline: Deadline) -> dict[str, Any]:
    """The findings, as JSON: `{"job": …, "enabled": …, "findings": [{"severity": …, …}]}`.

    Raises:
        EventError: the payload is not `{"check": true}`.
        DBAPIError, OSError: the database does not answer.
    """
    if dict(event) != {"check": True}:
        raise EventError(f'a check has no other key: the payload must be {{"check": true}}; got {shown(sorted(event))}')
    reach = Reach(DatabaseSettings.from_environment(), deadline, f"nightshift/check/{job.name}")
    now = dt.datetime.now(dt.UTC)  # no run has begun whose time could be asked
    look = partial(findings_of, job=job, now=now, given=from_environment(), environment=os.environ)
    with reach.begun(look, patience=PATIENCE) as (_, findings):
        pass
    telemetry.log("job.checked", findings=len(findings))
    return {"job": job.name, "enabled": os.environ.get(ENABLED_VARIABLE) != "false", "findings": findings}


def findings_of(
    session: Session, job: Job, now: dt.datetime, given: Mapping[str, Any], environment: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The findings of a job, the worst first, from one look at the database that only reads.

    given: the parameters that differ from the declaration.
    environment: of the job's function, with the settings of the deployment.
    """
    run = Run(uuid.uuid4(), job.name, now, trigger="manual", mode="plan", parameters=job.resolve(given))
    with transaction(session, isolation="repeatable read", read_only=True):
        return [each.as_json() for each in check_job(session, job, run, environment)]
