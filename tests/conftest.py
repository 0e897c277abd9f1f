"""The project that tests stand on, and a real PostgreSQL for those that ask for one.

Tests of the library stand on the shop of tests/ground. Those in a folder `example` stand on the project as it is.
"""

import gc
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
from botocore.loaders import create_loader
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from local.postgres import PostgresServer
from nightshift.database import migrations
from tests.ground.application.project import project
from tests.ground.world import shop_alone

NewDatabase = Callable[..., AbstractContextManager[Engine]]

ON_EMPTY_TABLES = "tested on empty tables only"
"""The property of a test whose job found no row to work on. Its value is the job's name."""

TRIED = "tried"
"""The property of a test that looks for faults by chance. Its value says what it has tried."""

# Roles belong to the server. Those that a test has made for its database must not be there for the next of its name.
FORGOTTEN_ROLES = text(
    "select quote_ident(rolname) from pg_roles where rolname !~ '^pg_' and rolname <> current_user"
    " and not exists (select from pg_shdepend where refclassid = 'pg_authid'::regclass and refobjid = pg_roles.oid)"
)


FEWER_COLLECTIONS = (50_000, 20, 50)
"""Python's own thresholds have the garbage collector look through all that the tests have imported again and again."""


def pytest_configure() -> None:
    gc.set_threshold(*FEWER_COLLECTIONS)


def pytest_collection_finish() -> None:
    """What is there before the first test stays until the last: it is not looked through any more."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def service_models() -> Iterator[None]:
    """What boto3 reads of each service, read once: many a test begins with a session of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", cache(create_loader))
        yield


@pytest.fixture(scope="module", autouse=True)
def on_the_ground() -> Iterator[None]:
    """The shop is the project."""
    with shop_alone():
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server. Its `url(database)` and `tcp_url(database)` say where a database is."""
    with (
        tempfile.TemporaryDirectory(prefix="nightshift-tests-", dir=_fast_folder()) as folder,
        # Nobody else gives a table another size, or locks it, while a test looks at it.
        PostgresServer(Path(folder, "data"), settings={"autovacuum_naptime": "1d"}) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def new_database(postgres: PostgresServer) -> Iterator[NewDatabase]:
    """Make databases: `with new_database(template=…) as engine`. Without a template the database is empty.

    One that is finished leaves its name, and so its engine, to the next. Whatever statements were compiled for it need
    not be compiled again, and that is half of what a test of a job takes.
    """
    administration = create_engine(postgres.url(), isolation_level="AUTOCOMMIT").connect()
    connected = text("select exists (select from pg_stat_activity where datname = :name)")
    free: list[Engine] = []
    names = itertools.count(1)

    def made() -> Engine:
        # Without ssl_context=False each connection reads the machine's certificates, 20 ms, to talk through a socket.
        url = postgres.url(f"test_{next(names)}")
        return create_engine(url, poolclass=NullPool, connect_args={"ssl_context": False})

    @contextmanager
    def make(*, template: str = "template0") -> Iterator[Engine]:
        engine = free.pop() if free else made()
        name = engine.url.database
        administration.execute(text(f"create database {name} template {template} strategy file_copy"))
        try:
            yield engine
        finally:
            # PostgreSQL itself would look for a backend that is just ending only every 0.1 s.
            deadline = time.monotonic() + 1
            while administration.scalar(connected, {"name": name}) and time.monotonic() < deadline:
                time.sleep(0.001)
            administration.execute(text(f"drop database {name} with (force)"))
            for role in administration.scalars(FORGOTTEN_ROLES).all():
                administration.execute(text(f"drop role {role}"))
            free.append(engine)

    yield make
    administration.close()
    administration.engine.dispose()


@pytest.fixture(scope="session")
def migrated(new_database: NewDatabase) -> Iterator[str]:
    """The name of a database with every migration applied, to copy from. Nothing may stay connected to it."""
    with new_database() as engine:
        migrations.upgrade(engine, project.branches(tables=True))
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
    """Say what was tried by chance; and name the jobs whose tests found no row to work on: they are promised less than
    they seem to be."""
    reports = chain.from_iterable(terminalreporter.stats.values())
    properties = list(chain.from_iterable(getattr(report, "user_properties", ()) for report in reports))
    for said in dict.fromkeys(value for name, value in properties if name == TRIED):
        terminalreporter.write_line(f"\n{said}")
    if names := sorted({str(value) for name, value in properties if name == ON_EMPTY_TABLES}):
        terminalreporter.write_line(f"{ON_EMPTY_TABLES}: {', '.join(names)} (rows for them: tests/own/rows.sql)")


def _fast_folder() -> str | None:
    """The memory file system where it is large enough: a database has 300 files, and each test copies them."""
    memory = "/dev/shm"
    return memory if os.path.isdir(memory) and shutil.disk_usage(memory).free > 2 * 2**30 else None
