"""A deployment changes a job while one of its runs is open: what it deletes then is counted and capped anew."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Engine, text

from nightshift import Count, Delete, Job, Parameter, Update, days
from nightshift.deadline import Deadline
from nightshift.declaration import Step
from nightshift.engine.ways import HeapWalk, KeyWalk
from nightshift.environment import PARAMETERS_VARIABLE
from tests.integration.tables.conftest import (
    Call,
    call as call,
    library_only as library_only,
    made as made,
    rows,
)

THINGS = """
    create table things (id int primary key, at timestamptz not null, kind text, above int);
    insert into things select i, timestamptz '2025-12-01Z', (array['a', 'b'])[1 + i % 2], null
      from generate_series(1, 1200) i;
"""
LONELY = "not exists (select from things other where other.above = things.id) and kind = '{kind}'"


def job(*steps: Step) -> Job:
    return Job(name="forget", kind="retention", schedule="cron(0 2 * * ? *)", steps=steps, audited=False)


def deleted(where: str | None = None, name: str = "delete-things") -> Delete:
    return Delete("things", name=name, older_than=days(30), measured_by="at", where=where)


def updated(where: str) -> Update:
    return Update("things", older_than=days(30), measured_by="at", where=where, set={"kind": "c"}, counter="changed")


@pytest.fixture
def begun(call: Call, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The result of a run that was interrupted after its first batch: `begun(database, job, …)`."""
    for limit in ("smallest", "first", "largest"):
        monkeypatch.setattr(HeapWalk, limit, 1)
        monkeypatch.setattr(KeyWalk, limit, 50)

    def begin(database: Engine, steps: Sequence[Step], batches: int = 1, **parameters: int) -> dict[str, Any]:
        with monkeypatch.context() as hurried:
            hurried.setattr(Deadline, "near", True)
            result = call(database, job(*steps), parameters=parameters)
            for _ in range(1, batches):
                result = call(database, job(*steps), run_id=result["run_id"])
        assert result["outcome"] == "interrupted"
        return result

    return begin


@pytest.mark.parametrize("later", [deleted(), deleted(name="delete-old-things")], ids=["wider", "renamed"])
@pytest.mark.parametrize("more", [(), (Delete("things", name="more", where="true"),)], ids=["", "another"])
def test_a_cap_holds_whatever_the_steps_are_by_then(
    made: Any, call: Call, begun: Any, later: Delete, more: tuple[Step, ...]
) -> None:
    database = made(THINGS)
    first = begun(database, [deleted("kind = 'a'")], max_rows=1199, max_share=100)
    gone = first["counters"]["deleted"]

    ended = call(database, job(later, *more), run_id=first["run_id"])

    assert (ended["outcome"], ended["counters"]["deleted"], rows(database, "things")) == ("failed", gone, 1200 - gone)
    assert f"{gone} rows are done, step {later.name} would delete {1200 - gone} rows of things" in ended["reason"]
    assert "Nothing more was changed" in ended["reason"]


@pytest.mark.parametrize("where", ["kind = '{kind}'", LONELY], ids=["as it is", "keys first"])
def test_the_rows_of_the_new_query_go_and_no_others(made: Any, call: Call, begun: Any, where: str) -> None:
    database = made(THINGS)
    first = begun(database, [deleted(where.format(kind="a"))], batches=2, max_rows=1200, max_share=100)

    ended = call(database, job(deleted(where.format(kind="b"))), run_id=first["run_id"])

    assert (ended["outcome"], ended["counters"]["deleted"]) == ("succeeded", first["counters"]["deleted"] + 600)
    with database.connect() as connection:
        left = connection.execute(text("select kind, count(*) from things group by 1")).all()
    assert [tuple(row) for row in left] == [("a", 600 - first["counters"]["deleted"])]


def test_a_step_that_is_as_it_was_does_all_its_rows_where_another_has_changed(
    made: Any, call: Call, begun: Any
) -> None:
    database = made(THINGS)
    same, before, now = deleted("kind = 'a'"), deleted("kind = 'x'", "other"), deleted("kind = 'b'", "other")
    first = begun(database, [same, before], batches=6, max_rows=1200, max_share=100)

    ended = call(database, job(same, now), run_id=first["run_id"])

    assert (ended["outcome"], ended["counters"]["deleted"], rows(database, "things")) == ("succeeded", 1200, 0)


def test_a_run_keeps_its_parameters_and_gets_those_that_it_lacks_once(
    made: Any, call: Call, begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = made(THINGS + "update things set at = '2026-01-09Z' where kind = 'b'")
    age, other = (Parameter(name, default=60, minimum=1, unit="days") for name in ("age_days", "other_days"))
    change = Update(
        "things", older_than=age, measured_by="at", where="kind <> 'c'", set={"kind": "c"}, counter="changed"
    )
    later = Count("things", older_than=other, measured_by="at", counter="old")
    first = begun(database, [change])

    for near, given in ((True, {"age_days": 10, "other_days": 50}), (False, {"age_days": 10, "other_days": 60})):
        monkeypatch.setenv(PARAMETERS_VARIABLE, json.dumps(given))
        with monkeypatch.context() as hurried:
            hurried.setattr(Deadline, "near", near)
            ended = call(database, job(change, later), run_id=first["run_id"])

    assert (ended["outcome"], ended["counters"]["changed"], ended["counters"]["old"]) == ("succeeded", 600, 1200)


@pytest.mark.parametrize("batches", [1, 2])
def test_steps_that_stand_before_the_one_that_was_reached_are_done_if_they_are_not(
    made: Any, call: Call, begun: Any, batches: int
) -> None:
    """They were moved, or are new. None is done a second time."""
    database = made(THINGS)
    first, second = (Count("things", where=f"kind = '{kind}'", counter=kind, name=kind) for kind in "ab")
    third = Count("things", where="id > 1", counter="third", name="third")
    new = Count("things", where="id > 2", counter="new", name="new")
    change = updated("kind = 'a'")
    begins = begun(database, [first, change, second, third], batches=batches)
    assert begins["counters"]["a"] == 600

    ended = call(database, job(third, new, first, second, change), run_id=begins["run_id"])

    found = {name: ended["counters"][name] for name in ("a", "b", "third", "new", "changed")}
    assert found == {"a": 600, "b": 600, "third": 1199, "new": 1198, "changed": 600}


def test_rows_that_were_written_down_for_another_query_are_not_updated(made: Any, call: Call, begun: Any) -> None:
    database = made(THINGS)
    first = begun(database, [updated(LONELY.format(kind="a"))], batches=3)

    ended = call(database, job(updated(LONELY.format(kind="b"))), run_id=first["run_id"])

    assert ended["counters"]["changed"] == first["counters"]["changed"] + 600
    with database.connect() as connection:
        left = connection.scalar(text("select count(*) from things where kind = 'a'"))
    assert left == 600 - first["counters"]["changed"]
