"""One bad item among many: what is done to all of them at once is halved until that item is alone, and left."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.database.failures import describe, is_locked, is_row_error
from nightshift.errors import DeclarationError, SettingError

Item = TypeVar("Item")
Result = TypeVar("Result")

Leave = Callable[[str, str], None]
"""Told an item that was left as it was, by its table and key, and why: `batch.quarantine`, mostly."""

DATA_ERRORS = (ValueError, TypeError, AttributeError, ArithmeticError, LookupError)
"""What Python raises over a value that it cannot hold, or that code did not expect."""

OF_THE_JOB = (DeclarationError, SettingError)
"""What is wrong with the job or its settings, and with no item."""

ROW_LOCK = "50ms"
"""How long a half waits for a lock, once all items together have waited in vain."""

_DEFERS = "nightshift.defers"
_DEFERRABLE = text("select exists (select from pg_trigger where tgdeferrable)")
_FIRE = text("set constraints all immediate")


def by_halves(
    session: Session,
    items: Sequence[Item],
    do: Callable[[Sequence[Item]], Result],
    leave: Callable[[Item, str], object],
    locked: Callable[[Item], object] | None = None,
) -> list[Result]:
    """Do something to all items in the caller's transaction, under a savepoint; where it fails, to one half and then
    the other, down to the item that is the cause. Returns what `do` returned, of each part that was kept.

    do: what it counts or collects in Python is its result: a savepoint takes back only what the database did, and what
        would be refused at the commit shows when `do` is done.
    leave: told the item that was left as it was, and the error in words.
    locked: told the item that was left because another session has it locked. Without it, that is an error.

    Raises:
        DBAPIError, DeclarationError, SettingError: an error that no item causes, see `is_row_error`.
    """
    kept: list[Result] = []
    if not items:
        return kept
    try:
        with savepoint(session):
            result = do(items)
        return [result]
    except (DBAPIError, *DATA_ERRORS) as error:
        in_use = locked is not None and isinstance(error, DBAPIError) and is_locked(error)
        an_items = is_row_error(error) if isinstance(error, DBAPIError) else not isinstance(error, OF_THE_JOB)
        if not in_use and not an_items:
            raise
        if len(items) == 1:
            _try_deferred(session)  # what came before the items may be the cause
            if in_use and locked is not None:
                locked(items[0])
            else:
                leave(items[0], describe(error))
            return kept
    middle = len(items) // 2
    with waiting_briefly(session) if in_use else nullcontext():
        for half in (items[:middle], items[middle:]):
            kept += by_halves(session, half, do, leave, locked)
    return kept


@contextmanager
def waiting_briefly(session: Session) -> Iterator[None]:
    """Within this, a statement of the caller's transaction waits only a moment for a lock: it was waited for already.

    After an error that setting is left to the savepoint or transaction that is rolled back.
    """
    waited = str(session.scalar(select(func.current_setting("lock_timeout"))))
    _wait_for_locks(session, ROW_LOCK)
    yield
    _wait_for_locks(session, waited)


@contextmanager
def savepoint(session: Session) -> Iterator[None]:
    """A savepoint that also takes back what would be refused only at the commit, by a deferred constraint or trigger.

    They are tried at its end, and what they did is taken back: they keep their time.
    """
    with session.begin_nested():
        yield
        _try_deferred(session)


def fire_deferred(session: Session) -> None:
    """Let deferred constraints and triggers do now what they would do at the commit."""
    if _defers(session):
        session.flush()
        session.execute(_FIRE)


def _try_deferred(session: Session) -> None:
    if not _defers(session):
        return
    session.flush()
    with session.begin_nested() as trial:
        session.execute(_FIRE)
        trial.rollback()


def _defers(session: Session) -> bool:
    """Whether the database defers anything: most do not. It is asked once in a session."""
    if _DEFERS not in session.info:
        session.info[_DEFERS] = session.scalar(_DEFERRABLE)
    return bool(session.info[_DEFERS])


def _wait_for_locks(session: Session, at_most: str) -> None:
    session.execute(select(func.set_config("lock_timeout", at_most, True)))
