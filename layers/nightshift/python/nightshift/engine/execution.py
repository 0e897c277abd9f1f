"""One attempt at a run: batches that commit effects, cursor and counters together, and stop before the deadline."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from nightshift import ledger
from nightshift.database.transaction import Isolation, bound, transaction
from nightshift.deadline import Deadline
from nightshift.declaration import BATCHES, QUARANTINED, Batch, EventLog, Run, Step
from nightshift.declaration.partitions import PARTITION_BYTES
from nightshift.engine.deletions import Deletions
from nightshift.engine.pacing import Committed, Pacing, is_of_time
from nightshift.engine.resources import Resources
from nightshift.engine.tally import along
from nightshift.errors import ErrorBudgetExceededError, Interrupted
from nightshift.ledger import Claim

ERROR_BUDGET_ITEMS = 20
ERROR_BUDGET_SHARE = 0.01
MINIMUM_STATEMENT_SECONDS = 1.0
DELETED = "rows deleted"
"""In a saved position: how many rows the step has deleted so far."""
DONE = "steps done"
"""In a saved position: the names of the steps before this one, as the code had them that did them."""

NO_ITEMS = (BATCHES, PARTITION_BYTES)
"""Counters that count no rows and no other items."""

BRISK_SECONDS = 10.0
"""After a batch of many that took less than this, the next one is expected to end within its lease."""
LONGEST_BRISK_SECONDS = 60.0
"""If it does not, its statement ends, and it is tried again with a lease to the deadline."""


def of_partition(step: str, name: str) -> str:
    """Under which name a step states the rows of a partition that goes as a whole."""
    return f"{step} / {name}"


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
        self.notes = list(claim.notes)
        self.candidates = claim.candidates
        self.position: Mapping[str, Any] | None = None
        self.done: tuple[str, ...] = ()
        """The steps that are done."""
        self.last_batch_seconds = 0.0
        self.pacing = Pacing(session, claim, deadline, log)
        self._step: Step | None = None
        self._fingerprint = ""
        self._first_batch = True
        self._deletions: Deletions | None = None
        self._brisk = False
        self._lease_is_short = False
        self.progressed = False
        """Whether this attempt has committed a batch."""

    @property
    def run(self) -> Run:
        return self.claim.run

    def begin_anew(self) -> None:
        """From the first step on, wherever the attempt before has ended."""
        self.claim = replace(self.claim, step=None, position=None)

    def still_to_do(self, steps: Sequence[Step]) -> list[Step]:
        """The steps that the run has not done, in the order in which they are to be done.

        That at which it was interrupted comes first. A deployment since then may have put others before it, which the
        run has not done, or may have taken away some that it has.
        """
        names = [step.name for step in steps]
        if self.claim.step not in names:
            return list(steps)
        at = names.index(self.claim.step)
        before: Sequence[str] = (self.claim.position or {}).get(DONE, names[:at])
        self.done = tuple(before)
        return [steps[at], *(step for step in steps if step.name not in (*before, self.claim.step))]

    def stated(self, step: str) -> dict[str, int]:
        """What a destructive step has stated that it will touch; see `nightshift.declaration.Execution`."""
        stated = self.candidates or {}
        return {name: rows for name, rows in stated.items() if name == step or name.startswith(f"{step} > ")}

    def stated_partitions(self, step: str) -> dict[str, int]:
        """See `nightshift.declaration.Execution`."""
        prefix = of_partition(step, "")
        every = (self.candidates or {}).items()
        return {name.removeprefix(prefix): rows for name, rows in every if name.startswith(prefix)}

    def enter(self, step: Step) -> None:
        """Start a step. It starts at the run's cursor if the cursor comes from the same step and the same query."""
        self._hold_to_the_deadline()
        if self._step is not None:
            self.done = (*self.done, self._step.name)
        self._step, self._fingerprint, self.position = step, step.fingerprint(self.run), None
        deleted = 0
        if self.claim.step == step.name and self.claim.position is not None:
            if self.claim.fingerprint == self._fingerprint:
                own = {key: value for key, value in self.claim.position.items() if key not in (DELETED, DONE)}
                self.position = own or None
                deleted = int(self.claim.position.get(DELETED, 0))
            else:
                self.log("cursor.refused", step=step.name, remedy="the step's query has changed; it starts over")
                ledger.start_over(self.session, self.claim, step.name)
        self._deletions = Deletions(step, sum(self.stated(step.name).values()), deleted)
        cascades = [name.partition(" > ")[2] for name in self.stated(step.name) if name != step.name]
        self.pacing.at([*step.tables, *cascades])

    @property
    def batch_seconds(self) -> float:
        """What the next batch should take; see `nightshift.declaration.Execution`."""
        return self.pacing.batch_seconds

    def at_most(self, size: int, rows_each: float = 1.0, *, least: int = 1) -> int:
        """How large the batch that has begun may be; see `nightshift.declaration.Execution`."""
        return self.pacing.at_most(size, rows_each, least=least)

    def stop_if_late(self) -> None:
        """For steps that change something outside the database before a batch, which no rollback can undo.

        Raises:
            Interrupted: there is no time left to start the batch.
            Fenced: another attempt has taken the run over; a zombie must not change anything.
        """
        self._stop_near_the_deadline()
        self.pacing.wait()
        ledger.renew(self.session, self.claim, seconds=self.deadline.remaining)
        self._lease_is_short = False

    def settle(self) -> None:
        """From here on the reserve may be used: the run is being settled."""
        connection = self.session.get_bind()
        if isinstance(connection, Connection):
            bound(connection, self.deadline.remaining, self.deadline.reserve / 2)

    def _stop_near_the_deadline(self) -> None:
        if not self._first_batch and self.deadline.near and (self.progressed or self._reserve_is_used):
            raise Interrupted

    @property
    def _reserve_is_used(self) -> bool:
        """Whether a first batch that was rolled back must not be tried again, with fewer rows."""
        return self.deadline.remaining < self.deadline.reserve / 2

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
        may_be_lost, watched: see `nightshift.declaration.Execution`.

        Raises:
            PassedPlanError: the application's rows were deleted, and not by plan; the transaction is rolled back.
            Interrupted: the deadline is near. The first batch of an attempt is always tried, so that every attempt
                makes progress.
            Fenced: another attempt has taken the run over; the transaction is rolled back.
            ErrorBudgetExceededError: too many items have been quarantined; this batch is committed.
        """
        self._stop_near_the_deadline()
        self.pacing.wait()
        self._first_batch = False
        brisk, self._brisk = may_be_lost and self._brisk, False
        if not brisk:
            self._hold_to_the_deadline()
        step, deletions, batch = self._step, self._deletions, Batch(self.session, self.position)
        assert step is not None, "a step is entered before its batches"
        assert deletions is not None
        isolation: Isolation = "repeatable read" if snapshot else "read committed"
        with ExitStack() as begun:
            started = self._begin(begun, isolation, lambda: self._settings(may_be_lost, lock_seconds, brisk))
            lease = min(ledger.LEASE_SECONDS, self.deadline.remaining + ledger.LEASE_MARGIN_SECONDS)
            with nullcontext() if watched else deletions.held(batch):
                yield batch
            position = {**(batch.position or {}), DONE: list(self.done)}
            if batch.position is not None and not watched and deletions.with_this_batch:
                position[DELETED] = deletions.with_this_batch
            counters = self.counters + batch.counts + Counter({BATCHES: 1})
            counters.update({name: seconds - counters[name] for name, seconds in self.pacing.counters.items()})
            strain = self.pacing.strain
            errors = list(dict.fromkeys([*self.errors, *(f"{item}: {error}" for item, error in batch.quarantined)]))
            notes = list(dict.fromkeys([*self.notes, *batch.notes]))[: ledger.NOTES_KEPT]
            ledger.commit_batch(
                self.session,
                self.claim,
                step=step.name,
                fingerprint=self._fingerprint,
                position=position,
                counters=counters,
                errors=errors,
                quarantined=batch.quarantined,
                notes=notes if batch.notes else None,
                lease_seconds=lease if may_be_lost else None,
                strain=strain,
            )
        seconds = time.perf_counter() - started
        if not watched:
            deletions.committed()
        self.progressed = True
        self._lease_is_short = may_be_lost
        self._brisk = may_be_lost and seconds < BRISK_SECONDS
        self.counters, self.errors, self.position = counters, errors[: ledger.ERRORS_KEPT], batch.position
        self.notes = notes
        self.last_batch_seconds = seconds
        self.pacing.committed(Committed(seconds, self._changed(step, batch.counts), strain, counters))
        self.log("batch.committed", step=step.name, milliseconds=round(seconds * 1000), counters=dict(batch.counts))
        self._check_error_budget()

    def _begin(self, begun: ExitStack, isolation: Isolation, settings: Callable[[], Mapping[str, str]]) -> float:
        """Begin the batch's transaction. What an operator has set is read with its first message: if the batch may not
        begin any more, it ends again, and waits without a transaction. Returns when it began."""
        while True:
            started = time.perf_counter()
            with ExitStack() as own:
                own.enter_context(
                    transaction(self.session, isolation=isolation, settings=settings(), also=self.pacing.also)
                )
                if self.pacing.as_dialled():
                    begun.push(own.pop_all())
                    return started
            self.pacing.wait()

    @staticmethod
    def _changed(step: Step, counts: Mapping[str, int]) -> int:
        """How many rows a batch has changed, cascades included. Those of a whole partition were not touched one by one:
        a limit of rows per second does not hold for them."""
        if PARTITION_BYTES in counts:
            return 0
        own = sum(counts.get(name, 0) for name in step.changes)
        return own + along(counts)

    def _hold_to_the_deadline(self) -> None:
        """Have the run to the deadline, for work of which nobody knows how long it takes."""
        if self._lease_is_short:
            ledger.renew(self.session, self.claim, seconds=self.deadline.remaining)
            self._lease_is_short = False

    def _settings(self, may_be_lost: bool, lock_seconds: float | None, brisk: bool) -> dict[str, str]:
        """No statement may run into the reserve, in which a failure is written down, or out of the lease; and guards
        see that a run is at work."""
        limit = max(MINIMUM_STATEMENT_SECONDS, self.deadline.remaining - self.deadline.reserve)
        if brisk:
            limit = min(limit, LONGEST_BRISK_SECONDS)
        settings = {"statement_timeout": str(int(limit * 1000)), "nightshift.run_id": str(self.run.id)}
        if lock_seconds is not None:
            settings["lock_timeout"] = str(int(lock_seconds * 1000))
        return settings | ({"synchronous_commit": "off"} if may_be_lost else {})

    def _check_error_budget(self) -> None:
        quarantined = self.counters[QUARANTINED]
        seen = sum(count for name, count in self.counters.items() if name not in NO_ITEMS and not is_of_time(name))
        if quarantined > max(ERROR_BUDGET_ITEMS, ERROR_BUDGET_SHARE * seen):
            raise ErrorBudgetExceededError(
                f"{quarantined} of {seen} items were quarantined, more than {ERROR_BUDGET_ITEMS} and 1 %; "
                f"see nightshift.quarantine for the items. The first of them: {self.errors[0]}"
            )
