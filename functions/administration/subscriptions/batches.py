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

Condition = ColumnElement[bool]
Statement = Callable[[Run, Condition], Select[int]]
"""What is done to the subscriptions of a condition. It answers with how many things it did."""


def in_batches(execution: Execution, counter: str, which: Callable[[Run], Condition], statement: Statement) -> None:
    """Do it to the subscriptions that are meant, in the order of their ids. One that refuses it is left, and told."""
    run = execution.run
    while (place := execution.position or {"after": str(FIRST)}) and "after" in place:
        with execution.batch() as batch:
            ids = _next(batch.session, which(run), uuid.UUID(place["after"]))

            def do(part: Sequence[uuid.UUID], session: Session = batch.session) -> None:
                done = session.execute(statement(run, Subscription.id.between(part[0], part[-1]))).scalar_one()
                batch.count(**{counter: done})

            by_halves(batch.session, ids, do, lambda key, error: batch.quarantine(f"subscriptions:{key}", error))
            batch.position = {"after": str(ids[-1])} if len(ids) == ROWS_A_BATCH else {"done": True}


def _next(session: Session, which: Condition, after: uuid.UUID) -> Sequence[uuid.UUID]:
    """The next subscriptions, locked: nobody changes between two statements whether they are meant."""
    found = select(Subscription.id).where(which, Subscription.id > after).order_by(Subscription.id)
    return session.scalars(found.limit(ROWS_A_BATCH).with_for_update(of=Subscription)).all()
