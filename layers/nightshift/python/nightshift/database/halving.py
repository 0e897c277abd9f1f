"""One bad item among many: what is done to all of them at once is halved until that item is alone, and left."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.database.failures import describe, is_row_error
from nightshift.errors import DeclarationError, SettingError

Item = TypeVar("Item")

Leave = Callable[[str, str], None]
"""Told an item that was left as it was, by its table and key, and why: `batch.quarantine`, mostly."""

DATA_ERRORS = (ValueError, TypeError, AttributeError, ArithmeticError, LookupError)
"""What Python raises over a value that it cannot hold, or that code did not expect."""

OF_THE_JOB = (DeclarationError, SettingError)
"""What is wrong with the job or its settings, and with no item."""


def by_halves(
    session: Session,
    items: Sequence[Item],
    do: Callable[[Sequence[Item]], object],
    leave: Callable[[Item, str], object],
) -> None:
    """Do something to all items in the caller's transaction, under a savepoint; where it fails, to one half and then
    the other, down to the item that is the cause.

    do: what it counts or collects in Python must come last: a savepoint takes back only what the database did.
    leave: told the item that was left as it was, and the error in words.

    Raises:
        DBAPIError, DeclarationError, SettingError: an error that no item causes, see `is_row_error`.
    """
    if not items:
        return
    try:
        with session.begin_nested():
            do(items)
    except (DBAPIError, *DATA_ERRORS) as error:
        an_items = is_row_error(error) if isinstance(error, DBAPIError) else not isinstance(error, OF_THE_JOB)
        if not an_items:
            raise
        if len(items) == 1:
            leave(items[0], describe(error))
            return
        middle = len(items) // 2
        by_halves(session, items[:middle], do, leave)
        by_halves(session, items[middle:], do, leave)
