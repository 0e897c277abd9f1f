"""Pauses of single jobs and of all at once. One whose end has passed is over."""

import datetime as dt
from typing import NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from nightshift.ledger.tables import EVERY_JOB, PauseOfAll, RegisteredJob


class Pause(NamedTuple):
    """Who paused, when, why and until when; None as end: until somebody resumes."""

    at: dt.datetime
    by: str | None
    reason: str | None
    until: dt.datetime | None
    of_all: bool = False

    def __str__(self) -> str:
        end = f" until {self.until.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}" if self.until else ""
        return f"{'all jobs are ' if self.of_all else ''}paused by {self.by}{end}: {self.reason}"


def pause_of_all(session: Session, clock: dt.datetime, *, lock: bool = False) -> Pause | None:
    """The pause of every job that holds now, in the caller's transaction.

    lock: nobody else changes it until the transaction ends.
    """
    row = select(PauseOfAll).where(PauseOfAll.scope == EVERY_JOB)
    found = session.scalars(row.with_for_update() if lock else row).one_or_none()
    if found is None or (found.paused_until is not None and found.paused_until <= clock):
        return None
    return Pause(found.paused_at, found.paused_by, found.reason, found.paused_until, of_all=True)


def pause_of_one(registered: RegisteredJob, clock: dt.datetime) -> Pause | None:
    """The pause of a job itself that holds now."""
    if registered.paused_at is None or (registered.paused_until is not None and registered.paused_until <= clock):
        return None
    return Pause(registered.paused_at, registered.paused_by, registered.pause_reason, registered.paused_until)


def paused_by_themselves(session: Session, clock: dt.datetime) -> list[str]:
    """The jobs that have a pause of their own that holds now, in the caller's transaction."""
    known = session.scalars(select(RegisteredJob).where(RegisteredJob.paused_at.is_not(None)))
    return sorted(each.name for each in known if pause_of_one(each, clock) is not None)


def pause_in_force(session: Session, registered: RegisteredJob, clock: dt.datetime) -> Pause | None:
    """Why scheduled occurrences of a job are left out now: its own pause, or that of all."""
    return pause_of_one(registered, clock) or pause_of_all(session, clock)


def pause_all(session: Session, clock: dt.datetime, by: str, reason: str, until: dt.datetime | None) -> Pause:
    """Pause every job, in the caller's transaction. A pause of all that there is already is replaced."""
    about = {"paused_at": clock, "paused_by": by, "reason": reason, "paused_until": until}
    row = insert(PauseOfAll).values(scope=EVERY_JOB, **about)
    session.execute(row.on_conflict_do_update(index_elements=["scope"], set_=about))
    return Pause(clock, by, reason, until, of_all=True)


def resume_all(session: Session) -> None:
    """End the pause of all, in the caller's transaction. Those of single jobs stay."""
    session.execute(delete(PauseOfAll).where(PauseOfAll.scope == EVERY_JOB))
