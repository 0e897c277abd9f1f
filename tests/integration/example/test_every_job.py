"""What holds for every job, whatever it does. A new job is covered as soon as its file exists.

A job that finds nothing in `every_job.sql` needs rows there.
"""

import datetime as dt
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, literal_column, select, text
from sqlalchemy.orm import Session

from application.models import AuditLog
from nightshift import Job, Run
from nightshift.deadline import Deadline
from nightshift.declaration import registry
from nightshift.engine import ways
from nightshift.engine.subject import Explain
from nightshift.engine.ways import HeapWalk, RangeWalk
from nightshift.steps import Notify, RowStep
from nightshift.store import files
from tests.conftest import NewDatabase
from tests.integration.conftest import Invoke

NOW = dt.datetime(2026, 3, 1, 22, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)

LEDGER = {f"nightshift.{table}" for table in ("jobs", "runs", "attempts", "quarantine")}

REPORTING = {"rollup", "report", "check"}
"""Kinds of job that write down how things stand, also when nothing has happened."""

REPEATABLE = sorted(name for name, found in registry().items() if found.job.kind != "check")
"""The jobs that find nothing to do the second time. A check writes down what it found, each time."""

MOST_BATCHES = 50
"""More than any job needs for the rows of `every_job.sql`: a run with more does not move on when it is interrupted."""

ROW_STEPS = [(name, step) for name, each in registry().items() for step in each.job.steps if isinstance(step, RowStep)]

WAYS = [
    (name, way) for name in sorted(registry()) for way in ("heap", *{"range" for each, _ in ROW_STEPS if each == name})
]
"""Both ways through a table for the jobs that sweep one; to all others they are the same."""

RESULT_KEYS = {"job", "run_id", "scheduled_for", "outcome", "duration_ms", "counters", "errors"}


@pytest.fixture(params=sorted(registry()))
def job(request: pytest.FixtureRequest) -> Job:
    """Each job in turn, with what it needs: the fixture that has the need's name."""
    job = registry()[request.param].job
    for need in sorted(job.needs):
        request.getfixturevalue(need)
    return job


@pytest.fixture(scope="session")
def rows_for_every_job(new_database: NewDatabase, migrated: str) -> Iterator[str]:
    """The name of a database with rows for every job, to copy from."""
    with new_database(template=migrated) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql(Path(__file__).with_name("every_job.sql").read_text())
            connection.execute(text("analyze"))
        yield str(engine.url.database)


@pytest.fixture
def database(request: pytest.FixtureRequest, new_database: NewDatabase, migrated: str) -> Iterator[Engine]:
    """The test's database: empty, or with rows for every job where it asks for `populated`."""
    full = "populated" in request.fixturenames
    with new_database(template=request.getfixturevalue("rows_for_every_job") if full else migrated) as engine:
        yield engine


@pytest.fixture
def populated(database: Engine) -> Engine:
    """The test's database with rows for every job."""
    return database


def digests(engine: Engine) -> dict[str, str]:
    """One digest of each table's rows, the order of the rows aside."""
    with engine.connect() as connection:
        tables = connection.scalars(
            text(
                "select format('%I.%I', nspname, relname) from pg_class join pg_namespace n on n.oid = relnamespace"
                " where nspname in ('public', 'nightshift') and relkind in ('r', 'p') and not relispartition"
            )
        )
        each = " union all ".join(
            f"select '{table}', md5(string_agg(row::text, '|' order by row::text)) from {table} as row"  # noqa: S608
            for table in tables
        )
        return dict(connection.execute(text(each)).all())


def application(engine: Engine) -> dict[str, str]:
    """The digests of all tables but the ledger's."""
    return {table: digest for table, digest in digests(engine).items() if table not in LEDGER}


def test_a_doubled_delivery_changes_nothing(job: Job, populated: Engine, invoke_job: Invoke) -> None:
    first = invoke_job(job, at=NOW)
    before = digests(populated)

    second = invoke_job(job, at=NOW)

    assert second == first
    assert digests(populated) == before


@pytest.mark.parametrize("job", REPEATABLE, indirect=True)
def test_a_repetition_changes_nothing_but_its_own_record(job: Job, populated: Engine, invoke_job: Invoke) -> None:
    invoke_job(job, at=NOW)
    before = application(populated)

    forced = invoke_job(job, {"force": True}, at=NOW)

    assert (forced["outcome"], job.changed(forced["counters"])) == ("succeeded", 0)
    assert application(populated) == before

    if job.kind not in REPORTING:
        later = invoke_job(job, at=NOW + SECOND)

        assert (later["outcome"], job.changed(later["counters"])) == ("succeeded", 0)
        assert application(populated) == before


@pytest.fixture
def in_small_batches(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two ways through a table, forced, in batches so small that every step needs several."""
    monkeypatch.setattr(ways, "DENSE_SHARE", -1 if way == "heap" else 2)
    for limit in ("smallest", "first", "largest"):
        monkeypatch.setattr(HeapWalk, limit, 1)
        monkeypatch.setattr(RangeWalk, limit, 3)


@pytest.mark.parametrize(("job", "way"), WAYS, indirect=["job"])
@pytest.mark.usefixtures("in_small_batches")
def test_a_plan_changes_nothing_and_counts_what_the_run_then_changes(
    job: Job, populated: Engine, invoke_job: Invoke, session: Session
) -> None:
    before = application(populated)

    planned = invoke_job(job, {"dry_run": True}, at=NOW)

    assert planned["outcome"] == "planned"
    assert application(populated) == before

    done = invoke_job(job, at=NOW)

    assert _counted(job, planned["plan"]["steps"]) == {
        counters: sum(done["counters"][name] for name in counters) for counters in _counted(job, [])
    }
    changed = job.changed(done["counters"])
    must_change = job.destructive or any(isinstance(step, Notify) for step in job.steps)
    assert changed > 0 or not must_change, "add rows to every_job.sql that this job changes"
    assert job.kind != "rollup" or {"quarantined"} == {name for name, n in done["counters"].items() if not n}, (
        "add rows to every_job.sql that this job counts"
    )
    own = select(func.count()).select_from(AuditLog).where(AuditLog.action == f"job.{job.name}")
    assert session.scalar(own) == (1 if job.audited and changed else 0)


def test_a_run_interrupted_after_every_batch_ends_like_an_undisturbed_one(
    job: Job, populated: Engine, invoke_job: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = invoke_job(job, {"dry_run": True}, at=NOW)
    monkeypatch.setattr(Deadline, "near", True)
    monkeypatch.setattr(files, "AT_ONCE", 1)

    result = invoke_job(job, at=NOW)
    attempts = 1
    while result["outcome"] == "interrupted" and attempts < MOST_BATCHES:
        result = invoke_job(job, {"run_id": result["run_id"]})
        attempts += 1

    assert result["outcome"] == "succeeded"
    assert attempts >= len(job.steps)
    assert _counted(job, planned["plan"]["steps"]) == {
        counters: sum(result["counters"][name] for name in counters) for counters in _counted(job, [])
    }


def _counted(job: Job, plans: list[dict[str, Any]]) -> dict[tuple[str, ...], int]:
    """The planned rows by the counters they will be counted in; several steps may share one."""
    rows: dict[tuple[str, ...], int] = {}
    for step in job.steps:
        counters = (step.counter,) if isinstance(step, RowStep) else step.changes
        rows[counters] = rows.get(counters, 0) + sum(plan["rows"] for plan in plans if plan["step"] == step.name)
    return rows


@pytest.mark.parametrize(("name", "step"), ROW_STEPS, ids=lambda each: getattr(each, "name", each))
def test_the_rows_of_a_step_are_found_through_an_index(name: str, step: RowStep, session: Session) -> None:
    """A declared index may be partial: that its condition serves the step's is for the planner to say."""
    job = registry()[name].job
    subject = step.subject(session, Run(uuid.uuid4(), name, NOW, parameters=job.resolve({})))
    session.execute(text("set local enable_seqscan = off"))
    explained = session.execute(Explain(subject.rows(literal_column("1")).where(subject.workable))).scalar_one()
    used = set(re.findall(r"'Index Name': '(\w+)'", str(explained)))
    known = {index.name for index in subject.facts.indexes}
    assert used & known, f"{step.name} of {name} would read the whole of {step.table_name}"


def test_empty_tables_give_zeros(job: Job, database: Engine, invoke_job: Invoke) -> None:
    before = application(database)

    result = invoke_job(job, at=NOW)

    assert set(result) == RESULT_KEYS
    assert (result["job"], result["scheduled_for"]) == (job.name, "2026-03-01T22:00:00Z")
    assert (result["outcome"], result["errors"]) == ("succeeded", [])
    counters = result["counters"]
    assert set(counters) - {"cutoff"} == set(job.counters)
    assert counters["quarantined"] == 0
    if job.kind not in REPORTING:
        assert {name for name, value in counters.items() if value != 0} <= {"batches", "cutoff"}
        assert application(database) == before
