"""An upgrade while runs are open: they go on at their cursor with the new code, and end with every row done once.

The version before is a copy of this one in which some files are older, because a clone need not have the history. The
newer one has a migration more. Both run in processes of their own, on one database.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from cli.project.files import ROOT, nightshift_files, put
from local.postgres import PostgresServer
from tests.conftest import NewDatabase
from tests.removal.projects import OWN, PACK, contents, link, nightshift, run

LIBRARY = "layers/nightshift/python/nightshift"
WAYS = f"{LIBRARY}/engine/ways.py"
MIGRATION = f"{LIBRARY}/database/migrations/versions/nightshift_9999.py"

TABLES = """
create table deliveries (id int primary key, at timestamptz not null, body text not null);
insert into deliveries select i, now() - i * interval '1 hour', repeat('x', 1000) from generate_series(1, 3000) i;
create index on deliveries (at);
create table visits (id int primary key);
insert into visits select generate_series(1, 250);
create table copies (id int not null);
"""
KEPT = 10 * 24 - 1
"""Deliveries that are younger than ten days."""

JOBS = {
    "old_deliveries": '''"""Delete deliveries after ten days."""

from nightshift import Delete, Job, days, lambda_handler

job = Job(
    name="old-deliveries",
    kind="retention",
    schedule="cron(0 3 * * ? *)",
    steps=(Delete("deliveries", older_than=days(10), measured_by="at"),),
)
handler = lambda_handler(job)
''',
    "copied_visits": '''"""Copy visits, a hundred at a time. Done twice, a visit is there twice."""

from sqlalchemy import text

from nightshift import Function, Job, StepPlan, lambda_handler

BLOCK = text(
    "insert into copies select id from visits where id > :after order by id limit 100 returning id"
)


def copy(execution):
    last = execution.position["last"] if execution.position else 0
    while last < 250:
        with execution.batch() as batch:
            copied = list(batch.session.scalars(BLOCK, {"after": last}))
            last = max(copied)
            batch.count(copied=len(copied))
            batch.position = {"last": last}


def plan(session, run):
    return [StepPlan("copy", "copies", "insert", 250)]


step = Function(name="copy", apply=copy, plan=plan, counters=("copied",), changes=("copied",))
job = Job(name="copied-visits", kind="report", schedule="cron(0 3 * * ? *)", steps=(step,))
handler = lambda_handler(job)
''',
}

WORK = """
import json, os, sys
from sqlalchemy import create_engine
from nightshift.database import migrations
from nightshift.deadline import Deadline
from nightshift.declaration import registry, this_project
from nightshift.engine import ways
from nightshift.environment import DATABASE_VARIABLE
from nightshift.runtime import invoke

url, late, events = json.loads(sys.argv[1])
engine = create_engine(url)
applied = migrations.upgrade(engine, this_project().branches(tables=False))
engine.dispose()
os.environ[DATABASE_VARIABLE] = json.dumps({"url": url})
if late:
    Deadline.near = True  # an attempt then stops behind its first batch

class Context:
    aws_request_id = None

    def get_remaining_time_in_millis(self):
        return 60_000

def called(number, job, event):
    context = Context()
    context.aws_request_id = f"{os.getpid()}-{number}"
    return invoke(registry()[job].job, event, context)

results = {job: called(number, job, event) for number, (job, event) in enumerate(events.items())}
print(json.dumps({"applied": applied, "older": hasattr(ways, "OLDER"), "results": results}))
"""


@pytest.fixture(scope="module", autouse=True)
def on_the_ground() -> None:
    """No shop: what is tried here runs in processes of its own."""


@pytest.fixture
def application(new_database: NewDatabase) -> Iterator[Engine]:
    with new_database() as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql(TABLES)
            connection.exec_driver_sql("analyze")
        yield engine
        engine.dispose()


def checkout(folder: Path, changed: Mapping[str, str]) -> Path:
    """A copy of this Nightshift in which some files are otherwise."""
    for name in nightshift_files(ROOT):
        put(folder / name, (ROOT / name).read_bytes(), like=ROOT / name)
    for name, content in changed.items():
        put(folder / name, content.encode())
    return folder


def version(number: str, log: str) -> dict[str, str]:
    """The files that say which version it is, and what is new in it."""
    pyproject = re.sub(r'^version = ".*"$', f'version = "{number}"', (ROOT / "pyproject.toml").read_text(), flags=re.M)
    return {"pyproject.toml": pyproject, "CHANGELOG.md": f"# Changes\n\n{log}"}


FIRST = "## [0.0.1] - 2026-01-01\n\n- The first.\n"
SECOND = "## [0.0.2] - 2026-02-01\n\n- Runs are noted.\n\n"


def older(folder: Path) -> Path:
    """The version before: a module of the library and the Makefile read otherwise, and one file is there still."""
    changed = {
        WAYS: (ROOT / WAYS).read_text() + "\nOLDER = True\n",
        "Makefile": "# Older.\n" + (ROOT / "Makefile").read_text(),
        f"{LIBRARY}/engine/older.py": "",
    }
    return checkout(folder, version("0.0.1", FIRST) | changed)


def newer(folder: Path) -> Path:
    """This version, with its next migration."""
    last = max(path.stem for path in (ROOT / MIGRATION).parent.glob("nightshift_*.py"))
    migration = f'''"""Runs are noted."""

from alembic import op

revision = "nightshift_9999"
down_revision = "{last}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table nightshift.runs add column noted text")
'''
    return checkout(folder, version("0.0.2", SECOND + FIRST) | {MIGRATION: migration})


def work(project: Path, database: Engine, events: Mapping[str, Any], *, late: bool = False) -> dict[str, Any]:
    """Migrate, and invoke jobs as Lambda does, with the project's own code."""
    url = database.url.render_as_string(hide_password=False)
    told = run(project, sys.executable, "-B", "-c", WORK, json.dumps([url, late, events]))
    found = json.loads(told.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def ledger(database: Engine) -> dict[str, Any]:
    with database.connect() as connection:
        found = connection.exec_driver_sql("select job, state, position, epoch, counters from nightshift.runs")
        return {row.job: row for row in found}


def test_open_runs_go_on_at_their_cursor_with_the_new_code(
    tmp_path: Path, application: Engine, postgres: PostgresServer
) -> None:
    project = tmp_path / "my own shop"
    run(older(tmp_path / "older"), sys.executable, "-B", "-m", "cli", "init", str(project), "--pack", PACK)
    link(project)
    for name, content in JOBS.items():
        put(project / f"functions/{PACK}/{name}.py", content.encode())
    before = work(project, application, {"old-deliveries": {}, "copied-visits": {}}, late=True)
    open_runs = ledger(application)
    assert before["older"]
    assert {run.state for run in open_runs.values()} == {"interrupted"}
    assert open_runs["copied-visits"].position["last"] == 100
    deleted = open_runs["old-deliveries"].counters["deleted"]
    assert 0 < deleted < 3000 - KEPT
    with (project / "Makefile").open("a") as makefile:
        makefile.write("# Mine.\n")
    own = {name: digest for name, digest in contents(project).items() if name.startswith(OWN)}

    told = nightshift(project, "upgrade", "--from", str(newer(tmp_path / "newer")))

    assert f"replaced: {WAYS}" in told
    assert f"added: {MIGRATION}" in told
    assert f"removed: {LIBRARY}/engine/older.py" in told
    assert "edited here, left as it is: Makefile" in told
    assert "\n-# Mine.\n" in told
    assert "- Runs are noted." in told
    assert "Nightshift 0.0.1 to 0.0.2" in told
    assert {name: digest for name, digest in contents(project).items() if name.startswith(OWN)} == own

    after = work(project, application, {job: {"run_id": each["run_id"]} for job, each in before["results"].items()})

    assert (after["older"], after["applied"]) == (False, ["nightshift_9999"])
    done = ledger(application)
    assert {run.state for run in done.values()} == {"succeeded"}
    assert {run.epoch for run in done.values()} == {2}
    assert done["old-deliveries"].counters["deleted"] == 3000 - KEPT
    assert done["copied-visits"].counters["copied"] == 250
    with application.connect() as connection:
        copies = list(connection.exec_driver_sql("select id from copies order by id").scalars())
        left = list(connection.exec_driver_sql("select id from deliveries order by id").scalars())
    assert copies == list(range(1, 251))
    assert left == list(range(1, KEPT + 1))
