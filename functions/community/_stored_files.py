"""Deleting in two stores: the database says which objects may go, and forgets one only when the store has.

No transaction is open while the store is asked. The application keeps to one rule: before it refers to an upload, it
locks the row (`for share`) and sees that `deleting_at` is null.
"""

import uuid
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from application.models import Upload, file_references
from nightshift import Parameter, Run, StepPlan
from nightshift.catalogue import SHARE_APPLIES_ABOVE
from nightshift.database import by_halves, describe
from nightshift.declaration import SAMPLE_SIZE, Execution, iso
from nightshift.store import FileStoreError

RETENTION = Parameter("retention_days", 30, "days", minimum=7)

FOLDER = "uploads/"
"""An upload's object is its storage key behind this."""

OBJECTS_A_BATCH = 200
"""How many objects are deleted between two transactions."""

referenced = select(file_references.c.storage_key).where(file_references.c.storage_key == Upload.storage_key).exists()

Forget = Callable[[Session, Collection[Any]], Collection[Any]]
"""Deletes the rows of objects that are gone. Returns the keys of those that it has deleted."""


def plan_files(session: Session, run: Run) -> list[StepPlan]:
    orphans = select(Upload.id).where(Upload.created_at < run.ago(RETENTION), ~referenced)
    rows = session.scalar(select(func.count()).select_from(orphans.subquery())) or 0
    of = session.scalar(select(func.count(Upload.id))) if rows > SHARE_APPLIES_ABOVE else None
    sample = session.scalars(orphans.order_by(Upload.created_at).limit(SAMPLE_SIZE))
    return [planned("delete-files", "uploads", run, rows, map(str, sample), of=of)]


def delete_files(execution: Execution) -> None:
    """Delete the files that this run has marked, and then their rows.

    Whether something refers to a file is asked again here: after the mark was committed, so that an application which
    looks at the mark can come no later; and once more with the row locked, in case one did not look.
    """
    marked = select(Upload.id.label("key"), Upload.storage_key).where(
        Upload.deleting_at == execution.run.now, ~referenced
    )

    def forget(session: Session, gone: Collection[uuid.UUID]) -> set[uuid.UUID]:
        session.execute(select(Upload.id).where(Upload.id.in_(gone)).with_for_update())
        rows = delete(Upload).where(Upload.id.in_(gone), ~referenced).returning(Upload.id)
        return set(session.scalars(rows))

    delete_objects(
        execution,
        marked,
        Upload.id,
        forget,
        "delete-files",
        deleted="files_deleted",
        missing="files_missing",
        records="records_deleted",
    )


def delete_objects(
    execution: Execution,
    due: Select[Any, str],
    key: InstrumentedAttribute[Any],
    forget: Forget,
    step: str,
    *,
    deleted: str,
    missing: str,
    records: str | None = None,
) -> None:
    """Delete the objects that are due, in the order of `key`, and let `forget` delete the rows of those that are gone.

    An object that the store does not delete keeps its row, and is left to the next run.
    """
    files = execution.resources.files
    while rows := _next(execution, due, key, step):
        execution.stop_if_late()
        gone: dict[Any, str] = {}
        failed: dict[Any, str] = {}
        by_object = {FOLDER + row.storage_key: row for row in rows}
        for portion in files.delete_each(list(by_object)):
            for name, result in portion.items():
                row = by_object[name]
                if isinstance(result, FileStoreError):
                    failed[row.key] = describe(result)
                else:
                    gone[row.key] = deleted if result else missing
            if execution.deadline.near:
                break
        with execution.batch() as batch:
            batch.position = {"after": str(row.key), "tried": _tried(execution) + len(gone) + len(failed)}
            forgotten: set[Any] = set()
            in_use: list[Any] = []
            forgotten.update(
                *by_halves(batch.session, list(gone), partial(forget, batch.session), failed.__setitem__, in_use.append)
            )
            failed |= dict.fromkeys(in_use, "somebody else has its row locked")
            if records is not None:
                batch.count(**{records: len(forgotten)})
            kept = gone.keys() - forgotten - failed.keys()
            failed |= dict.fromkeys(kept, "something has referred to the file while it was being deleted")
            for counter in gone.values():
                batch.count(**{counter: 1})
            for key_of_row, reason in failed.items():
                batch.quarantine(f"{FOLDER}{key_of_row}", reason)
            batch.count(errors=len(failed))


def _tried(execution: Execution) -> int:
    return int((execution.position or {}).get("tried", 0))


def _next(execution: Execution, due: Select[Any, str], key: InstrumentedAttribute[Any], step: str) -> Any:
    """The next ones, and not more in all than the run has counted before it began."""
    left = execution.stated(step)[step] - _tried(execution)
    if execution.position is not None:
        due = due.where(key > execution.position["after"])
    with execution.session.begin():
        return execution.session.execute(due.order_by(key).limit(max(0, min(left, OBJECTS_A_BATCH)))).all()


def planned(step: str, table: str, run: Run, rows: int, sample: Any, of: int | None = None) -> StepPlan:
    return StepPlan(step, table, "delete", rows, of, iso(run.ago(RETENTION)), tuple(sample))
