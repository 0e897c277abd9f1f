"""What holds for every job, for the jobs of the example. A new one is covered as soon as its file exists.

A job that finds nothing in `every_job.sql` needs rows there.
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from application.models import AuditLog
from nightshift import Job
from nightshift.declaration import registry
from tests.integration.every_job import EveryJob, digests as digests
from tests.integration.example.packs import PACKS


class TestEveryJobOfTheExample(EveryJob):
    jobs = sorted(name for name, each in registry().items() if each.pack in PACKS)
    rows = Path(__file__).with_name("every_job.sql")
    now = dt.datetime(2026, 3, 1, 22, tzinfo=dt.UTC)
    demands_rows = True

    def also(self, job: Job, counters: Mapping[str, Any], session: Session) -> None:
        own = select(func.count()).select_from(AuditLog).where(AuditLog.action == f"job.{job.name}")
        assert session.scalar(own) == (1 if job.audited and job.changed(counters) else 0)
