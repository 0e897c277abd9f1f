"""Each guard in one place, with what it guards: without it, the same scenario goes wrong.

A promise whose guard can be taken out without a test that fails is not tested.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import Engine, delete, text, update
from sqlalchemy.orm import Session

from nightshift import Delete, Function, Job, StepPlan, days, ledger
from nightshift.deadline import Deadline
from nightshift.declaration import Execution, Run, Step
from nightshift.engine import RunExecution
from nightshift.errors import RunFailedError
from nightshift.ledger import RunRecord
from nightshift.outbox import Allowance, Mail, Notification, Outlets, dispatch, parcels
from tests.faults.deaths import Death, Life, let_the_lease_end
from tests.ground.functions.market._tables import Cart, Customer
from tests.integration.conftest import Invoke

AT = dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC)
FORGET = Job(
    name="forget-carts",
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    steps=(Delete(Cart, older_than=days(7), measured_by=Cart.updated_at),),
    audited=False,
)


@dataclass
class Stage:
    """What a scenario plays on."""

    invoke: Invoke
    session: Session
    database: Engine
    monkeypatch: pytest.MonkeyPatch
    notes: list[str] = field(default_factory=list)

    def execute(self, *statements: str) -> None:
        for statement in statements:
            self.session.execute(text(statement))
        self.session.commit()

    def carts(self) -> int:
        self.session.rollback()
        return int(self.session.scalar(text("select count(*) from carts")) or 0)


Scenario = Callable[[Stage], None]


def with_work(apply: Any, plan: Any = lambda session, run: [], **declared: Any) -> Job:
    step = Function(name="work", apply=apply, plan=plan, counters=("done",), **declared)
    return replace(FORGET, name="work", steps=(step,))


def adding(stage: Stage, carts: int) -> Job:
    """A job that adds carts, one in each batch."""

    def add(execution: Execution) -> None:
        while (done := (execution.position or {"done": 0})["done"]) < carts:
            with execution.batch() as batch:
                batch.session.execute(text("insert into carts (note) values ('added')"))
                batch.position = {"done": done + 1}

    return with_work(add)


def a_zombie_changes_nothing(stage: Stage) -> None:
    """An attempt that wakes after another has done the work adds nothing to it."""

    def add(execution: Execution) -> None:
        with execution.batch() as batch:
            batch.session.execute(text("insert into carts (note) values ('added')"))
            if not stage.notes:
                stage.notes.append("the first attempt sleeps")
                let_the_lease_end(stage.database)
                stage.invoke(job, at=AT)

    job = with_work(add)
    stage.invoke(job, at=AT)
    assert stage.carts() == 1


def an_occurrence_runs_once(stage: Stage) -> None:
    job = adding(stage, 1)
    first, second = stage.invoke(job, at=AT), stage.invoke(job, at=AT)
    assert (first["run_id"], stage.carts()) == (second["run_id"], 1)


def two_attempts_do_not_work_at_once(stage: Stage) -> None:
    def look(execution: Execution) -> None:
        stage.notes.append("working")
        if len(stage.notes) == 1:
            stage.invoke(job, at=AT)

    job = with_work(look)
    stage.invoke(job, at=AT)
    assert stage.notes == ["working"]


def a_batch_is_done_once_wherever_the_process_dies(stage: Stage) -> None:
    job, result, deaths = adding(stage, 3), None, 0
    while result is None:
        deaths += 1
        with suppress(Death), Life(ends_at=deaths, kind="dies").lived():
            result = stage.invoke(job, at=AT)
        let_the_lease_end(stage.database)
    assert stage.carts() == 3


def a_run_goes_on_where_it_was(stage: Stage) -> None:
    job = adding(stage, 2)
    stage.monkeypatch.setattr(Deadline, "near", True)
    result = stage.invoke(job, at=AT)
    while result["outcome"] == "interrupted" and stage.carts() < 10:
        result = stage.invoke(job, {"run_id": result["run_id"]})
    assert stage.carts() == 2


def a_late_run_deletes_what_a_punctual_one_would_have(stage: Stage) -> None:
    stage.execute("insert into carts (updated_at) values ('2026-02-21Z'), ('2026-02-23Z')")
    stage.invoke(FORGET, at=AT)
    assert stage.carts() == 1


def a_run_over_its_cap_deletes_nothing(stage: Stage) -> None:
    stage.execute("insert into carts (updated_at) select '2020-01-01' from generate_series(1, 20)")
    with suppress(RunFailedError):
        stage.invoke(FORGET, {"parameters": {"max_rows": 19}}, at=AT)
    assert stage.carts() == 20


def not_one_row_more_than_was_counted(stage: Stage) -> None:
    """Rows that have become old enough since the count are the next run's."""
    stage.execute("insert into carts (updated_at) select '2020-01-01' from generate_series(1, 20)")
    state = ledger.state_candidates

    def and_more(*arguments: Any) -> None:
        state(*arguments)
        stage.execute("insert into carts (updated_at) select '2020-01-01' from generate_series(1, 5)")

    stage.monkeypatch.setattr("nightshift.engine.candidates.ledger.state_candidates", and_more)
    stage.invoke(FORGET, at=AT)
    assert stage.carts() == 5


def what_a_database_is_set_to_changes_nothing(stage: Stage) -> None:
    """In some styles the 12th of January is read as the 1st of December."""
    stage.execute(
        f"alter database {stage.database.url.database} set datestyle to 'SQL, DMY'",
        "insert into carts (updated_at) select timestamptz '2026-01-12Z' + i * interval '1 hour'"
        " from generate_series(0, 9) i",
    )
    stage.database.dispose()
    told = []

    def look(execution: Execution) -> None:
        with execution.batch() as batch:
            told.append(batch.session.scalar(text("select cast(timestamptz '2026-01-12 05:00Z' as text)")))

    with suppress(TypeError, RunFailedError):
        stage.invoke(with_work(look), at=AT)
    assert told == ["2026-01-12 05:00:00+00"]


def what_is_left_without_a_reason_is_no_success(stage: Stage) -> None:
    stage.execute(
        "insert into carts (updated_at) select '2020-01-01' from generate_series(1, 20)",
        "create function keep() returns trigger language plpgsql as 'begin return null; end'",
        "create trigger keep before delete on carts for each row when (old.id = 1) execute function keep()",
    )
    with pytest.raises(RunFailedError, match="1 rows of carts"):
        stage.invoke(FORGET, at=AT)


def what_goes_by_cascade_is_held_to_the_plan(stage: Stage) -> None:
    stage.execute(
        "insert into carts (updated_at) values ('2020-01-01')",
        "create function breed() returns trigger language plpgsql as"
        " 'begin insert into cart_items (cart_id) values (old.id), (old.id); return old; end'",
        "create trigger breed before delete on carts for each row execute function breed()",
    )
    with suppress(RunFailedError):
        stage.invoke(FORGET, at=AT)
    assert stage.carts() == 1


def what_any_step_deletes_is_held_to_its_plan(stage: Stage) -> None:
    stage.execute("insert into carts (note) values ('a'), ('b')")

    def empty(execution: Execution) -> None:
        with execution.batch() as batch:
            batch.session.execute(delete(Cart))

    def plan(session: Session, run: Run) -> list[StepPlan]:
        return [StepPlan("work", "carts", "delete", 1)]

    with suppress(RunFailedError):
        stage.invoke(with_work(empty, plan, destructive=True, tables=("carts",)), at=AT)
    assert stage.carts() == 2


def a_plan_only_reads(stage: Stage) -> None:
    def plan(session: Session, run: Run) -> list[StepPlan]:
        session.execute(text("insert into carts (note) values ('planned')"))
        session.commit()
        return []

    with suppress(Exception):
        stage.invoke(with_work(lambda execution: None, plan), {"dry_run": True}, at=AT)
    assert stage.carts() == 0


def no_mail_goes_twice(stage: Stage) -> None:
    """Not when the sender dies between the mail and its mark."""
    person = Customer(email="ann@example.org")
    stage.session.add(person)
    stage.session.flush()
    stage.session.add(
        Notification(
            recipient=str(person.id),
            channel="email",
            kind="operators",
            title="A title",
            body="A body",
            data={},
            dedupe_key="1",
            scheduled_for=AT,
            created_at=AT,
        )
    )
    stage.session.commit()

    class Dying(Outlets):
        def mail(self, address: str, mail: Mail, *, unsubscribe: bool) -> None:
            stage.notes.append(address)
            raise Death

        def allowance(self) -> Allowance:
            return Allowance(per_second=10, left=10)

    for _ in range(2):
        with suppress(Death):
            dispatch(stage.session, Dying(sender="n@example.com"), Deadline(lambda: 60.0), daily_cap=10)
        stage.session.rollback()
    assert stage.notes == ["ann@example.org"]


def in_a_transaction_of_its_own(session: Session, *arguments: Any, **values: Any) -> None:
    """The cursor, but not with the effects."""
    session.connection().connection.commit()
    _commit_batch(session, *arguments, **values)


_commit_batch = ledger.commit_batch


def unfenced(session: Session, claim: Any, **values: Any) -> None:
    session.execute(update(RunRecord).where(RunRecord.id == claim.run.id).values(values))


def unmarked(session: Session, *which: Any) -> Any:
    """A notice that is taken, and looks as if it were not."""
    claimed = _claim(session, *which)
    with session.begin():
        session.execute(update(Notification).values(status="pending"))
    return claimed


_claim = parcels.claim


def forgetful(self: RunExecution, step: Step) -> None:
    _enter(self, step)
    self.position = None


_enter = RunExecution.enter


@dataclass(frozen=True)
class Guard:
    """A guard as it is taken out, and what goes wrong without it."""

    name: str
    targets: dict[str, Any]
    scenario: Scenario
    also: tuple[str, ...] = ()
    """SQL that takes out what guards in the database."""


NOTHING = lambda *arguments, **named: None  # noqa: E731 - stands for what was taken out

GUARDS = (
    Guard(
        "the epoch is checked in every batch",
        {"nightshift.ledger.batches.update_own": unfenced},
        a_zombie_changes_nothing,
    ),
    Guard(
        "an occurrence is found by its time",
        {"nightshift.ledger.claims._find": NOTHING},
        an_occurrence_runs_once,
        also=("drop index nightshift.runs_occurrence_key",),
    ),
    Guard(
        "a lease keeps others away",
        {"nightshift.ledger.claims._may_start": lambda session, record, clock: record.epoch < 2},
        two_attempts_do_not_work_at_once,
    ),
    Guard(
        "effects and cursor are one transaction",
        {"nightshift.engine.execution.ledger.commit_batch": in_a_transaction_of_its_own},
        a_batch_is_done_once_wherever_the_process_dies,
    ),
    Guard(
        "a cursor is kept",
        {"nightshift.engine.execution.RunExecution.enter": forgetful},
        a_run_goes_on_where_it_was,
    ),
    Guard(
        "the cut-off is frozen",
        {"nightshift.declaration.run.Run.now": property(lambda self: dt.datetime.now(dt.UTC))},
        a_late_run_deletes_what_a_punctual_one_would_have,
    ),
    Guard("the cap", {"nightshift.engine.candidates.over_cap": lambda *_: []}, a_run_over_its_cap_deletes_nothing),
    Guard(
        "what was counted is the most",
        {"nightshift.engine.sweeping._Sweeping._left": property(NOTHING)},
        not_one_row_more_than_was_counted,
    ),
    Guard(
        "every transaction begins with its settings",
        {"nightshift.database.transaction.FIXED": {"row_security": "off"}},
        what_a_database_is_set_to_changes_nothing,
    ),
    Guard(
        "the remainder is counted",
        {"nightshift.engine.sweeping._Sweeping.account": lambda self: True},
        what_is_left_without_a_reason_is_no_success,
    ),
    Guard(
        "cascades are counted",
        {f"nightshift.engine.{module}.tally": lambda session: {} for module in ("sweeping", "following")},
        what_goes_by_cascade_is_held_to_the_plan,
    ),
    Guard(
        "every step's deletions are counted",
        {"nightshift.engine.deletions.deleted": lambda session: Counter()},
        what_any_step_deletes_is_held_to_its_plan,
    ),
    Guard(
        "a plan is read only",
        {"nightshift.engine.attempt.transaction": lambda session, **named: session.begin()},
        a_plan_only_reads,
    ),
    Guard(
        "a notice is claimed before it is sent",
        {"nightshift.outbox.dispatcher.claim": unmarked},
        no_mail_goes_twice,
    ),
)


@pytest.fixture
def stage(invoke_job: Invoke, session: Session, database: Engine, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(invoke_job, session, database, monkeypatch)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_it_holds(guard: Guard, stage: Stage) -> None:
    guard.scenario(stage)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_it_does_not_hold_without_its_guard(guard: Guard, stage: Stage) -> None:
    for target, instead in guard.targets.items():
        stage.monkeypatch.setattr(target, instead)
    stage.execute(*guard.also)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        guard.scenario(stage)
