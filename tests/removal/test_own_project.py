"""The way of somebody who has a database and no Nightshift yet: init, a job for a table, its tests, AWS, an upgrade.

All of it in a folder with a space in its name, and no file of Nightshift's is edited on the way.
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from cli.project import beginning
from cli.project.files import MADE, MANIFEST, ROOT, Manifest, digest_of
from cli.project.job_files import OFFERED
from local.postgres import PostgresServer
from tests.conftest import NewDatabase
from tests.removal.projects import OWN, PACK, contents, link, nightshift, run

SCHEMA = ROOT / "tests/integration/tables/schemas/queues.sql"
JOB = "old-background-jobs"

ROWS = """
insert into hf.job (id, statename, createdat, expireat) values
    (1, 'Succeeded', now() - interval '120 days', now() - interval '100 days'),
    (2, 'Succeeded', now() - interval '120 days', now() - interval '80 days'),
    (3, 'Enqueued', now() - interval '120 days', null);
insert into hf.state (jobid, name, createdat) select id, 'Enqueued', createdat from hf.job;
"""

ON_AWS = """
import json, os, subprocess, sys
from pathlib import Path
from sqlalchemy import create_engine
from local.machine import DATABASE, machine

job, project = sys.argv[1], Path.cwd()
with machine("own") as running:
    engine = create_engine(running.postgres.url(DATABASE))
    with engine.begin() as connection:
        for file in ("schema.sql", "rows.sql"):
            connection.exec_driver_sql((project / "tests/own" / file).read_text())
    def nightshift(*arguments):
        command = [project / "cli/nightshift", *arguments, "--json"]
        return json.loads(subprocess.check_output(command, env={**os.environ, **running.variables}, text=True))
    told = {"plan": nightshift("plan", job), "run": nightshift("run", job), "runs": nightshift("runs", job)}
    told["offered"] = {each: nightshift("run", each)["outcome"] for each in sys.argv[2:]}
    with engine.connect() as connection:
        told["left"] = [row[0] for row in connection.exec_driver_sql("select id from hf.job order by id")]
    engine.dispose()
print(json.dumps(told))
"""


@pytest.fixture(scope="module", autouse=True)
def on_the_ground() -> None:
    """No shop: what is tried here runs in processes of its own."""


@pytest.fixture(scope="module")
def application(new_database: NewDatabase) -> Iterator[Engine]:
    """The application's database: somebody else's tables, with rows."""
    with new_database() as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql(SCHEMA.read_text())
            connection.exec_driver_sql("analyze")
        yield engine
        engine.dispose()


@pytest.fixture(scope="module")
def address(application: Engine, postgres: PostgresServer) -> str:
    """As somebody would type it."""
    url = postgres.url(str(application.url.database)).set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def made(address: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The project, and what init said."""
    project = tmp_path_factory.mktemp("made") / "my own shop"
    beside = os.path.relpath(project, ROOT)  # as `make init DIR=../jobs` has it
    options = ("--database-url", address, "--pack", PACK, "--backup")
    told = run(ROOT, sys.executable, "-m", "cli", "init", beside, *options)
    link(project)
    return project, told


@pytest.fixture(scope="module")
def project(made: tuple[Path, str], address: str) -> Path:
    """The project with a job for one of its tables, and rows for it."""
    folder, _ = made
    told = nightshift(folder, "new", "job", JOB, "--kind", "retention", "--table", "hf.job", "--database-url", address)
    assert "hf.job: age by expireat, which an index begins with" in told
    assert "FILL IN" not in told
    nightshift(folder, "new", "health-check")
    with (folder / "tests/own/rows.sql").open("a") as rows:
        rows.write(ROWS)
    return folder


def test_init_proposes_a_table_for_a_first_job(made: tuple[Path, str]) -> None:
    _, told = made

    rows = [line.split() for line in told.partition("Age by")[2].partition("Next:")[0].splitlines() if "MB" in line]
    assert [row[-3:] for row in rows if row[0] == "hf.job"] == [["expireat", "yes", "yes"]]
    assert "boss.j0a1" not in told, "a partition was told as a table"
    first = next(row for row in rows if row[-2:] == ["yes", "yes"])
    proposed = next(shlex.split(line) for line in told.splitlines() if "new job" in line)
    assert proposed[-4:] == ["--table", first[0], "--measured-by", first[-3]]


def test_the_schema_is_that_of_the_database(
    made: tuple[Path, str], application: Engine, new_database: NewDatabase
) -> None:
    script = (made[0] / "tests/own/schema.sql").read_text()
    assert "insert" not in script.lower().replace("inserted", "")

    with new_database() as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql(script)
        assert shape(engine) == shape(application)
        engine.dispose()


def shape(engine: Engine) -> dict[str, list[str]]:
    """Columns, constraints, indexes and types, as PostgreSQL writes them."""
    questions = {
        "columns": "select format('%s.%s.%s %s %s %s', table_schema, table_name, ordinal_position, column_name, "
        "udt_name, column_default) from information_schema.columns where table_schema !~ '^(pg_|information)'",
        "constraints": "select format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) "
        "from pg_constraint where connamespace::regnamespace::text !~ '^(pg_|information)'",
        "indexes": "select indexdef from pg_indexes where schemaname !~ '^pg_'",
        "enums": "select format('%s %s', enumtypid::regtype, enumlabel) from pg_enum",
    }
    with engine.connect() as connection:
        return {what: sorted(connection.scalars(text(question))) for what, question in questions.items()}


def test_its_job_is_planned_on_the_application_itself(project: Path, address: str, application: Engine) -> None:
    told = json.loads(nightshift(project, "plan", JOB, "--database-url", address, "--json"))

    with application.connect() as connection:
        old = connection.exec_driver_sql(
            "select count(*) from hf.job where expireat < now() - interval '90 days'"
        ).scalar()
    assert old
    [step] = told["plan"]["steps"]
    assert (step["table"], step["rows"]) == ("hf.job", old)


def test_the_projects_own_files_pass_the_checks(project: Path) -> None:
    run(project, "ruff", "check", "--quiet", *OWN)
    run(project, "ruff", "format", "--check", "--quiet", *OWN)
    run(project, "mypy", "--no-error-summary", *OWN)


def test_its_jobs_keep_what_they_promise(project: Path) -> None:
    told = run(project, "pytest", "-v", "-p", "no:cacheprovider", "-n2", "tests/own", "tests/integration/own")

    for job in (JOB, "failed-runs", *OFFERED):
        assert re.search(rf"PASSED .*test_empty_tables_give_zeros\[{job}\]", told), f"{job} is not tested"
    assert "PASSED tests/own/test_old_background_jobs.py::test_old_rows_go_and_no_others" in told


def test_it_passes_what_it_inherits_of_pages_and_their_commands(project: Path) -> None:
    beginning.write_pages(project)
    of_commands = "tests/integration/test_commands_of_the_pages.py::test_pages_show_commands_that_look_change_and_run"
    run(project, "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_docs.py", of_commands)


def test_its_jobs_do_their_work_on_aws(project: Path) -> None:
    told: dict[str, Any] = json.loads(run(project, sys.executable, "-c", ON_AWS, JOB, *OFFERED).splitlines()[-1])

    [step] = told["plan"]["plan"]["steps"]
    assert (step["table"], step["rows"]) == ("hf.job", 1)
    assert (told["run"]["outcome"], told["run"]["counters"]["deleted"]) == ("succeeded", 1)
    assert [each["outcome"] for each in told["runs"]["runs"]] == ["succeeded", "planned"]
    assert told["left"] == [2, 3]
    assert told["offered"] == dict.fromkeys(OFFERED, "succeeded")


def test_nothing_but_its_own_was_edited_on_the_way(project: Path) -> None:
    before = contents(project)
    for module in ("cli.docs", "infra.docs"):
        run(project, sys.executable, "-m", module)
    after = contents(project)

    assert {name for name in after if after[name] != before.get(name)} <= set(MADE)
    assert JOB in (project / "docs/jobs.md").read_text()
    for name, digest in Manifest.read(project).files.items():
        assert after.pop(name) == digest, f"{name} was edited"
    own = {name for name in after if name.startswith(OWN)}
    assert set(after) - own == {*MADE, "README.md", "cdk.json", "own.mk", MANIFEST}


def test_an_upgrade_replaces_what_is_nightshifts_and_leaves_an_edit(project: Path) -> None:
    manifest = Manifest.read(project)
    older = dict(manifest.files)
    for name in ("local/demo.py", "Makefile"):  # as an older version had them
        (project / name).write_text("# An older one.\n")
        older[name] = digest_of(project / name)
    (project / "local/older.py").write_text("")
    older["local/older.py"] = digest_of(project / "local/older.py")
    Manifest(manifest.version, older).write(project)
    (project / "Makefile").write_text("# An older one.\nMINE := 1\n")
    own = {name: digest for name, digest in contents(project).items() if name.startswith(OWN)}

    told = nightshift(project, "upgrade", "--from", str(ROOT))

    assert "replaced: local/demo.py" in told
    assert "removed: local/older.py" in told
    assert "edited here, left as it is: Makefile" in told
    assert "-MINE := 1" in told
    assert (project / "Makefile").read_text() == "# An older one.\nMINE := 1\n"
    assert (project / "local/demo.py").read_text() == (ROOT / "local/demo.py").read_text()
    assert Manifest.read(project) == manifest
    assert {name: digest for name, digest in contents(project).items() if name.startswith(OWN)} == own
    nightshift(project, "jobs", "--declared")
