"""Statements that take subscriptions in batches, in the order of their ids."""

import uuid
from collections.abc import Callable, Sequence

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from application.models import Subscription
from nightshift import Run
from nightshift.database import by_halves
from nightshift.declaration import Execution

ROWS_A_BATCH = 1_000
FIRST = uuid.UUID(int=0)
WHAT_LOCKED_IS = "locked: somebody else had so many subscriptions, or what goes with them; the next run takes them up"

Condition = ColumnElement[bool]
Statement = Callable[[Run, Condition], Select[int]]
"""What is done to the subscriptions of a condition. It answers with how many things it did."""


def in_batches(execution: Execution, counter: str, which: Callable[[Run], Condition], statement: Statement) -> None:
    """Do it to the subscriptions that are meant, in the order of their ids.

    One that refuses it is left, and told. One that somebody else has locked is left to the next run, and counted.
    """
    run = execution.run
    while (place := execution.position or {"after": str(FIRST)}) and "after" in place:
        with execution.batch() as batch:
            found = _next(batch.session, which(run), uuid.UUID(place["after"]))
            ids, in_use = _locked(batch.session, which(run), found)

            def do(part: Sequence[uuid.UUID], session: Session = batch.session) -> int:
                return session.execute(statement(run, Subscription.id.in_(part))).scalar_one()

            def leave(key: uuid.UUID, error: str) -> None:
                batch.quarantine(f"subscriptions:{key}", error)

            batch.count(**{counter: sum(by_halves(batch.session, ids, do, leave, in_use.append))})
            if in_use:
                batch.leave_locked(WHAT_LOCKED_IS, len(in_use))
            batch.position = {"after": str(found[-1])} if len(found) == ROWS_A_BATCH else {"done": True}


def _next(session: Session, which: Condition, after: uuid.UUID) -> Sequence[uuid.UUID]:
    found = select(Subscription.id).where(which, Subscription.id > after).order_by(Subscription.id)
    return session.scalars(found.limit(ROWS_A_BATCH)).all()


def _locked(
    session: Session, which: Condition, ids: Sequence[uuid.UUID]
) -> tuple[Sequence[uuid.UUID], list[uuid.UUID]]:
    """Those that could be locked, so that nobody changes between two statements whether they are meant, and those that
    somebody else has."""
    meant = select(Subscription.id).where(which, Subscription.id.in_(ids)).order_by(Subscription.id)
    got = session.scalars(meant.with_for_update(of=Subscription, skip_locked=True)).all()
    if len(got) == len(ids):
        return got, []
    return got, list(session.scalars(meant.where(Subscription.id.not_in(got))))
