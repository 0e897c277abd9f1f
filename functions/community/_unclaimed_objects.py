"""Objects of the file store that no row names: one run writes down what it has seen, the next deletes it."""

from collections.abc import Collection

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from application.models import UnclaimedObject, Upload
from functions.community._stored_files import FOLDER, RETENTION, delete_objects, planned
from nightshift import Run, StepPlan
from nightshift.database import describe
from nightshift.declaration import SAMPLE_SIZE, Execution
from nightshift.store import FileStoreError

claimed = select(Upload.id).where(Upload.storage_key == UnclaimedObject.storage_key).exists()


def remember_unclaimed(execution: Execution) -> None:
    """Write down the old objects that no row names, and forget those that were seen by earlier runs only."""
    run = execution.run
    place = execution.position or {"after": ""}
    if "listed" in place:
        return
    failure = None
    try:
        for page in execution.resources.files.pages(FOLDER, after=place["after"]):
            old = {found.key.removeprefix(FOLDER) for found in page if found.modified_at < run.ago(RETENTION)}
            with execution.batch() as batch:
                named = select(Upload.storage_key).where(Upload.storage_key.in_(old))
                unclaimed = old - set(batch.session.scalars(named)) - {""}
                if unclaimed:
                    seen = {"first_seen_at": run.now, "last_seen_at": run.now}
                    sighting = insert(UnclaimedObject).values([{"storage_key": key, **seen} for key in unclaimed])
                    again = {"last_seen_at": run.now}
                    batch.session.execute(sighting.on_conflict_do_update(index_elements=["storage_key"], set_=again))
                batch.count(unclaimed=len(unclaimed))
                batch.position = {"after": page[-1].key}
    except FileStoreError as error:
        failure = describe(error)
    with execution.batch() as batch:
        batch.position = {"listed": True}
        if failure is None:
            batch.session.execute(delete(UnclaimedObject).where(UnclaimedObject.last_seen_at < run.now))
        else:
            batch.quarantine(FOLDER, failure)
            batch.count(errors=1)


def plan_sightings(session: Session, run: Run) -> list[StepPlan]:
    """Only what is remembered is written, and that is no row of the application's."""
    return [planned("remember-unclaimed", UnclaimedObject.__tablename__, run, 0, ())]


def plan_unclaimed(session: Session, run: Run) -> list[StepPlan]:
    """At most: the objects that an earlier run has seen. What this run does not see any more stays out."""
    sighted = select(UnclaimedObject.storage_key).where(UnclaimedObject.first_seen_at < run.now, ~claimed)
    keys = session.scalars(sighted.order_by(UnclaimedObject.storage_key)).all()
    return [planned("delete-unclaimed", FOLDER, run, len(keys), keys[:SAMPLE_SIZE])]


def delete_unclaimed(execution: Execution) -> None:
    """Delete objects that no row names, where this run and the one before have seen it so.

    So an object whose row is about to be written, or to be restored, has a day to get it.
    """
    now = execution.run.now
    seen_twice = select(UnclaimedObject.storage_key.label("key"), UnclaimedObject.storage_key).where(
        UnclaimedObject.last_seen_at == now, UnclaimedObject.first_seen_at < now, ~claimed
    )

    def forget(session: Session, gone: Collection[str]) -> Collection[str]:
        session.execute(delete(UnclaimedObject).where(UnclaimedObject.storage_key.in_(gone)))
        return gone

    delete_objects(
        execution,
        seen_twice,
        UnclaimedObject.storage_key,
        forget,
        "delete-unclaimed",
        deleted="unclaimed_deleted",
        missing="unclaimed_deleted",
    )
