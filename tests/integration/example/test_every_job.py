"""What holds for every job, for the jobs of the example. A new one is covered as soon as its file exists.

A job that finds nothing in `every_job.sql` needs rows there.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from application.models import AuditLog
from cli.planning import plan_in
from nightshift import Job
from nightshift.declaration import registry
from tests.conftest import NewDatabase
from tests.integration.every_job import EveryJob, digests as digests
from tests.integration.example.packs import PACKS

NOW = dt.datetime(2026, 3, 1, 22, tzinfo=dt.UTC)
ROWS = Path(__file__).with_name("every_job.sql")


@pytest.fixture(scope="module")
def rows_for_every_job(new_database: NewDatabase, migrated: str) -> Iterator[str]:
    """The name of a database with rows for every job, to copy from."""
    with new_database(template=migrated) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql(ROWS.read_text())
            connection.execute(text("analyze"))
        yield str(engine.url.database)


@pytest.fixture
def database(request: pytest.FixtureRequest, new_database: NewDatabase, migrated: str) -> Iterator[Engine]:
    """The test's database: empty, or with rows for every job where it asks for `populated`."""
    full = "populated" in request.fixturenames
    with new_database(template=request.getfixturevalue("rows_for_every_job") if full else migrated) as engine:
        yield engine


class TestEveryJobOfTheExample(EveryJob):
    jobs = sorted(name for name, each in registry().items() if each.pack in PACKS)
    rows = ROWS
    now = NOW
    demands_rows = True

    @pytest.fixture
    def populated(self, database: Engine) -> Engine:
        """The test's database, which is filled once and copied for each test."""
        return database

    def also(self, job: Job, counters: Mapping[str, Any], session: Session) -> None:
        own = select(func.count()).select_from(AuditLog).where(AuditLog.action == f"job.{job.name}")
        assert session.scalar(own) == (1 if job.audited and job.changed(counters) else 0)


def test_every_job_can_be_planned_without_its_deployment(database: Engine) -> None:
    address = database.url.render_as_string(hide_password=False)
    found = [plan_in(address, each.job, NOW, {}) for each in registry().values()]

    assert [error for each in found for error in each["errors"]] == []
    assert {each["outcome"] for each in found} == {"planned"}
