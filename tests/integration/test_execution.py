"""What a batch is given: its cursor, its time, its lease, and whether its commit waits for the disk."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from nightshift import Execution, Function, Policy, ledger
from nightshift.deadline import Deadline
from nightshift.engine import Resources, RunExecution
from nightshift.errors import ErrorBudgetExceededError, Interrupted
from nightshift.ledger import Claim, Request


def apply(execution: Execution, _name: str = "") -> None:
    """What all these steps would do."""


def step(name: str) -> Function:
    return Function(name=name, apply=partial(apply, _name=name), plan=lambda session, run: [], counters=())


class Attempt:
    """An attempt at a run of `left` seconds, of which the test says how many are left."""

    def __init__(self, session: Session, left: float = 100) -> None:
        self.session, self.left = session, left
        claim = ledger.claim(session, "work", Policy(), Request(), seconds=left)
        assert isinstance(claim, Claim)
        self.claim = claim
        self.told: list[str] = []
        self.execution = self.begin(claim)

    def begin(self, claim: Claim) -> RunExecution:

        def log(event: str, /, **_: Any) -> None:
            self.told.append(event)

        self.execution = RunExecution(self.session, claim, Deadline(lambda: self.left), log, Resources())
        return self.execution

    def setting(self, name: str, **batch: Any) -> str:
        """Of the next batch."""
        with self.execution.batch(**batch) as given:
            found = given.session.scalar(text("select setting from pg_settings where name = :name"), {"name": name})
        return str(found)

    def lease(self) -> float:
        left = text("select extract(epoch from lease_until - clock_timestamp()) from nightshift.runs")
        with self.session.begin():
            return float(self.session.scalar(left) or 0)


@pytest.fixture
def attempt(session: Session) -> Attempt:
    found = Attempt(session)
    found.execution.enter(step("one"))
    return found


def test_a_step_takes_its_own_cursor_and_no_other(attempt: Attempt) -> None:
    one, two = step("one"), step("two")
    found = one.fingerprint(attempt.claim.run)
    assert found == two.fingerprint(attempt.claim.run), "else the name says nothing here"
    saved = replace(attempt.claim, step="one", fingerprint=found, position={"at": 7, "rows deleted": 3})

    execution = attempt.begin(saved)
    execution.enter(two)
    assert execution.position is None
    execution.enter(one)
    assert execution.position == {"at": 7}
    assert attempt.told == []
    execution = attempt.begin(replace(saved, fingerprint="of another query"))
    execution.enter(one)
    assert (execution.position, attempt.told) == (None, ["cursor.refused"])


@pytest.mark.parametrize(
    ("left", "at_most", "brisk"), [(600, 590, 60), (100, 90, 60), (30, 27, 27), (1.5, 1, 1), (0.2, 1, 1)]
)
def test_no_statement_may_run_into_the_reserve_or_out_of_its_lease(
    session: Session, left: float, at_most: int, brisk: int
) -> None:
    attempt = Attempt(session, left)
    attempt.execution.enter(step("one"))
    attempt.execution.deadline.reserve = max(1.0, min(10.0, left / 10))
    one = attempt.setting("statement_timeout")
    if attempt.execution.deadline.near:
        with pytest.raises(Interrupted):
            attempt.setting("statement_timeout")
        assert one == str(at_most * 1000)
        return
    of_many = [attempt.setting("statement_timeout", may_be_lost=True) for _ in range(2)]
    another = attempt.setting("statement_timeout")
    assert [one, *of_many, another] == [
        str(at_most * 1000),
        str(at_most * 1000),
        str(brisk * 1000),
        str(at_most * 1000),
    ]


def test_a_batch_says_whose_it_is_and_how_long_it_waits_for_a_lock(attempt: Attempt) -> None:
    with attempt.execution.batch(lock_seconds=0.5) as batch:
        whose = batch.session.scalar(text("select current_setting('nightshift.run_id')"))
    assert whose == str(attempt.claim.run.id)
    assert attempt.setting("lock_timeout", lock_seconds=0.5) == "500"
    assert attempt.setting("lock_timeout") == "10000"


def test_only_a_batch_that_can_be_done_again_does_not_wait_for_the_disk(session: Session, database: Engine) -> None:
    # GIVEN a server that is as careful as one in production; the one for tests is not
    session.execute(text(f"alter database {database.url.database} set synchronous_commit = on"))
    session.commit()
    session.close()
    attempt = Attempt(session)
    attempt.execution.enter(step("one"))
    for batch, expected in (({}, "on"), ({"may_be_lost": True}, "off"), ({}, "on"), ({"snapshot": True}, "on")):
        assert attempt.setting("synchronous_commit", **batch) == expected
    with session.begin():
        assert session.scalar(text("show synchronous_commit")) == "on"


def test_a_batch_is_a_snapshot_only_when_it_asks_for_one(attempt: Attempt) -> None:
    assert attempt.setting("transaction_isolation") == "read committed"
    assert attempt.setting("transaction_isolation", snapshot=True) == "repeatable read"


def test_the_lease_is_short_between_batches_of_many_and_lasts_to_the_deadline_otherwise(attempt: Attempt) -> None:
    attempt.left = 600

    def holds(seconds: float) -> bool:
        return seconds - 5 < attempt.lease() <= seconds

    attempt.setting("lock_timeout", may_be_lost=True)
    assert holds(90)
    attempt.setting("lock_timeout")
    assert holds(610)
    attempt.setting("lock_timeout", may_be_lost=True)
    attempt.execution.enter(step("two"))
    assert holds(610)
    attempt.setting("lock_timeout", may_be_lost=True)
    attempt.execution.stop_if_late()
    assert holds(610)
    attempt.left = 30
    attempt.setting("lock_timeout", may_be_lost=True)
    assert holds(40), "no longer than the invocation"


def test_after_a_slow_batch_the_next_has_the_run_to_the_deadline(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightshift.engine.execution.BRISK_SECONDS", 0)
    attempt.left = 600
    limits = [attempt.setting("statement_timeout", may_be_lost=True) for _ in range(2)]
    assert limits == ["590000", "590000"]


def test_the_first_batch_of_an_attempt_is_always_tried_and_no_other_near_the_deadline(attempt: Attempt) -> None:
    attempt.left = 5
    assert not attempt.execution.progressed
    attempt.setting("lock_timeout")
    assert attempt.execution.progressed
    for late in (lambda: attempt.setting("lock_timeout"), attempt.execution.stop_if_late):
        with pytest.raises(Interrupted):
            late()


def test_a_first_batch_that_failed_is_tried_again_while_half_of_the_reserve_is_left(attempt: Attempt) -> None:
    reserve = attempt.execution.deadline.reserve
    attempt.left = reserve
    with suppress(ValueError), attempt.execution.batch():
        raise ValueError
    attempt.left = reserve / 2 - 0.1
    with pytest.raises(Interrupted):
        attempt.setting("lock_timeout")
    attempt.left = reserve / 2 + 0.1
    attempt.setting("lock_timeout")
    assert attempt.execution.progressed


def test_a_batch_that_fails_leaves_no_progress_and_no_trace(attempt: Attempt) -> None:
    with suppress(ValueError), attempt.execution.batch() as batch:
        batch.count(done=7)
        batch.quarantine("things:1", "odd")
        batch.position = {"at": 7}
        raise ValueError
    execution = attempt.execution
    assert (execution.progressed, execution.position, execution.errors, +execution.counters) == (False, None, [], {})
    with attempt.session.begin():
        kept = attempt.session.execute(text("select position, counters, step from nightshift.runs")).one()
    assert tuple(kept) == (None, {}, None)


@pytest.mark.parametrize(
    ("done", "bad", "too_many"), [(0, 20, False), (0, 21, True), (4_851, 49, False), (4_851, 50, True)]
)
def test_more_than_twenty_bad_items_and_one_in_a_hundred_are_too_many(
    attempt: Attempt, done: int, bad: int, too_many: bool
) -> None:
    batch: Callable[[], Any] = attempt.execution.batch

    def work() -> None:
        with batch() as given:
            given.count(done=done)
            for number in range(bad):
                given.quarantine(f"things:{number}", "odd")

    if too_many:
        with pytest.raises(ErrorBudgetExceededError, match=f"{bad} of "):
            work()
    else:
        work()
    with attempt.session.begin():
        kept = attempt.session.scalar(text("select count(*) from nightshift.quarantine"))
        errors = attempt.session.scalar(text("select errors from nightshift.runs"))
    assert (kept, len(errors)) == (bad, 10), "the batch is committed, with the first errors on the run"
    assert errors[0] == "things:0: odd"
