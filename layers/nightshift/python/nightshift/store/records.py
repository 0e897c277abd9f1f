"""The backups that are known: how long each is kept, which is the last good one, and which have had their time."""

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Literal

from dateutil.relativedelta import relativedelta
from sqlalchemy import Select, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from nightshift.declaration import Parameter, Run
from nightshift.store.tables import Backup

KEEP_DAILY = Parameter("keep_daily", 7, "items", maximum=35, about="daily backups to keep")
KEEP_WEEKLY = Parameter("keep_weekly", 4, "items", minimum=0, maximum=5, about="Sundays' backups to keep")
KEEP_MONTHLY = Parameter(
    "keep_monthly", 0, "items", minimum=0, maximum=120, about="backups of the 1st to keep: they hold erased people"
)

BACKUPS = "nightshift.backups"
SUNDAY = 6

Kind = Literal["logical", "snapshot"]


def tier_of(run: Run) -> tuple[str, dt.datetime]:
    """The tier of a backup taken now, and when it expires: where several tiers are kept that day, the longest wins."""
    tiers = [("daily", run.now + relativedelta(days=run[KEEP_DAILY]))]
    if run.now.weekday() == SUNDAY and run[KEEP_WEEKLY]:
        tiers.append(("weekly", run.now + relativedelta(weeks=run[KEEP_WEEKLY])))
    if run.now.day == 1 and run[KEEP_MONTHLY]:
        tiers.append(("monthly", run.now + relativedelta(months=run[KEEP_MONTHLY])))
    return max(tiers, key=lambda tier: tier[1])


def begin(session: Session, run: Run, kind: Kind, location: str) -> uuid.UUID | None:
    """The row of this run's backup, running; None when there is a good one already."""
    tier, expires_at = tier_of(run)
    values = {
        "tier": tier,
        "status": "running",
        "location": location,
        "expires_at": expires_at,
        "manifest": {},
        "error": None,
        "started_at": func.clock_timestamp(),
        "finished_at": None,
    }
    row = insert(Backup).values(kind=kind, scheduled_for=run.now, **values)
    row = row.on_conflict_do_update(
        index_elements=[Backup.kind, Backup.scheduled_for],
        set_=values,
        where=Backup.status.in_(("failed", "running") if kind == "logical" else ("failed",)),
    )
    return session.scalar(row.returning(Backup.id))


def settle(session: Session, backup_id: uuid.UUID, status: str, error: str | None = None) -> None:
    """Note how a backup ended."""
    ended = {"status": status, "error": error, "finished_at": func.clock_timestamp()}
    session.execute(update(Backup).where(Backup.id == backup_id).values(ended))


def give_up_abandoned(session: Session, run: Run) -> None:
    """A logical backup that still runs was abandoned: no two runs of this job are at work at a time."""
    abandoned = update(Backup).where(
        Backup.kind == "logical", Backup.status == "running", Backup.scheduled_for != run.now
    )
    session.execute(abandoned.values(status="failed", error="its run ended before the backup was complete"))


def unfinished_snapshots(run: Run) -> Select[Backup]:
    return (
        select(Backup)
        .where(Backup.kind == "snapshot", Backup.status == "running", Backup.scheduled_for <= run.now)
        .order_by(Backup.scheduled_for)
    )


def past(session: Session, run: Run, *, after: tuple[dt.datetime, uuid.UUID] | None = None) -> Sequence[Backup]:
    """Backups that have had their time, the oldest first, but never the last good one of its kind."""
    kept = [_newest(session, kind, whole) for kind in ("logical", "snapshot") for whole in (True, False)]
    old = (
        select(Backup)
        .where(Backup.status.in_(("succeeded", "failed")), Backup.expires_at <= run.now)
        .where(Backup.id.not_in([backup_id for backup_id in kept if backup_id is not None]))
        .order_by(Backup.scheduled_for, Backup.id)
    )
    if after is not None:
        old = old.where(
            or_(Backup.scheduled_for > after[0], (Backup.scheduled_for == after[0]) & (Backup.id > after[1]))
        )
    return session.scalars(old.execution_options(populate_existing=True)).all()


def _newest(session: Session, kind: str, whole: bool) -> uuid.UUID | None:
    """The newest good backup of a kind; `whole`: only one whose tables are all from one snapshot."""
    good = select(Backup.id).where(Backup.kind == kind, Backup.status == "succeeded")
    if whole:
        good = good.where(func.coalesce(Backup.manifest["consistent"].as_boolean(), True))
    return session.scalar(good.order_by(Backup.scheduled_for.desc()).limit(1))
