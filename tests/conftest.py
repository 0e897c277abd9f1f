"""A real PostgreSQL for the tests that ask for one: started once a session, a fresh migrated database for each test."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from local.postgres import PostgresServer
from nightshift.database import migrations
from nightshift.declaration import this_project

NewDatabase = Callable[..., AbstractContextManager[Engine]]

ON_EMPTY_TABLES = "tested on empty tables only"
"""The property of a test whose job found no row to work on. Its value is the job's name."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server. Its `url(database)` and `tcp_url(database)` say where a database is."""
    with (
        tempfile.TemporaryDirectory(prefix="nightshift-tests-", dir=_fast_folder()) as folder,
        PostgresServer(Path(folder, "data")) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def new_database(postgres: PostgresServer) -> Iterator[NewDatabase]:
    """Make databases: `with new_database(template=…) as engine`. Without a template the database is empty."""
    administration = create_engine(postgres.url(), isolation_level="AUTOCOMMIT").connect()
    numbers = itertools.count(1)
    finished: list[str] = []

    @contextmanager
    def make(*, template: str = "template0") -> Iterator[Engine]:
        # Dropped when the next one is made: by then the last backend is gone, for which PostgreSQL would wait 0.1 s.
        while finished:
            administration.execute(text(f"drop database {finished.pop()} with (force)"))
        name = f"test_{next(numbers)}"
        administration.execute(text(f"create database {name} template {template} strategy file_copy"))
        # Without ssl_context=False each connection reads the machine's certificates, 20 ms, to talk through a socket.
        engine = create_engine(postgres.url(name), poolclass=NullPool, connect_args={"ssl_context": False})
        try:
            yield engine
        finally:
            finished.append(name)

    yield make
    administration.close()
    administration.engine.dispose()


@pytest.fixture(scope="session")
def migrated(new_database: NewDatabase) -> Iterator[str]:
    """The name of a database with every migration applied, to copy from. Nothing may stay connected to it."""
    with new_database() as engine:
        migrations.upgrade(engine, this_project().branches(tables=True))
        yield str(engine.url.database)


@pytest.fixture
def database(new_database: NewDatabase, migrated: str) -> Iterator[Engine]:
    """A fresh database with every table, empty, for one test. Its address is `database.url`."""
    with new_database(template=migrated) as engine:
        yield engine


@pytest.fixture
def empty_database(new_database: NewDatabase) -> Iterator[Engine]:
    """A fresh database with nothing in it, for one test."""
    with new_database() as engine:
        yield engine


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the jobs whose tests found no row to work on: they are promised less than they seem to be."""
    reports = chain.from_iterable(terminalreporter.stats.values())
    properties = chain.from_iterable(getattr(report, "user_properties", ()) for report in reports)
    if names := sorted({str(value) for name, value in properties if name == ON_EMPTY_TABLES}):
        terminalreporter.write_line(f"{ON_EMPTY_TABLES}: {', '.join(names)} (rows for them: tests/own/rows.sql)")


def _fast_folder() -> str | None:
    """The memory file system where it is large enough: a database has 300 files, and each test copies them."""
    memory = "/dev/shm"
    return memory if os.path.isdir(memory) and shutil.disk_usage(memory).free > 2 * 2**30 else None
