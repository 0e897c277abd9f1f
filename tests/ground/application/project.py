"""What the shop provides to Nightshift: people, an audit trail, a list of failures and its tables."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from nightshift import Run
from nightshift.declaration import AuditTrail, FinalFailures, People, Project
from tests.ground.application.tables import JobFailure, TrailLine
from tests.ground.functions.market._tables import Customer


class Customers:
    """Everybody who has not left."""

    def everybody(self) -> Select[Any]:
        one = Customer
        return select(
            one.id.label("recipient"),
            one.name,
            one.email.label("address"),
            one.timezone.label("zone"),
            one.quiet_start,
            one.quiet_end,
            one.channels,
            one.wants,
        ).where(one.left_at.is_(None))

    def zones(self) -> None:
        """No faster way than to look at everybody."""


class Trail:
    def line(self, session: Session, run: Run, job: str, counters: Mapping[str, int]) -> None:
        session.add(TrailLine(run_id=run.id, job=job))


class Failures:
    def note(self, session: Session, job: str, run_id: UUID, reason: str, at: dt.datetime) -> None:
        session.add(JobFailure(run_id=run_id, job=job, reason=reason, at=at))


class Shop(Project):
    def people(self) -> People:
        return Customers()

    def trail(self) -> AuditTrail:
        return Trail()

    def failures(self) -> FinalFailures:
        return Failures()

    def branches(self, *, tables: bool) -> Sequence[Path]:
        return (Path(__file__).parent / "migrations",) if tables else ()


project = Shop()
