"""The snapshots that RDS takes: begin one, and note how the earlier ones have come along."""

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy.orm import Session

from nightshift.database import by_halves
from nightshift.declaration import Batch, Execution, Run, iso
from nightshift.store import SnapshotError, Snapshots
from nightshift.store.records import BACKUPS, begin, give_up_abandoned, settle, unfinished_snapshots
from nightshift.store.snapshots import prefix


def take_snapshot(execution: Execution, tell: Callable[[Session, Run, Sequence[tuple[str, str]]], None]) -> None:
    """Begin a snapshot where the database is one of RDS, and note how the earlier ones have come along.

    What goes wrong with them is told, and no reason to do without the export.
    """
    if execution.position is not None:
        return
    run, snapshots = execution.run, execution.resources.snapshots
    with execution.batch() as batch:
        batch.position = {"done": True}
        give_up_abandoned(batch.session, run)
        if snapshots is None:
            return
        problems = [*_begin_snapshot(batch, run, snapshots), *_follow_snapshots(batch, run, snapshots)]
        for name, error in problems:
            batch.quarantine(f"{BACKUPS}:{name}", error)
        by_halves(  # the export that comes after this is worth more than what is told of the snapshot
            batch.session,
            [problems],
            lambda each: tell(batch.session, run, each[0]),
            lambda _, error: batch.quarantine("what is told of snapshots", error),
        )


def _begin_snapshot(batch: Batch, run: Run, snapshots: Snapshots) -> Iterator[tuple[str, str]]:
    """Yields its name and the reason when there is none of this run."""
    name = f"{prefix()}{run.now:%Y-%m-%d-%H%M%S}"
    backup_id = begin(batch.session, run, "snapshot", name)
    if backup_id is None:
        return
    try:
        snapshots.create(name, {"nightshift": "backup", "scheduled_for": iso(run.now)})
    except SnapshotError as error:
        settle(batch.session, backup_id, "failed", str(error))
        yield name, str(error)


def _follow_snapshots(batch: Batch, run: Run, snapshots: Snapshots) -> Iterator[tuple[str, str]]:
    """Yields the names of those that failed or could not be asked about, and the reasons."""
    for backup in batch.session.scalars(unfinished_snapshots(run)).all():
        name = str(backup.location)
        try:
            state = snapshots.state(name)
        except SnapshotError as error:
            yield name, str(error)
            continue
        if state == "succeeded":
            settle(batch.session, backup.id, "succeeded")
        elif state == "failed" or (state == "missing" and backup.scheduled_for != run.now):
            reason = "RDS says that it failed" if state == "failed" else "RDS has no such snapshot"
            settle(batch.session, backup.id, "failed", reason)
            yield name, reason
