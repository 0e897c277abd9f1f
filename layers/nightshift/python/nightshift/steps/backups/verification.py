"""Reading an export back: only then has the backup succeeded."""

import hashlib

from sqlalchemy import select, update

from nightshift.declaration import Batch, Execution
from nightshift.store import Backup, BackupError, StoredParts
from nightshift.store.backups import MANIFEST, check
from nightshift.store.records import settle

LARGE_PART = 2**20
"""Bytes. Smaller parts are read in no time, and are not worth a look at the clock."""


def verify(execution: Execution) -> None:
    """Read the run's backup back, part by part. Only then has it succeeded."""
    run = execution.run
    while (place := execution.position or {"checked": 0}) and "done" not in place:
        with execution.batch() as batch:
            this = select(Backup).where(Backup.kind == "logical", Backup.scheduled_for == run.now)
            backup = batch.session.scalars(this.execution_options(populate_existing=True)).one()
            damage = None
            try:
                checked = _check(execution, batch, backup, place["checked"])
            except BackupError as error:
                damage = error
                settle(batch.session, backup.id, "failed", str(error))
            else:
                batch.position = {"checked": checked}
                if checked == len(backup.manifest["tables"]):
                    if backup.status != "succeeded":
                        settle(batch.session, backup.id, "succeeded")
                    verified = update(Backup).where(Backup.id == backup.id).values(verified_at=run.now)
                    batch.session.execute(verified)
                    batch.position = {"done": True}
        if damage is not None:
            raise damage


def _check(execution: Execution, batch: Batch, backup: Backup, checked: int) -> int:
    parts = StoredParts(execution.resources.files, str(backup.location))
    found = hashlib.sha256(b"".join(parts.chunks(MANIFEST))).hexdigest()
    if found != backup.sha256:
        raise BackupError(f"the manifest in {backup.location} is not the one that was written. Take another backup")
    for table in backup.manifest["tables"][checked:]:
        check(table, parts)
        batch.count(verified=1)
        checked += 1
        if table["bytes"] > LARGE_PART and execution.deadline.near:
            break
    return checked
