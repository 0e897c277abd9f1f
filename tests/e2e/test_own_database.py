"""`make local` on one's own database: a project with one pack of its own, on tables that stand there already."""

import json
import os
import pty
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import pytest
from sqlalchemy import Engine, NullPool, create_engine, text

from local.postgres import PostgresServer
from tests.versions import OF_THE_LIBRARY

PROJECT = Path(__file__).parents[2]
TABLES = PROJECT / "tests/integration/tables/schemas/queues.sql"
LEFT_OUT = shutil.ignore_patterns(
    ".*", "node_modules", "cdk.out", "docs", "tests", "bench", "application", "__pycache__"
)
UP_SECONDS = 300

JOB = '''"""Delete finished jobs after a day."""

from nightshift import Delete, Job, days, lambda_handler

job = Job(
    name="purge-finished",
    kind="retention",
    schedule="cron(* * * * ? *)",
    steps=(Delete("sq_jobs", older_than=days(1), measured_by="finished_at", zone="UTC"),),
)
handler = lambda_handler(job)
'''

LOOK = """
import boto3, json
rules = boto3.client("events").list_rules()["Rules"]
functions = boto3.client("lambda").list_functions()["Functions"]
groups = boto3.client("logs").describe_log_groups()["logGroups"]
print(json.dumps({
    "rules": {each["Name"]: each["State"] for each in rules},
    "environments": {each["FunctionName"]: each["Environment"]["Variables"] for each in functions},
    "days": {each["logGroupName"]: each.get("retentionInDays") for each in groups},
}))
"""


@dataclass(frozen=True)
class Local:
    """What `python -m local up` has printed, and the shell beside it."""

    project: Path
    said: Path
    database: Engine
    password: str

    def shell(self, command: str) -> str:
        """The answer of a command in another terminal, once the line that was printed is pasted there."""
        source = next(line for line in self.said.read_text().splitlines() if line.strip().startswith("source "))
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.project), "NO_COLOR": "1", "COLUMNS": "200"}
        environment["PYTHONPATH"] = os.pathsep.join([str(self.project), str(self.project / "layers/nightshift/python")])
        done = subprocess.run(
            ["bash", "-c", f"{source}\n{command}"],
            cwd=self.project,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def counted(self, query: str) -> Any:
        with self.database.connect() as connection:
            return connection.scalar(text(query))


@pytest.fixture(scope="module")
def own_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without the example: one pack, one job due each minute, and settings of its own."""
    project = tmp_path_factory.mktemp("own") / "project"
    shutil.copytree(PROJECT, project, ignore=LEFT_OUT, symlinks=True)
    for pack in (project / "functions").iterdir():
        if pack.is_dir() and pack.name != "platform":
            shutil.rmtree(pack)
    (project / "functions/queues").mkdir()
    (project / "functions/queues/__init__.py").touch()
    (project / "functions/queues/purge_finished.py").write_text(JOB)
    (project / "node_modules").symlink_to((PROJECT / "node_modules").resolve())
    settings = json.loads((project / "cdk.json").read_text())
    settings["context"]["nightshift"]["jobs"] = {"purge-finished": {"log_retention_days": 90}}
    (project / "cdk.json").write_text(json.dumps(settings))
    return project


@pytest.fixture(scope="module")
def local(own_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Up on a scratch database of queues, with a yes typed by a person, as a user with a password."""
    folder, password = tmp_path_factory.mktemp("server"), secrets.token_urlsafe()
    with PostgresServer(folder / "data") as server:
        owner = create_engine(server.url(), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with owner.connect() as connection:
            connection.execute(text(f"create role shop login password '{password}'"))
            connection.execute(text("create database shop owner shop"))
        database = create_engine(server.url("shop"), poolclass=NullPool)
        with database.begin() as connection:
            connection.execute(text("set role shop"))
            connection.exec_driver_sql(TABLES.read_text())
        url = f"postgresql://shop:{password}@127.0.0.1:{server.port}/shop"
        keyboard, stdin = pty.openpty()
        said = folder / "said"
        with said.open("w") as output:
            running = subprocess.Popen(
                [sys.executable, "-m", "local", "up"],
                cwd=own_project,
                stdin=stdin,
                stdout=output,
                stderr=output,
                env={
                    **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
                    "PYTHONPATH": str(own_project / "layers/nightshift/python"),
                    "NIGHTSHIFT_LOCAL_DATABASE_URL": url,
                },
            )
        os.write(keyboard, b"yes\n")
        try:
            deadline = time.monotonic() + UP_SECONDS
            while "Ctrl-C stops everything." not in said.read_text():
                assert running.poll() is None, said.read_text()
                assert time.monotonic() < deadline, said.read_text()
                time.sleep(0.2)
            yield Local(own_project, said, database, password)
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(60)
            os.close(keyboard)
            os.close(stdin)


def test_every_rule_is_off_and_nothing_has_run(local: Local) -> None:
    found = json.loads(local.shell(f"python -c '{LOOK}'"))

    names = {f"nightshift-{name}" for name in ("purge-finished", "supervisor", "dispatcher", "watch")}
    assert found["rules"] == dict.fromkeys(names, "DISABLED")
    assert local.counted("select count(*) from nightshift.runs") == 0
    # One's own settings hold.
    assert found["days"]["/aws/lambda/nightshift-purge-finished"] == 90


def test_the_job_is_planned_and_run_by_hand(local: Local) -> None:
    old = "select count(*) from sq_jobs where finished_at < now() at time zone 'UTC' - interval '1 day'"
    expected = local.counted(old)
    assert expected > 0

    plan = json.loads(local.shell("python -m cli plan purge-finished --json"))
    assert plan["plan"]["steps"][0]["rows"] == expected == local.counted(old)

    done = json.loads(local.shell("python -m cli run purge-finished --json"))
    assert (done["outcome"], done["counters"]["deleted"]) == ("succeeded", expected)
    assert local.counted(old) == 0


def test_what_it_prints_can_be_pasted(local: Local) -> None:
    said = local.said.read_text()
    psql = next(line for line in said.splitlines() if line.strip().startswith("psql "))
    assert local.shell(f"PGPASSWORD={local.password} {psql} -Atc 'select current_user'").strip() == "shop"
    assert Path(local.shell("command -v python").strip()).parent == Path(sys.executable).parent
    assert "nightshift plan purge-finished" in said
    assert f"the schema nightshift ({', '.join(OF_THE_LIBRARY)}), and nothing outside of it" in said


def test_the_page_that_it_prints_shows_the_job(local: Local) -> None:
    found = re.search(r"^Page +(http://127\.0\.0\.1:\d+/\?token=\S+)$", local.said.read_text(), re.MULTILINE)
    assert found is not None
    browser = build_opener(ProxyHandler({}), HTTPCookieProcessor())
    with browser.open(found[1], timeout=60) as answer:
        page = answer.read().decode()
    assert "Delete" in page
    assert '<a href="/jobs/purge-finished">purge-finished</a>' in page


def test_the_password_is_in_no_file_and_in_no_functions_environment(local: Local) -> None:
    told = local.shell(f"python -c '{LOOK}'") + local.shell("env") + local.said.read_text()
    assert local.password not in told
    files = [path for path in (local.project / ".local").rglob("*") if path.is_file()]
    assert any(path.name.endswith(".template.json") for path in files)
    assert [path for path in files if local.password.encode() in path.read_bytes()] == []
