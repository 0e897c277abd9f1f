"""What holds for every job, for the jobs of this project. A new one is covered as soon as its file exists.

Its tables come from tests/own/schema.sql or from the models, its rows from tests/own/rows.sql: see tests/own/README.md.
"""

import datetime as dt
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.conftest import NewDatabase
from tests.integration.every_job import EveryJob
from tests.integration.own.project import own_jobs
from tests.own_tables import ROWS, tables_of


@pytest.fixture(scope="module")
def own_tables(new_database: NewDatabase) -> Iterator[str]:
    """The name of a database with the project's tables, to copy from."""
    with tables_of(new_database) as engine:
        yield str(engine.url.database)


@pytest.fixture
def database(new_database: NewDatabase, own_tables: str) -> Iterator[Engine]:
    """A fresh database with the project's tables, empty, for one test."""
    with new_database(template=own_tables) as engine:
        yield engine


class TestEveryJobOfThisProject(EveryJob):
    jobs = own_jobs()
    rows = ROWS
    now = dt.datetime.now(dt.UTC).replace(second=0, microsecond=0) - dt.timedelta(minutes=1)
