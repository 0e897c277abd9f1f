"""Dials as operators turn them, and as the platform looks at them. Runs read theirs by `nightshift.ledger.dials`."""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from nightshift.ledger.dials import Dials, merged, why_not
from nightshift.ledger.operators import DialChange, DialRecord
from nightshift.ledger.tables import EVERY_JOB


def dials(session: Session) -> dict[str, DialRecord]:
    """What is set, by job; that of all jobs under `EVERY_JOB`. In the caller's transaction."""
    return {record.job: record for record in session.scalars(select(DialRecord))}


def dials_of(records: Mapping[str, DialRecord], job: str) -> Dials:
    return merged([vars(record) for name, record in records.items() if name in (EVERY_JOB, job)])


def turn(session: Session, job: str, changes: Mapping[str, Any], by: str, reason: str, *, reset: bool) -> None:
    """Set dials, in the caller's transaction, and write down who did it and why. Those that are not named stay.

    reset: none stays as it was.
    """
    names = [each.name for each in fields(Dials) if each.name != "told"]
    if reset:
        session.execute(delete(DialRecord).where(DialRecord.job == job))
    if not reset or changes:
        about = {"changed_by": by, "reason": reason, "changed_at": func.clock_timestamp()}
        row = insert(DialRecord).values(job=job, **changes, **about)
        session.execute(row.on_conflict_do_update(index_elements=["job"], set_={**changes, **about}))
    found = session.scalars(
        select(DialRecord).where(DialRecord.job == job).execution_options(populate_existing=True)
    ).one_or_none()
    now = {} if found is None else {name: value for name in names if (value := getattr(found, name))}
    session.add(DialChange(job=job, dials=now, changed_by=by, reason=reason, changed_at=func.clock_timestamp()))
    session.flush()


def history(session: Session, job: str, count: int) -> list[DialChange]:
    """The last changes that concern a job, the latest first. In the caller's transaction."""
    of_job = select(DialChange).where(DialChange.job.in_((EVERY_JOB, job)))
    return list(session.scalars(of_job.order_by(DialChange.id.desc()).limit(count)))


def kept_back(session: Session, jobs: Collection[str], now: dt.datetime) -> dict[str, str]:
    """Those of the jobs that their dials let do nothing now, with the reason."""
    with session.begin():
        records = dials(session)
        reasons = {job: why_not(dials_of(records, job), now) for job in jobs}
    return {job: reason for job, reason in reasons.items() if reason}
