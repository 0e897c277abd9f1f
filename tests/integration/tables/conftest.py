"""Databases with tables that are not ours, each filled once a session and copied for every test."""

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from nightshift import Delete, Job, days
from nightshift.database import migrations
from nightshift.declaration import this_project
from nightshift.environment import DATABASE_VARIABLE
from nightshift.outbox import mail, notice_kinds
from nightshift.runtime import invoke
from tests.conftest import NewDatabase
from tests.integration.conftest import Context

SCHEMAS = Path(__file__).parent / "schemas"
NOW = "2026-03-01T02:00:00Z"

Filled = Callable[[str], Engine]


@pytest.fixture(scope="session")
def templates(new_database: NewDatabase) -> Iterator[Callable[[str], str]]:
    """The name of a database with one of the schemas, to copy from. Made when it is first asked for."""
    made: dict[str, str] = {}
    with ExitStack() as stack:

        def template(schema: str) -> str:
            if schema not in made:
                engine = stack.enter_context(new_database())
                script = (SCHEMAS / f"{schema}.sql").read_text()
                with engine.begin() as connection:
                    for extension in [line.split()[-1] for line in script.splitlines() if line.startswith("-- ext:")]:
                        connection.exec_driver_sql(f"create extension {extension}")
                    connection.exec_driver_sql(script)
                    connection.exec_driver_sql("analyze")
                migrations.upgrade(engine)
                engine.dispose()
                made[schema] = str(engine.url.database)
            return made[schema]

        yield template


@pytest.fixture(scope="session")
def library_only(new_database: NewDatabase) -> Iterator[str]:
    """The name of a database with the library's own tables and no other, to copy from."""
    with new_database() as engine:
        migrations.upgrade(engine)
        engine.dispose()
        yield str(engine.url.database)


@pytest.fixture
def filled(new_database: NewDatabase, templates: Callable[[str], str]) -> Iterator[Filled]:
    """A fresh copy of a schema's database: `filled("queues")`."""
    with ExitStack() as stack:
        yield lambda schema: stack.enter_context(new_database(template=templates(schema)))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """layers/application as it is in a project of one's own: without the example, and empty at first."""
    package = tmp_path / "own" / "application"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in _of_the_application():
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(package.parent))
    importlib.invalidate_caches()
    for known in (this_project, notice_kinds, mail.templates):
        known.cache_clear()
    yield package
    for name in _of_the_application():
        del sys.modules[name]
    for known in (this_project, notice_kinds, mail.templates):
        known.cache_clear()


def _of_the_application() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "application"]


Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Invoke a job on a database: `call(engine, job, dry_run=True)`, as of 1 March 2026, however often."""

    def run(engine: Engine, job: Job, *, seconds: float = 60, run_id: str | None = None, **more: Any) -> dict[str, Any]:
        monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": engine.url.render_as_string(hide_password=False)}))
        payload = {"run_id": run_id} if run_id else {"scheduled_for": NOW, "force": True, **more}
        return invoke(job, payload, Context(seconds))

    return run


def digest(engine: Engine) -> dict[str, tuple[int, str]]:
    """How many rows each table has, and a digest of them all."""
    with engine.connect() as connection:
        names = connection.scalars(
            text(
                "select format('%I.%I', nspname, relname) from pg_class join pg_namespace n on n.oid = relnamespace "
                "where relkind in ('r', 'p') and nspname !~ '^pg_' "
                "and not exists (select from pg_inherits where inhrelid = pg_class.oid) "
                "and nspname not in ('information_schema', 'nightshift') order by 1"
            )
        ).all()
        found = {}
        for name in names:
            rows = list(connection.exec_driver_sql(f"select cast(t as text) from {name} t order by 1").scalars())
            found[name] = (len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest())
        return found


@pytest.fixture
def made(new_database: NewDatabase, library_only: str) -> Any:
    """A fresh database with the ledger: `made("create table …")`."""
    with new_database(template=library_only) as engine:

        def make(script: str) -> Engine:
            with engine.begin() as connection:
                connection.exec_driver_sql(script)
            return engine

        yield make


def deletion(table: Any = "parents", **more: Any) -> Job:
    options: dict[str, Any] = {"older_than": days(30), "measured_by": "at"} | more
    step = Delete(table, **options)
    return Job(name="forget", kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)


def rows(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(f"select count(*) from {table}")) or 0)
