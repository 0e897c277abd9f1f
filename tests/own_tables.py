"""The database of a project's own tests: tests/own/schema.sql with the rows of tests/own/rows.sql, and the ledger.

tests/own/conftest.py makes its fixtures known: `own` to the tests of single jobs.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from nightshift import Job
from nightshift.database import migrations
from nightshift.declaration import this_project
from nightshift.environment import DATABASE_VARIABLE
from nightshift.runtime import invoke
from tests.conftest import NewDatabase
from tests.integration.conftest import Context

FOLDER = Path(__file__).parent / "own"
SECONDS = 60


@dataclass(frozen=True)
class OwnTables:
    """A fresh copy of the tables, for one test."""

    engine: Engine

    def count(self, table: str, condition: str = "true") -> int:
        """How many rows of a table, as SQL writes it, meet a condition."""
        with self.engine.connect() as connection:
            found = connection.exec_driver_sql(f"select count(*) from {table} where {condition}")  # noqa: S608 - a test's own words
            return int(found.scalar_one())

    def execute(self, sql: str) -> None:
        """Change something, and commit."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql(sql)

    def run(self, job: Job, **payload: Any) -> dict[str, Any]:
        """Run a job by hand, as of now, and return its result: `own.run(job, dry_run=True)` only plans."""
        return invoke(job, payload, Context(SECONDS))


@pytest.fixture(scope="session")
def own_template(new_database: NewDatabase) -> Iterator[str]:
    """The name of the database that is copied for each test. Nothing may stay connected to it."""
    with new_database() as engine:
        for file in ("schema.sql", "rows.sql"):
            script = (FOLDER / file).read_text()
            if any(line.strip() and not line.startswith("--") for line in script.splitlines()):
                with engine.begin() as connection:
                    connection.exec_driver_sql(script)
        migrations.upgrade(engine, this_project().branches(tables=False))
        engine.dispose()
        yield str(engine.url.database)


@pytest.fixture
def own(new_database: NewDatabase, own_template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnTables]:
    with new_database(template=own_template) as engine:
        settings = {"url": engine.url.render_as_string(hide_password=False)}
        monkeypatch.setenv(DATABASE_VARIABLE, json.dumps(settings))
        yield OwnTables(engine)
