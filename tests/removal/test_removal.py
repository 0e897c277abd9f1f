"""The library stands without the example: a copy of the project, less all that is the application's own, more one pack
of two files, passes the checks and does its work on AWS.

Inside it run the linter, the type checker, and the tests of tests/unit (but long ones that know no project) with a few
of tests/integration. The others stand on the shop of tests/ground, and say the same with the example and
without.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from local.node import search_path

PROJECT = Path(__file__).parents[2]

LINKS = (".venv", "node_modules", ".build", ".mypy_cache")
"""What takes long to make, and is the same without the example. The last two are made when they are not there."""

OWN = ("layers/application", "local/example", "bench/example", "tests/*/example")
"""What goes, beside every pack."""

KNOW_NO_PROJECT = ("schedule", "time_zones", "web", "watching", "logs", "doctor", "error_words")

TESTS = (
    *("tests/unit", *(f"--ignore=tests/unit/test_{name}.py" for name in KNOW_NO_PROJECT)),
    *(f"tests/integration/test_{name}.py" for name in ("console", "control", "migrate")),
)

PACK = '''"""Delete webhook deliveries after 90 days."""

import datetime as dt

from sqlalchemy import DateTime, Index
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from nightshift import Delete, Job, days, lambda_handler


class Base(DeclarativeBase):
    """The tables of this pack."""


class WebhookDelivery(Base):
    """One call of somebody else's address."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index("webhook_deliveries_at", "created_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))


job = Job(
    name="webhook-deliveries",
    kind="retention",
    schedule="cron(0 3 * * ? *)",
    steps=(Delete(WebhookDelivery, older_than=days(90), measured_by=WebhookDelivery.created_at),),
)
handler = lambda_handler(job)
'''

ON_AWS = """
import datetime as dt, json
from rich.console import Console
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session
from functions.shop.webhook_deliveries import Base, WebhookDelivery
from local.demo import invoke_all, load_data, results_table
from local.machine import DATABASE, machine

now, quiet = dt.datetime.now(dt.UTC), Console(quiet=True)
with machine("removal") as running:
    engine = create_engine(running.postgres.url(DATABASE))
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all(WebhookDelivery(id=age, created_at=now - dt.timedelta(days=age)) for age in (91, 89))
    loaded = load_data(running, quiet, now=now)
    answers = invoke_all(running.aws, quiet, now=now)
    quiet.print(results_table(answers))
    with engine.connect() as connection:
        left = list(connection.scalars(select(WebhookDelivery.id)))
    engine.dispose()
print(json.dumps({"loaded": loaded, "answers": [[each.job, each.answer] for each in answers], "left": left}))
"""


@pytest.fixture(scope="module", autouse=True)
def on_the_ground() -> None:
    """No shop: what is tested runs in processes of its own."""


@pytest.fixture(scope="module")
def stripped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The copy, its generated pages made anew."""
    folder = tmp_path_factory.mktemp("stripped")
    listed = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in subprocess.check_output(["git", *listed], cwd=PROJECT, text=True).split("\0"):
        if (PROJECT / name).is_file() and name.partition("/")[0] not in LINKS:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    packs = (path for path in (folder / "functions").iterdir() if path.is_dir() and path.name != "platform")
    for gone in (*packs, *(path for pattern in OWN for path in folder.glob(pattern))):
        shutil.rmtree(gone)
    (folder / "functions/shop").mkdir()
    (folder / "functions/shop/__init__.py").touch()
    (folder / "functions/shop/webhook_deliveries.py").write_text(PACK)
    for name in LINKS[2:]:
        (PROJECT / name).mkdir(exist_ok=True)
    for name in LINKS:
        (folder / name).symlink_to((PROJECT / name).resolve())
    for module in ("cli.docs", "infra.docs"):
        run(folder, sys.executable, "-m", module)
    yield folder
    shutil.rmtree(folder)


def run(project: Path, *command: str) -> str:
    """Run a command in a project, which must succeed, and return what it prints."""
    done = subprocess.run(
        command, cwd=project, env=environment(project), capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{' '.join(command)[:100]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def environment(project: Path) -> Mapping[str, str]:
    """As `make` sets it, and nothing of the tests' own workers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "AWS_", "CDK_"))}
    return {**kept, "PATH": search_path(os.environ), "PYTHONPATH": str(project / "layers/nightshift/python")}


def test_nothing_of_the_application_is_left(stripped: Path) -> None:
    assert [str(path) for pattern in OWN for path in stripped.glob(pattern)] == []
    assert "webhook-deliveries" in (stripped / "docs/jobs.md").read_text()


def test_lint_and_format_pass(stripped: Path) -> None:
    run(stripped, "ruff", "check", "--quiet", ".")
    run(stripped, "ruff", "format", "--check", "--quiet", ".")


def test_types_pass(stripped: Path) -> None:
    code = re.search(r"^CODE := (.+)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert code
    run(stripped, "mypy", "--no-error-summary", *code[1].split())


def test_the_tests_of_the_library_pass(stripped: Path) -> None:
    told = run(stripped, "pytest", "-q", "-p", "no:cacheprovider", *TESTS)
    passed = re.search(r"(\d+) passed", told)
    assert passed
    assert int(passed[1]) > 500
    assert "skipped" not in told


def test_the_job_does_its_work_on_aws(stripped: Path) -> None:
    told: dict[str, Any] = json.loads(run(stripped, sys.executable, "-c", ON_AWS).splitlines()[-1])
    [(job, answer)] = told["answers"]
    assert (job, answer["outcome"], answer["counters"]["deleted"]) == ("webhook-deliveries", "succeeded", 1)
    assert (told["left"], told["loaded"]) == ([89], None)
