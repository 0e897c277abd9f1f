"""One attempt at a run: batches that commit effects, cursor and counters together, and stop before the deadline."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from nightshift import ledger
from nightshift.deadline import Deadline
from nightshift.declaration import BATCHES, QUARANTINED, Batch, EventLog, Run
from nightshift.engine.resources import Resources
from nightshift.errors import ErrorBudgetExceededError, Interrupted
from nightshift.ledger import Claim

ERROR_BUDGET_ITEMS = 20
ERROR_BUDGET_SHARE = 0.01


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
        self._step = ""
        self._fingerprint = ""
        self._first_batch = True

    @property
    def run(self) -> Run:
        return self.claim.run

    def candidates_of(self, step: str) -> int | None:
        """How many rows a destructive step has stated that it will touch."""
        return (self.candidates or {}).get(step)

    def enter(self, step: str, fingerprint: str) -> None:
        """Start a step. It starts at the run's cursor if the cursor comes from the same step and the same query."""
        self._step, self._fingerprint, self.position = step, fingerprint, None
        if self.claim.step == step and self.claim.position is not None:
            if self.claim.fingerprint == fingerprint:
                self.position = self.claim.position
            else:
                self.log("cursor.refused", step=step, remedy="the step's query has changed; it starts over")

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
    def batch(self, *, snapshot: bool = False, may_be_lost: bool = False) -> Iterator[Batch]:
        """One transaction, with the run's cursor and counters written at its end.

        snapshot: every statement sees the database as the first one did (REPEATABLE READ), for statements that must fit
            together. If somebody else changes one of the rows meanwhile, the attempt fails.
        may_be_lost: do not wait until the commit is on the disk. If the server crashes at that moment, effects and
            cursor are lost together, and the run continues from the batch before. The commit at the run's end always
            waits. Not for batches that also change something outside the database.

        Raises:
            Interrupted: the deadline is near. The first batch of an attempt is always tried, so that every attempt
                makes progress.
            Fenced: another attempt has taken the run over; the transaction is rolled back.
            ErrorBudgetExceededError: too many items have been quarantined; this batch is committed.
        """
        self._stop_near_the_deadline()
        self._first_batch = False
        started = time.perf_counter()
        batch = Batch(self.session, self.position)
        with self.session.begin():
            if snapshot:
                self.session.execute(text("set transaction isolation level repeatable read"))
            self._prepare_transaction(may_be_lost)
            yield batch
            counters = self.counters + batch.counts + Counter({BATCHES: 1})
            errors = [*self.errors, *(f"{item}: {error}" for item, error in batch.quarantined)]
            ledger.commit_batch(
                self.session,
                self.claim,
                step=self._step,
                fingerprint=self._fingerprint,
                position=batch.position,
                counters=counters,
                errors=errors,
                quarantined=batch.quarantined,
            )
        seconds = time.perf_counter() - started
        self.counters, self.errors, self.position = counters, errors[: ledger.ERRORS_KEPT], batch.position
        self.last_batch_seconds = seconds
        self.log("batch.committed", step=self._step, milliseconds=round(seconds * 1000), counters=dict(batch.counts))
        self._check_error_budget()

    def _prepare_transaction(self, may_be_lost: bool) -> None:
        """Bound the transaction by the time that is left, and let append-only guards see that a run is at work."""
        limit = max(1, int(self.deadline.remaining * 1000))
        settings = {"statement_timeout": str(limit), "nightshift.run_id": str(self.run.id)}
        if may_be_lost:
            settings["synchronous_commit"] = "off"
        self.session.execute(select(*(func.set_config(name, value, True) for name, value in settings.items())))

    def _check_error_budget(self) -> None:
        quarantined = self.counters[QUARANTINED]
        seen = sum(count for name, count in self.counters.items() if name != BATCHES)
        if quarantined > max(ERROR_BUDGET_ITEMS, ERROR_BUDGET_SHARE * seen):
            raise ErrorBudgetExceededError(
                f"{quarantined} of {seen} items were quarantined, more than {ERROR_BUDGET_ITEMS} and 1 %; "
                "see nightshift.quarantine for the items"
            )
