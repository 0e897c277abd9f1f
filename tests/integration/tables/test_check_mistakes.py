"""A mistake in one job's own code is one finding of that job, in words; all others are checked as ever."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from cli.checking import check_in
from cli.planning import plan_in
from cli.times import now
from nightshift import Count, Function, Job, Run, StepPlan, Update
from nightshift.database import transaction
from nightshift.declaration import Step
from nightshift.errors import SettingError
from nightshift.steps import Recompute
from tests.integration.tables.conftest import deletion
from tests.integration.tables.test_check import PARENTS, url_of


def job_of(step: Step) -> Job:
    return Job(name="wrong", kind="lifecycle", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)


def raising(error: Exception) -> Callable[[Run], NoReturn]:
    def where(run: Run) -> NoReturn:
        raise error

    return where


def asked(does: Callable[[Session], Any]) -> Job:
    def plan(session: Session, run: Run) -> list[StepPlan]:
        does(session)
        return []

    return job_of(Function(name="ask", apply=lambda _: None, plan=plan, counters=()))


MISTAKES: dict[str, tuple[Job, str]] = {
    "a value that is missing": (
        deletion(where=lambda _: text("state = :state")),
        "a statement names :state, and nothing of that name is given",
    ),
    "a colon between quotes": (
        deletion(where=lambda _: text("state = 'a :b'")),
        "a statement names :b, and nothing of that name is given",
    ),
    "a value that is not used": (
        deletion(where=lambda _: text("state = 'a'").bindparams(b=1)),
        "b",
    ),
    "a condition that raises": (deletion(where=raising(KeyError("days"))), "KeyError: 'days'"),
    "a condition that reads a file": (
        deletion(where=raising(FileNotFoundError(2, "No such file", "rules.json"))),
        "FileNotFoundError",
    ),
    "a condition that waits": (deletion(where=raising(TimeoutError("no answer"))), "TimeoutError: no answer"),
    "new values that raise": (
        job_of(Update("parents", where="state = 'new'", set=raising(ZeroDivisionError("by zero")), counter="done")),
        "ZeroDivisionError: by zero",
    ),
    "a new value for no column": (
        job_of(Update("parents", where="state = 'new'", set={"nothing": 1}, counter="done")),
        "has no column nothing",
    ),
    "a figure's value that is missing": (
        job_of(Recompute("parents", name="count", column="n", to="select id, :n as value from parents")),
        "",
    ),
    "a plan that ends the transaction": (asked(Session.rollback), ""),
    "a plan that commits": (asked(Session.commit), ""),
    "a plan that closes the session": (asked(Session.close), ""),
    "a plan that breaks its transaction": (asked(lambda session: swallowed(session, "select 1 / 0")), ""),
}


def swallowed(session: Session, statement: str) -> None:
    try:
        session.execute(text(statement))
    except Exception:  # noqa: BLE001 - the mistake that is meant
        session.execute(text("select 1"))


@pytest.fixture
def ours(made: Any) -> Engine:
    engine: Engine = made(PARENTS)
    return engine


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_a_finding_and_the_other_jobs_are_checked(ours: Engine, case: str) -> None:
    wrong, words = MISTAKES[case]
    answer = check_in(url_of(ours), [replace(wrong, name="wrong"), replace(deletion("parent"), name="other")])

    found = {name: [each for each in answer["findings"] if each["job"] == name] for name in ("wrong", "other")}
    (told,) = found["wrong"]
    assert (told["severity"], words in told["what"]) == ("error", True), told
    assert "sqlalche.me" not in told["what"]
    assert "[SQL" not in told["what"]
    assert [each["what"][:44] for each in found["other"]] == ["the database has no table parent, or this ro"]


@pytest.mark.parametrize("case", [case for case in MISTAKES if not case.startswith(("new value", "a new value"))])
def test_a_plan_tells_it_as_the_error_of_its_step(ours: Engine, case: str) -> None:
    wrong, words = MISTAKES[case]
    sound = Count("parents", where="state = 'new'", counter="sound", name="sound")

    answer = plan_in(url_of(ours), replace(wrong, steps=(*wrong.steps, sound)), now(), {})

    (error,) = answer["errors"]
    assert f"step {wrong.steps[0].name} cannot be planned: " in error
    assert words in error
    assert "sqlalche.me" not in error
    assert [each["step"] for each in answer["plan"]["steps"]] == ["sound"]


def test_a_step_that_needs_what_is_not_here_is_a_note(ours: Engine) -> None:
    answer = check_in(url_of(ours), [deletion(where=raising(SettingError("NIGHTSHIFT_X is not set")))])

    (told,) = answer["findings"]
    assert (told["severity"], "NIGHTSHIFT_X is not set" in told["what"]) == ("note", True)


def test_a_locked_table_is_unknown_and_no_error(ours: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "LOCK_TIMEOUT_SECONDS", 0.1)
    with ours.begin() as holder:
        holder.exec_driver_sql("lock table parents in access exclusive mode")
        answer = check_in(url_of(ours), [deletion()])

    (told,) = answer["findings"]
    assert (told["severity"], told["object"]) == ("warning", "delete-parents")
    assert "unknown" in told["what"]
    assert "check again" in told["what"]
