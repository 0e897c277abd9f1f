"""The tables of a project, for its own tests: the ledger's, and those of tests/own/schema.sql or of its models.

tests/own/conftest.py makes the fixture `own` known to the tests of single jobs: the tables with the rows of
tests/own/rows.sql. The tests of every job, tests/integration/own, stand on the same tables.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
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

OWN = Path(__file__).parent / "own"
SCHEMA = OWN / "schema.sql"
INDEXES = OWN / "indexes.sql"
ROWS = OWN / "rows.sql"
SECONDS = 60

DUMP = "pg_dump --schema-only --no-owner --no-privileges --exclude-schema=nightshift"

_FOR_PSQL = re.compile(r"^\\(un)?restrict .*$", re.MULTILINE)
"""Lines of pg_dump that only psql understands."""

WHAT_TO_WRITE = f"""The jobs of this project cannot be tested: nothing says what its tables are. Write one of two:
- tests/own/schema.sql, the tables as SQL: {DUMP} > tests/own/schema.sql
- layers/application/python/application/models/base.py, with the `Base` of the project's SQLAlchemy models.
Rows for the jobs to work on go into tests/own/rows.sql."""


class NoTablesError(Exception):
    """Nothing says what the project's tables are. The message says what to write."""


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


def make_tables(engine: Engine) -> None:
    """The library's tables, and the project's: of its migrations, and of schema.sql or else its models.

    Raises:
        NoTablesError: it has none of them.
    """
    migrations.upgrade(engine, this_project().branches(tables=True))
    if SCHEMA.is_file():
        with engine.begin() as connection:
            connection.exec_driver_sql(_FOR_PSQL.sub("", SCHEMA.read_text()))
    elif is_there("application.models.base"):
        models = import_module("application.models")
        for module in iter_modules(models.__path__):
            import_module(f"application.models.{module.name}")
        import_module("application.models.base").Base.metadata.create_all(engine)  # but those of the migrations
    else:
        raise NoTablesError(WHAT_TO_WRITE)
    if INDEXES.is_file():
        with engine.begin() as connection:
            connection.exec_driver_sql(INDEXES.read_text())
    engine.dispose()


@contextmanager
def tables_of(new_database: NewDatabase) -> Iterator[Engine]:
    """A database with the tables, to copy from. Nothing may stay connected to it. Without tables the test fails."""
    with new_database() as engine:
        try:
            make_tables(engine)
        except NoTablesError as error:
            pytest.fail(str(error), pytrace=False)
        yield engine


def is_there(module: str) -> bool:
    """Whether a module can be imported, which is found out without doing so."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


@pytest.fixture(scope="session")
def own_template(new_database: NewDatabase) -> Iterator[str]:
    """The name of the database that is copied for each test."""
    with tables_of(new_database) as engine:
        if ROWS.is_file():
            with engine.begin() as connection:
                connection.exec_driver_sql(ROWS.read_text())
            engine.dispose()
        yield str(engine.url.database)


@pytest.fixture
def own(new_database: NewDatabase, own_template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnTables]:
    with new_database(template=own_template) as engine:
        settings = {"url": engine.url.render_as_string(hide_password=False)}
        monkeypatch.setenv(DATABASE_VARIABLE, json.dumps(settings))
        yield OwnTables(engine)
