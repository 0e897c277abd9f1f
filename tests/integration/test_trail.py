"""`audited` holds where the project keeps a trail: one line for each run that changed something, or none at all."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift import Delete, Job, Run, days
from nightshift.declaration import AuditTrail, Project
from nightshift.engine import attempt
from nightshift.errors import RunFailedError
from tests.ground.functions.market._tables import Cart
from tests.integration.conftest import Invoke

NOW = "2026-03-01T02:00:00Z"

job = Job(
    name="forget-carts",
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    steps=(Delete(Cart, older_than=days(7), measured_by=Cart.updated_at),),
)


class Notebook(Project):
    """A project whose trail is a list."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Mapping[str, int]]] = []
        self.full = False

    def trail(self) -> AuditTrail:
        return self

    def line(self, session: Session, run: Run, job: str, counters: Mapping[str, int]) -> None:
        if self.full:
            raise OSError("no space left")
        assert session.in_transaction()
        self.lines.append((job, counters))


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    project = Notebook()
    monkeypatch.setattr(attempt, "this_project", lambda: project)
    return project


def carts(session: Session, number: int) -> None:
    insert = text("insert into carts (updated_at) select '2026-01-01Z' from generate_series(1, :number)")
    session.execute(insert, {"number": number})
    session.commit()


def states(session: Session) -> list[Any]:
    session.rollback()
    return list(session.scalars(text("select state from nightshift.runs order by created_at")))


def test_a_run_that_changed_something_leaves_one_line(invoke_job: Invoke, session: Session, notebook: Notebook) -> None:
    carts(session, 3)
    invoke_job(job, at=NOW)
    assert [(name, counters["deleted"]) for name, counters in notebook.lines] == [("forget-carts", 3)]


def test_a_run_that_changed_nothing_leaves_none_nor_does_a_plan(
    invoke_job: Invoke, session: Session, notebook: Notebook
) -> None:
    invoke_job(job, at=NOW)
    carts(session, 3)
    invoke_job(job, {"dry_run": True}, at=NOW)
    assert notebook.lines == []


def test_a_job_that_is_not_audited_leaves_none(invoke_job: Invoke, session: Session, notebook: Notebook) -> None:
    carts(session, 3)
    invoke_job(replace(job, audited=False), at=NOW)
    assert notebook.lines == []


def test_a_line_that_cannot_be_written_leaves_the_run_unsettled(
    invoke_job: Invoke, session: Session, notebook: Notebook
) -> None:
    carts(session, 3)
    notebook.full = True
    with pytest.raises(RunFailedError):
        invoke_job(job, at=NOW)
    assert "succeeded" not in states(session)


def test_without_a_trail_an_audited_job_succeeds_all_the_same(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "this_project", Project)
    carts(session, 3)
    result = invoke_job(job, at=NOW)
    assert (result["outcome"], result["counters"]["deleted"], result["errors"]) == ("succeeded", 3, [])
    assert states(session) == ["succeeded"]
    assert session.scalar(text("select count(*) from trail")) == 0
