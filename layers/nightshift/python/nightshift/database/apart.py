"""One after the other: what goes wrong with one is told, and the next one's turn comes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.database.connection import still_answers
from nightshift.database.failures import describe, is_row_error, sqlstate
from nightshift.database.halving import by_halves

Item = TypeVar("Item")

BRIEFLY = {"lock_timeout": "500ms"}
"""Settings of a transaction that does one thing among many: whoever holds a lock keeps the others waiting no longer."""

MOST_TROUBLES = 10
"""After so many items in succession with an error that is no item's, the others are not tried: it is that of all."""

ENDED = (None, "57014")
"""SQLSTATEs after which no other item has a chance: the connection is lost, or the time is up."""


class Apart:
    """Looks after one thing after the other. What hinders it in one is told, and the next one's turn comes."""

    def __init__(self, session: Session, event: str) -> None:
        self._session, self._event = session, event
        self.hindered = 0
        self.cause: Exception | None = None
        """What came of the first that was hindered."""

    @contextmanager
    def of(self, **about: Any) -> Iterator[None]:
        try:
            yield
        except Exception as cause:
            if not still_answers(self._session):
                raise  # not the trouble of one: the next round begins anew
            self.hindered += 1
            self.cause = self.cause or cause
            told = {name: str(value) for name, value in about.items()}
            telemetry.error(self._event, cause, reason=describe(cause), **told)


def each_for_itself(
    session: Session,
    items: Sequence[Item],
    do: Callable[[Sequence[Item]], object],
    leave: Callable[[Item, str, DBAPIError | None], object],
) -> None:
    """`by_halves`, also for an error that is no item's: a lock that is held, a right that a trigger of one row lacks.

    leave: told the item, the error in words, and such an error itself.

    Raises:
        DBAPIError: the connection is lost, or the time is up.
    """
    trouble: DBAPIError | None = None
    troubles = 0

    def carefully(part: Sequence[Item]) -> None:
        nonlocal trouble, troubles
        if trouble is not None and troubles >= MOST_TROUBLES:
            raise ValueError from trouble
        trouble = None
        try:
            do(part)
        except DBAPIError as error:
            if is_row_error(error) or sqlstate(error) in ENDED:
                raise
            trouble = error
            raise ValueError from error
        troubles = 0

    def left(item: Item, error: str) -> None:
        nonlocal troubles
        troubles += trouble is not None
        leave(item, error if trouble is None else describe(trouble), trouble)

    by_halves(session, items, carefully, left)
