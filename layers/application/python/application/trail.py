"""The application's audit trail: each run that changed rows writes one line."""

from collections.abc import Mapping
from typing import cast

from sqlalchemy import Table, insert
from sqlalchemy.orm import Session

from application.models import AuditLog
from nightshift import Run


class AuditLogTrail:
    """Writes lines into `audit_logs`: counts only, no personal data."""

    def line(self, session: Session, run: Run, job: str, counters: Mapping[str, int]) -> None:
        row = {
            "occurred_at": run.now,
            "actor_type": "system",
            "action": f"job.{job}",
            "category": "job",
            "resource_type": "run",
            "resource_id": str(run.id),
            "metadata": dict(counters),
        }
        session.execute(insert(cast(Table, AuditLog.__table__)).values(row))
