"""Which requests for deletion are past the days of grace, and what would go with them."""

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from application.erasure import Mode, Person, deletions
from application.models import DataRequest, User
from functions.community._deletion_requests import EXPORTS, MODE
from nightshift import Parameter, Run, StepPlan
from nightshift.catalogue import Cascade, going
from nightshift.declaration import SAMPLE_SIZE, iso

GRACE = Parameter("grace_days", 30, "days", minimum=7, about="how long a request can be taken back")

Request = Row[uuid.UUID, dt.datetime, uuid.UUID | None, Mode]

MODES: tuple[tuple[Mode, str], ...] = (("anonymized", "anonymize"), ("deleted", "delete"))


def due(run: Run) -> Select[uuid.UUID, dt.datetime, uuid.UUID | None, Mode]:
    """Requests past the days of grace, the oldest first."""
    return (
        select(DataRequest.id, DataRequest.requested_at, DataRequest.user_id, MODE.label("mode"))
        .where(DataRequest.request_type == "DELETION", DataRequest.status == "PENDING")
        .where(DataRequest.requested_at < run.ago(GRACE))
        .order_by(DataRequest.requested_at, DataRequest.id)
    )


def plan(session: Session, run: Run) -> list[StepPlan]:
    """The people, and what goes with them. At most: some of them may turn out to be blocked."""
    requests = session.execute(due(run)).all()
    planned = []
    for mode, action in MODES:
        chosen = [request for request in requests if request.mode == mode]
        sample = tuple(str(request.id) for request in chosen[:SAMPLE_SIZE])
        along = tuple(what_goes_along(session, [request.user_id for request in chosen], mode))
        cutoff = iso(run.ago(GRACE))
        planned.append(StepPlan("finalize", "users", action, len(chosen), None, cutoff, sample, along))
    return planned


def what_goes_along(session: Session, users: Sequence[uuid.UUID | None], mode: Mode) -> Iterator[Cascade]:
    """By table. What a rule and a cascade both reach is counted by both."""
    people = [Person(*row) for row in session.execute(select(User.id, User.email).where(User.id.in_(users)))]
    found: Counter[tuple[str, str]] = Counter()
    for table, condition in deletions(people, mode).items() if people else ():
        rows, cascades = going(session, table, condition)
        found[table.fullname, "delete"] += rows
        found.update({(each.table, each.action): each.rows for each in cascades})
    exports = (DataRequest.request_type == "EXPORT") & DataRequest.user_id.in_(users)
    found[EXPORTS, "delete"] = session.scalar(select(func.count(DataRequest.id)).where(exports)) or 0
    for (name, action), rows in (+found).items():
        yield Cascade(name, action, rows, through="users")
