"""The tests that a project inherits, run in one: green for a job that is right, red for one that is not."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

PROJECT = Path(__file__).parents[2]
NEEDED = ("layers/nightshift", "local", "functions/__init__.py", "functions/platform", "pyproject.toml")
TESTS = (
    "conftest.py",
    "own_tables.py",
    "ground",
    *(f"faults/{name}" for name in ("__init__.py", "deaths.py")),
    *(f"integration/{name}" for name in ("conftest.py", "every_job.py", "own")),
)

SCHEMA = r"""
\restrict abc
create schema shop;
create table shop.deliveries (id bigint generated always as identity primary key, created_at timestamptz not null);
create index on shop.deliveries (created_at);
create table shop.visits (id bigint generated always as identity primary key, created_at timestamptz not null);
create table shop.hits (created_at timestamptz not null) partition by range (created_at);
create table shop.old_hits partition of shop.hits for values from (minvalue) to ('2025-01-01Z');
create table shop.new_hits partition of shop.hits for values from ('2025-01-01Z') to (maxvalue);
create index on shop.hits (created_at);
create table shop."it's" (id bigint);
create table shop.log (id bigint generated always as identity primary key, made_by text not null);
\unrestrict abc
"""
ROWS = """
insert into shop.deliveries (created_at) select now() - i * interval '1 day' from generate_series(1, 200) i;
insert into shop.visits (created_at) select now() - i * interval '1 day' from generate_series(1, 20) i;
"""
MODELS = """
import datetime as dt
from sqlalchemy import DateTime
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Delivery(Base):
    __tablename__ = "deliveries"
    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True), index=True)
"""

RIGHT = """
steps = (Delete("shop.deliveries", older_than=days(90), measured_by="created_at"),)
"""
WHOLE = """
steps = (Delete("shop.hits", older_than=days(90), measured_by="created_at", partitions=Drop()),)
"""
WITHOUT_INDEX = """
steps = (Delete("shop.visits", older_than=days(5), measured_by="created_at"),)
"""
WITHOUT_RESUMING = """
def write(execution):
    for number in range(3):  # begins at the start, whatever position says
        with execution.batch() as batch:
            batch.session.execute(text("insert into shop.log (made_by) values ('it')"))
            batch.count(written=1)
            batch.position = {"number": number}

def plan(session, run):
    return [StepPlan("write", "shop.log", "insert", 3)]

steps = (Function(name="write", apply=write, plan=plan, counters=("written",), changes=("written",)),)
"""
SKIPPING = """
def write(execution):
    if execution.position is not None:
        return  # what the first batch did not do is forgotten
    for number in range(3):
        with execution.batch() as batch:
            batch.session.execute(text("insert into shop.log (made_by) values ('it')"))
            batch.count(seen=1)
            batch.position = {"number": number}

def plan(session, run):
    return [StepPlan("write", "shop.log", "insert", 0)]

steps = (Function(name="write", apply=write, plan=plan, counters=("seen",)),)
"""
PLANNED_WRONGLY = """
def delete(execution):
    if execution.position is None:
        with execution.batch() as batch:
            done = batch.session.execute(text("delete from shop.visits where created_at < now() - interval '9 days'"))
            batch.count(deleted=done.rowcount)
            batch.position = {"done": True}

def plan(session, run):
    rows = session.scalar(text("select count(*) from shop.visits"))
    return [StepPlan("delete", "shop.visits", "delete", rows)]

steps = (
    Function(
        name="delete", apply=delete, plan=plan, counters=("deleted",), changes=("deleted",), tables=("shop.visits",),
        destructive=True,
    ),
)
"""

JOB = '''"""A rule in plain words."""
from sqlalchemy import text
from nightshift import Delete, Drop, Function, Job, days, lambda_handler
from nightshift.declaration import StepPlan
{steps}
job = Job(name="{name}", kind="retention", schedule="cron(0 3 * * ? *)", steps=steps)
handler = lambda_handler(job)
'''


@dataclass(frozen=True)
class Outcome:
    """What pytest said of a project: the tests that failed, with why, those that passed, and the whole output."""

    failed: Mapping[str, str]
    passed: frozenset[str]
    said: str

    def failures(self, job: str) -> dict[str, str]:
        """Why a job's tests failed, by the name of the test."""
        return {name.partition("[")[0]: why for name, why in self.failed.items() if f"[{job}" in name}


Inherit = Callable[..., Outcome]


@pytest.fixture
def inherit(tmp_path: Path) -> Inherit:
    """Make a project with these jobs and files, and run the tests that it inherits."""

    def run(jobs: Mapping[str, str], files: Mapping[str, str]) -> Outcome:
        for name in NEEDED:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).symlink_to(PROJECT / name)
        for name in TESTS:
            to = tmp_path / "tests" / name
            to.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (PROJECT / "tests" / name).is_dir() else shutil.copy
            copy(PROJECT / "tests" / name, to)
        written = {
            f"functions/shop/{name.replace('-', '_')}.py": JOB.format(name=name, steps=steps)
            for name, steps in jobs.items()
        }
        for name, content in {"functions/shop/__init__.py": "", **written, **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        report = tmp_path / "report.xml"
        arguments = ["-q", "-p", "no:cacheprovider", "--tb=short", f"--junitxml={report}", "tests/integration/own"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - pytest's own
        broken = {case: [*case.iter("failure"), *case.iter("error")] for case in cases}
        return Outcome(
            {case.attrib["name"]: f"{why[0].attrib['message']}\n{why[0].text}" for case, why in broken.items() if why},
            frozenset(case.attrib["name"] for case, why in broken.items() if not why),
            done.stdout + done.stderr,
        )

    return run


PLAN = "test_a_plan_changes_nothing_and_counts_what_the_run_then_changes"
INTERRUPTED = "test_a_run_interrupted_after_every_batch_ends_like_an_undisturbed_one"
INDEX = "test_the_rows_of_a_step_are_found_through_an_index"


def test_jobs_that_are_wrong_are_found_and_one_that_is_right_is_not(inherit: Inherit) -> None:
    jobs = {
        "right": RIGHT,
        "without-index": WITHOUT_INDEX,
        "without-resuming": WITHOUT_RESUMING,
        "skipping": SKIPPING,
        "planned-wrongly": PLANNED_WRONGLY,
    }
    outcome = inherit(jobs, {"tests/own/schema.sql": SCHEMA, "tests/own/rows.sql": ROWS})

    assert outcome.failures("right") == {}, outcome.said
    assert len([name for name in outcome.passed if "[right" in name]) == 12
    assert set(outcome.failures("without-index")) == {INDEX}
    assert 'create index concurrently on "shop"."visits" (created_at)' in outcome.failures("without-index")[INDEX]
    assert "it does not end when it is interrupted" in outcome.failures("without-resuming")[INTERRUPTED]
    assert "interrupted, it leaves other rows in shop.log" in outcome.failures("skipping")[INTERRUPTED]
    assert "the plan counted otherwise" in outcome.failures("planned-wrongly")[PLAN]
    assert "tested on empty tables only: skipping (" in outcome.said


def test_without_rows_a_job_is_tested_on_empty_tables_and_named(inherit: Inherit) -> None:
    outcome = inherit({"right": RIGHT, "whole": WHOLE}, {"tests/own/schema.sql": SCHEMA})

    assert (outcome.failed, len(outcome.passed)) == ({}, 24), outcome.said
    assert "tested on empty tables only: right, whole (rows for them: tests/own/rows.sql)" in outcome.said


def test_tables_may_come_from_the_models(inherit: Inherit) -> None:
    application = "layers/application/python/application"
    files = {f"{application}/__init__.py": "", f"{application}/models/__init__.py": ""}
    files[f"{application}/models/base.py"] = MODELS
    files["tests/own/rows.sql"] = "insert into deliveries (created_at) values (now() - interval '100 days'), (now());"

    outcome = inherit({"right": RIGHT.replace("shop.", "")}, files)

    assert (outcome.failed, len(outcome.passed)) == ({}, 12), outcome.said
    assert "empty tables only" not in outcome.said


def test_with_neither_it_is_said_what_to_write(inherit: Inherit) -> None:
    outcome = inherit({"right": RIGHT}, {})

    assert "test_empty_tables_give_zeros[right]" in outcome.failed
    assert "tests/own/schema.sql, the tables as SQL: pg_dump --schema-only" in outcome.said
    assert "layers/application/python/application/models/base.py" in outcome.said
