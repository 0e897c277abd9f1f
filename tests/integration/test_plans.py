"""A plan through the ledger: it only reads, step by step, and one step leaves nothing behind for the next."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift import Function, Job, Run, StepPlan
from nightshift.errors import RunFailedError
from tests.integration.conftest import Invoke

NOW = "2026-03-01T02:00:00Z"


def planning(*statements: str) -> Job:
    """A job of which each step's plan executes one statement, and says how many rows that gave."""

    def step(number: int, statement: str) -> Function:
        def plan(session: Session, _: Run) -> list[StepPlan]:
            rows = session.scalar(text(statement))
            return [StepPlan(f"step-{number}", "orders", "look", rows or 0)]

        return Function(name=f"step-{number}", apply=lambda _: None, plan=plan, counters=("looked",))

    steps = tuple(step(number, statement) for number, statement in enumerate(statements, 1))
    return Job(name="look", kind="check", schedule="cron(0 2 * * ? *)", steps=steps, audited=False)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("insert into nightshift.jobs (name) values ('another') returning 1", "INSERT"),
        ("select 1 from nightshift.jobs for update", "SELECT FOR UPDATE"),
        ("create table orders (id int)", "CREATE TABLE"),
        ("select setval(pg_get_serial_sequence('nightshift.quarantine', 'id'), 7)", "setval()"),
    ],
)
def test_a_plan_that_would_write_fails_in_words_and_is_not_tried_again(
    invoke_job: Invoke, session: Session, statement: str, what: str
) -> None:
    said = rf"a plan only reads: step step-2: {what} writes.* \(SQLSTATE 25006\)".replace("()", r"\(\)")
    with pytest.raises(RunFailedError, match=said):
        invoke_job(planning("select 1", statement), {"dry_run": True}, at=NOW)
    assert session.scalar(text("select state from nightshift.runs")) == "failed"


def test_what_one_step_sets_for_its_plan_does_not_hold_for_the_next(invoke_job: Invoke) -> None:
    size = "select cast(setting as int) from pg_settings where name = 'work_mem'"
    settings = planning(size, "select set_config('work_mem', '77777kB', true) is null", size)
    first, _, last = invoke_job(settings, {"dry_run": True}, at=NOW)["plan"]["steps"]
    assert first["rows"] == last["rows"] != 77777


def test_every_step_sees_the_same_instant_of_the_database(invoke_job: Invoke, session: Session) -> None:
    seen: list[Any] = []

    def plan(theirs: Session, _: Run) -> list[StepPlan]:
        session.execute(text("insert into nightshift.jobs (name) values (gen_random_uuid()::text)"))
        session.commit()
        seen.append(theirs.scalar(text("select count(*) from nightshift.jobs")))
        return []

    job = planning("select 1", "select 1")
    steps = tuple(replace(step, plan=plan) for step in job.steps if isinstance(step, Function))
    invoke_job(replace(job, steps=steps), {"dry_run": True}, at=NOW)
    assert seen[0] == seen[1]
