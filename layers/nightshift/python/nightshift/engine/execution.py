"""One attempt at a run: batches that commit effects, cursor and counters together, and stop before the deadline."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from nightshift import ledger
from nightshift.database.transaction import Isolation, transaction
from nightshift.deadline import Deadline
from nightshift.declaration import BATCHES, QUARANTINED, Batch, EventLog, Run, Step
from nightshift.engine.resources import Resources
from nightshift.engine.tally import begin_anew, deleted, deleted_in
from nightshift.errors import ErrorBudgetExceededError, Interrupted, PassedPlanError
from nightshift.ledger import Claim

ERROR_BUDGET_ITEMS = 20
ERROR_BUDGET_SHARE = 0.01
MINIMUM_STATEMENT_SECONDS = 1.0
DELETED = "rows deleted"
"""In a saved position: how many rows the step has deleted so far."""
OWN_SCHEMA = "nightshift."
"""What Nightshift and an application's jobs write for themselves is no row of the application."""


class RunExecution:
    """What a step works with: the run's frozen facts, the step's position in the cursor, and batches."""

    def __init__(self, session: Session, claim: Claim, deadline: Deadline, log: EventLog, resources: Resources) -> None:
        self.session = session
        self.claim = claim
        self.deadline = deadline
        self.log = log
        self.resources = resources
        self.counters: Counter[str] = Counter(claim.counters)
        self.errors = list(claim.errors)
        self.candidates = claim.candidates
        self.position: Mapping[str, Any] | None = None
        self.last_batch_seconds = 0.0
        self._step: Step | None = None
        self._fingerprint = ""
        self._first_batch = True
        self._counters_at_zero = False
        self._deleted = 0
        self.progressed = False
        """Whether this attempt has committed a batch."""

    @property
    def run(self) -> Run:
        return self.claim.run

    def stated(self, step: str) -> dict[str, int]:
        """What a destructive step has stated that it will touch; see `nightshift.declaration.Execution`."""
        stated = self.candidates or {}
        return {name: rows for name, rows in stated.items() if name == step or name.startswith(f"{step} > ")}

    def enter(self, step: Step) -> None:
        """Start a step. It starts at the run's cursor if the cursor comes from the same step and the same query."""
        self._step, self._fingerprint, self.position = step, step.fingerprint(self.run), None
        self._counters_at_zero, self._deleted = False, 0
        if self.claim.step == step.name and self.claim.position is not None:
            if self.claim.fingerprint == self._fingerprint:
                self.position = {key: value for key, value in self.claim.position.items() if key != DELETED}
                self._deleted = int(self.claim.position.get(DELETED, 0))
            else:
                self.log("cursor.refused", step=step.name, remedy="the step's query has changed; it starts over")

    def stop_if_late(self) -> None:
        """For steps that change something outside the database before a batch, which no rollback can undo.

        Raises:
            Interrupted: there is no time left to start the batch.
            Fenced: another attempt has taken the run over; a zombie must not change anything.
        """
        self._stop_near_the_deadline()
        ledger.renew(self.session, self.claim, seconds=self.deadline.remaining)

    def _stop_near_the_deadline(self) -> None:
        if not self._first_batch and self.deadline.near:
            raise Interrupted

    @contextmanager
    def batch(
        self,
        *,
        snapshot: bool = False,
        may_be_lost: bool = False,
        lock_seconds: float | None = None,
        watched: bool = False,
    ) -> Iterator[Batch]:
        """One transaction, with the run's cursor and counters written at its end.

        snapshot: every statement sees the database as the first one did (REPEATABLE READ), for statements that must fit
            together. If somebody else changes one of the rows meanwhile, the attempt fails.
        may_be_lost: do not wait until the commit is on the disk. If the server crashes at that moment, effects and
            cursor are lost together, and the run continues from the batch before. The commit at the run's end always
            waits. Not for batches that also change something outside the database.
        watched: the step itself compares all that the transaction deletes with its plan.

        Raises:
            PassedPlanError: the application's rows were deleted, and not by plan; the transaction is rolled back.
            Interrupted: the deadline is near. The first batch of an attempt is always tried, so that every attempt
                makes progress.
            Fenced: another attempt has taken the run over; the transaction is rolled back.
            ErrorBudgetExceededError: too many items have been quarantined; this batch is committed.
        """
        self._stop_near_the_deadline()
        self._first_batch = False
        started = time.perf_counter()
        step, batch = self._step, Batch(self.session, self.position)
        assert step is not None, "a step is entered before its batches"
        isolation: Isolation = "repeatable read" if snapshot else "read committed"
        with transaction(self.session, isolation=isolation, settings=self._settings(may_be_lost, lock_seconds)):
            before = Counter() if watched or self._counters_at_zero else deleted(self.session)
            self._counters_at_zero = False
            with _noting_rollbacks(self.session) as rolled_back:
                yield batch
            held = 0 if watched else self._hold_to_the_plan(batch, step, before, exact=not rolled_back)
            position = None if batch.position is None else dict(batch.position) | ({DELETED: held} if held else {})
            counters = self.counters + batch.counts + Counter({BATCHES: 1})
            errors = list(dict.fromkeys([*self.errors, *(f"{item}: {error}" for item, error in batch.quarantined)]))
            ledger.commit_batch(
                self.session,
                self.claim,
                step=step.name,
                fingerprint=self._fingerprint,
                position=position,
                counters=counters,
                errors=errors,
                quarantined=batch.quarantined,
            )
        seconds = time.perf_counter() - started
        self._counters_at_zero, self._deleted = not watched, held
        self.progressed = True
        self.counters, self.errors, self.position = counters, errors[: ledger.ERRORS_KEPT], batch.position
        self.last_batch_seconds = seconds
        self.log("batch.committed", step=step.name, milliseconds=round(seconds * 1000), counters=dict(batch.counts))
        self._check_error_budget()

    def _hold_to_the_plan(self, batch: Batch, step: Step, before: Counter[str], *, exact: bool) -> int:
        """Of the application, nothing is deleted that the step has not planned, by whatever way: cascades, triggers.

        Returns how many rows the step has deleted with this batch.

        exact: no savepoint was rolled back. Otherwise the server counts what that part has deleted as well, so only
            the tables can be compared.
        """
        gone = deleted(self.session) - before
        for name, rows in gone.items():
            if name.startswith(OWN_SCHEMA) or (step.destructive and name in step.tables):
                continue
            remedy = "add the table to its tables" if step.destructive else "declare it destructive"
            raise PassedPlanError(
                f"step {step.name} deleted {rows} rows of {name}, and nothing says that it does: {remedy}, and plan "
                "what it deletes. A trigger or a foreign key may have done it. Nothing of the batch was kept"
            )
        begin_anew(self.session)
        gone = Counter({name: rows for name, rows in gone.items() if not name.startswith(OWN_SCHEMA)})
        if not exact:
            return self._deleted
        batch.count(**{deleted_in(name): rows for name, rows in gone.items()})
        total, planned = self._deleted + gone.total(), sum(self.stated(step.name).values())
        if gone and total > planned:
            raise PassedPlanError(
                f"step {step.name} would delete {total} rows, and has planned {planned}: more have come, or its plan "
                "does not count them all. Nothing of the batch was kept; run it again"
            )
        return total

    def _settings(self, may_be_lost: bool, lock_seconds: float | None) -> dict[str, str]:
        """No statement may run into the reserve, in which a failure is written down; and guards see that a run is at
        work."""
        limit = max(MINIMUM_STATEMENT_SECONDS, self.deadline.remaining - self.deadline.reserve)
        settings = {"statement_timeout": str(int(limit * 1000)), "nightshift.run_id": str(self.run.id)}
        if lock_seconds is not None:
            settings["lock_timeout"] = str(int(lock_seconds * 1000))
        return settings | ({"synchronous_commit": "off"} if may_be_lost else {})

    def _check_error_budget(self) -> None:
        quarantined = self.counters[QUARANTINED]
        seen = sum(count for name, count in self.counters.items() if name != BATCHES)
        if quarantined > max(ERROR_BUDGET_ITEMS, ERROR_BUDGET_SHARE * seen):
            raise ErrorBudgetExceededError(
                f"{quarantined} of {seen} items were quarantined, more than {ERROR_BUDGET_ITEMS} and 1 %; "
                "see nightshift.quarantine for the items"
            )


@contextmanager
def _noting_rollbacks(session: Session) -> Iterator[list[bool]]:
    """A list that is no longer empty once a savepoint of the session was rolled back."""
    noted: list[bool] = []

    def note(session: Session, previous: Any) -> None:
        noted.append(True)

    event.listen(session, "after_soft_rollback", note)
    try:
        yield noted
    finally:
        event.remove(session, "after_soft_rollback", note)
