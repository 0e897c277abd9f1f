"""A step of one's own is held to its plan, whatever savepoints of its batch were taken back."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from nightshift import Function, Job, StepPlan
from nightshift.database import by_halves
from nightshift.declaration import Execution
from nightshift.errors import Interrupted, RunFailedError
from tests.integration.tables.conftest import Call

THINGS = """
    create table things (id int primary key);
    create table others (id int primary key);
    insert into things select generate_series(1, 100);
    insert into others select generate_series(1, 100);
"""
AT_THE_COMMIT = """
    create function along() returns trigger language plpgsql as $$ begin
        delete from others where id = old.id; return null; end $$;
    create constraint trigger along after delete on things deferrable initially deferred
        for each row execute function along();
"""


def emptying(planned: int, delete: Callable[[Session], object]) -> Job:
    """A job that deletes, with an item before and one after it that are refused after deletions of their own."""

    def apply(execution: Execution) -> None:
        if execution.position is not None:
            return
        with execution.batch() as batch:

            def refused(table: str) -> None:
                by_halves(batch.session, [1, 2], lambda _: spoil(batch.session, table), lambda *_: None)

            refused("things")
            delete(batch.session)
            refused("others")
            batch.position = {"done": True}

    step = Function(
        name="empty",
        apply=apply,
        plan=lambda session, run: [StepPlan("empty", "things", "delete", planned)],
        counters=(),
        tables=("things",),
        destructive=True,
    )
    return Job(name="empty", kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)


def spoil(session: Session, table: str) -> None:
    session.execute(text(f"delete from {table} where id > 50"))
    session.execute(text("select 1 / 0"))


def gone(session: Session, statements: Sequence[str] = ("delete from things where id <= 10",)) -> None:
    for statement in statements:
        session.execute(text(statement))


def rows(database: Engine) -> list[Any]:
    with database.connect() as connection:
        return [connection.scalar(text(f"select count(*) from {name}")) for name in ("things", "others")]


def test_what_was_taken_back_does_not_count(made: Any, call: Call) -> None:
    database = made(THINGS)
    counters = call(database, emptying(10, gone))["counters"]
    assert (counters["deleted in things"], rows(database)) == (10, [90, 100])


def with_step(job: Job, **other: Any) -> Job:
    (step,) = job.steps
    assert isinstance(step, Function)
    return replace(job, steps=(replace(step, **other),))


def test_a_step_that_says_of_itself_that_it_destroys_nothing_deletes_nothing(made: Any, call: Call) -> None:
    database, job = made(THINGS), emptying(10, gone)
    job = with_step(job, destructive=False)
    with pytest.raises(RunFailedError, match="deleted 10 rows of things, and nothing says that it does: declare it"):
        call(database, job)
    assert rows(database) == [100, 100]


def test_what_an_earlier_attempt_has_deleted_counts(made: Any, call: Call) -> None:
    def apply(execution: Execution) -> None:
        done = int((execution.position or {}).get("done", 0))
        for upto in (done + 3, done + 5):
            with execution.batch() as batch:
                batch.session.execute(text(f"delete from things where id <= {upto}"))
                batch.position = {"done": upto}
        if not done:
            raise Interrupted

    database, job = made(THINGS), emptying(9, gone)
    job = with_step(job, apply=apply)
    first = call(database, job)
    assert (first["outcome"], rows(database)) == ("interrupted", [95, 100])
    assert "would delete 10 rows, and has planned 9" in call(database, job, run_id=first["run_id"])["reason"]
    assert rows(database) == [92, 100]


@pytest.mark.parametrize(
    ("statements", "more", "says"),
    [
        (("delete from things where id <= 10",), "", "would delete 10 rows, and has planned 9"),
        (("delete from others where id <= 5",), "", "deleted 5 rows of others, and nothing says that it does"),
        (("delete from things where id <= 5",), AT_THE_COMMIT, "deleted 5 rows of others"),
    ],
)
def test_more_than_was_planned_or_another_table_stays(
    made: Any, call: Call, statements: tuple[str, ...], more: str, says: str
) -> None:
    database = made(THINGS + more)
    with pytest.raises(RunFailedError, match=says):
        call(database, emptying(9, lambda session: gone(session, statements)))
    assert rows(database) == [100, 100]
