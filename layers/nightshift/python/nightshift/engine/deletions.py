"""What a step deletes, by whatever way, held to its plan in every batch: by the server's own counters.

Delete compares more than this, and does it by itself. All other kinds of step are held to their plan here.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from nightshift.database.halving import fire_deferred
from nightshift.declaration import Batch, Step
from nightshift.engine.tally import deleted, deleted_in
from nightshift.errors import PassedPlanError

OWN_SCHEMA = "nightshift."
"""What Nightshift and an application's jobs write for themselves is no row of the application."""


class Deletions:
    """Of one step in one attempt."""

    def __init__(self, step: Step, planned: int, so_far: int) -> None:
        """so_far: how many rows earlier attempts have deleted."""
        self._step, self._planned = step, planned
        self._rows = self.with_this_batch = so_far
        """How many rows the step has deleted; and how many it will have, once the batch is committed."""
        self._at_zero = False

    @contextmanager
    def held(self, batch: Batch) -> Iterator[None]:
        """Compares what is deleted within with the plan, and counts it.

        Raises:
            PassedPlanError: the transaction must be rolled back.
        """
        before = Counter() if self._at_zero else deleted(batch.session)
        self._at_zero = False
        with _RolledBack(batch.session) as rolled_back:
            yield
            if self._step.destructive:  # what a trigger deletes only at the commit is deleted by this step, too
                fire_deferred(batch.session)
        gone = self._allowed(deleted(batch.session) - before - rolled_back.rows)
        batch.count(**{deleted_in(name): rows for name, rows in gone.items()})
        self.with_this_batch = self._rows + gone.total()
        if gone and self.with_this_batch > self._planned:
            raise PassedPlanError(
                f"step {self._step.name} would delete {self.with_this_batch} rows, and has planned {self._planned}: "
                "more have come, or its plan does not count them all. Nothing of the batch was kept; run it again"
            )

    def committed(self) -> None:
        self._rows, self._at_zero = self.with_this_batch, True

    def _allowed(self, gone: Counter[str]) -> Counter[str]:
        """Those of the application."""
        found: Counter[str] = Counter()
        for name, rows in gone.items():
            if name.startswith(OWN_SCHEMA):
                continue
            if not self._step.destructive or name not in self._step.tables:
                remedy = "add the table to its tables" if self._step.destructive else "declare it destructive"
                raise PassedPlanError(
                    f"step {self._step.name} deleted {rows} rows of {name}, and nothing says that it does: {remedy}, "
                    "and plan what it deletes. A trigger or a foreign key may have done it. Nothing of the batch was "
                    "kept"
                )
            found[name] = rows
        return found


class _RolledBack:
    """What savepoints of a session have deleted and taken back: the server counts that as well."""

    def __init__(self, session: Session) -> None:
        self.rows: Counter[str] = Counter()
        self._session, self._connection = session, session.connection()  # the session itself is closed to its events
        self._before: dict[SessionTransaction, Counter[str]] = {}
        """What counted when each savepoint began."""

    def __enter__(self) -> "_RolledBack":
        for name, listener in self._listeners:
            event.listen(self._session, name, listener)
        return self

    def __exit__(self, *_: object) -> None:
        for name, listener in self._listeners:
            event.remove(self._session, name, listener)

    @property
    def _listeners(self) -> tuple[tuple[str, Callable[[Session, SessionTransaction], None]], ...]:
        return ("after_transaction_create", self._begun), ("after_soft_rollback", self._taken_back)

    def _begun(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.nested:
            self._before[transaction] = deleted(session) - self.rows

    def _taken_back(self, session: Session, transaction: SessionTransaction) -> None:
        before = self._before.pop(transaction, None)
        if before is not None and not self._connection.invalidated:
            self.rows = deleted(self._connection) - before
