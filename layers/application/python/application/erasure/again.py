"""After a restore: erases again the people who were erased after the backup was made."""

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, cast

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from application.erasure.rules import Mode, Person, erase, record
from application.models import DataRequest, ErasureRecord, User
from nightshift.declaration import Reapplied


class ErasuresAgain:
    """The ledger of erasures holds keyed hashes. The person's own request says whom a hash means. A backup has that
    request if it was made within the days of grace: with the default tiers, every backup has it."""

    table = "nightshift.erasure_ledger"

    def again(self, session: Session, rows: Iterable[Mapping[str, Any]]) -> Reapplied:
        """Erase again, in the caller's transaction, the people whom the ledger says were erased and who are back."""
        session.execute(select(func.set_config("nightshift.run_id", str(uuid.uuid4()), True)))
        known = set(session.scalars(select(ErasureRecord.subject_ref)))
        again = unknown = 0
        for row in rows:
            subject, mode = str(row["subject_ref"]), cast(Mode, row["mode"])
            at = dt.datetime.fromisoformat(row["executed_at"])
            requests = select(DataRequest.user_id).where(DataRequest.subject_ref == subject)
            person = session.execute(
                select(User.id, User.email).where(User.id.in_(requests), User.anonymized_at.is_(None)).with_for_update()
            ).one_or_none()
            if person is not None:
                erase(session, Person(person.id, person.email), mode, at=at)
                again += 1
            elif subject not in known and session.scalar(requests.limit(1)) is None:
                unknown += 1
            done = update(DataRequest).where(
                DataRequest.subject_ref == subject,
                DataRequest.request_type == "DELETION",
                DataRequest.status.in_(("PENDING", "BLOCKED", "FAILED")),
            )
            session.execute(done.values(status="COMPLETED", completed_at=at, last_error=None))
            record(session, subject, mode, at=at)
        return Reapplied(again, unknown)
