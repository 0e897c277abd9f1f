"""An alert for each critical job that has failed for good."""

import datetime as dt
from uuid import UUID

from sqlalchemy.orm import Session

from application.alerts.sightings import sight

JOB_FAILURE = "job_failure"
"""The rule of these alerts, and the kind of notice about them."""


class FailureAlerts:
    """Raises one alert for each job. It stays open until the job succeeds again."""

    def note(self, session: Session, job: str, run_id: UUID, reason: str, at: dt.datetime) -> None:
        details = {"job": job, "run_id": str(run_id)}
        sight(session, rule=JOB_FAILURE, subject=job, severity="critical", details=details, at=at)
