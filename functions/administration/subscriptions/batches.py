"""Statements that take subscriptions in batches, in the order of their ids."""

import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Select, select

from nightshift import Run
from nightshift.declaration import Execution

ROWS_A_BATCH = 1_000
FIRST = uuid.UUID(int=0)

Statement = Select[int, int, uuid.UUID | None]
"""Answers with the subscriptions it took, what it counted, and the last one's id."""


def last_of(key: ColumnElement[uuid.UUID]) -> ColumnElement[Any]:
    """The id where the next batch begins."""
    return select(key).order_by(key.desc()).limit(1).scalar_subquery()


def in_batches(execution: Execution, counter: str, statement: Callable[[Run, uuid.UUID], Statement]) -> None:
    """Carry out a statement that takes rows in the order of their ids, until none is left."""
    while (place := execution.position or {"after": str(FIRST)}) and "after" in place:
        with execution.batch() as batch:
            taken, counted, last = batch.session.execute(statement(execution.run, uuid.UUID(place["after"]))).one()
            batch.count(**{counter: counted})
            batch.position = {"after": str(last)} if taken == ROWS_A_BATCH else {"done": True}
