"""A process that has everything ready that tests need, and forks one child for each run of some of them.

Most of what a few tests take goes to packages that no break touches, and to a server with its migrations. Here that is
done once. The process is started in the copy of the project that gets the breaks, and imports nothing of the project
that a break may stand in: each child does that anew.
"""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.pool import NullPool

from local.postgres import PostgresServer

PACKAGES = (
    "alembic.command", "aws_lambda_powertools", "boto3", "cryptography", "dateutil.relativedelta", "jinja2", "moto",
    "moto.kms", "moto.rds", "moto.s3", "moto.sesv2", "moto.sns", "moto.sqs", "pg8000", "psutil",
    "sqlalchemy.dialects.postgresql.pg8000", "sqlalchemy.orm", "typer",
)  # fmt: skip
SECONDS_TO_STOP = 20
MEMORY = "/dev/shm"
SHOP, EXAMPLE = "ready_shop", "ready_example"
LEFT = text("select datname from pg_database where datname like 'test\\_%'")


class Nursery:
    """Such a process. One thread at a time may ask it."""

    def __init__(self, folder: Path) -> None:
        paths = [f"{folder}/{part}" for part in ("", "layers/nightshift/python", "layers/application/python")]
        # Byte code is told by size and second, and a break may change neither.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "tests.faults.nursery"]
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def red(self, tests: Sequence[str], seconds: float) -> tuple[bool | None, str]:
        """Whether a test fails, or they do not end within so many seconds, and what pytest says.

        None: they could not be run at all.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([list(tests), seconds]) + "\n")
        self._process.stdin.flush()
        code, said = json.loads(self._process.stdout.readline())
        return (True if code is None else {0: False, 1: True}.get(code)), said

    def close(self) -> None:
        self._process.communicate()


class Ready:
    """The server and its migrated databases, in place of those that the fixtures would make."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Any:
        migrated = EXAMPLE if "example" in fixturedef.baseid else SHOP
        found = {"postgres": self._server, "migrated": migrated}.get(fixturedef.argname)
        if found is not None:
            fixturedef.cached_result = (found, fixturedef.cache_key(request), None)
        return found


def _migrate(url: URL, project: str) -> None:
    """In a child, because it imports the library."""
    from nightshift.database import migrations

    branches = importlib.import_module(project).project.branches(tables=True)
    migrations.upgrade(create_engine(url, poolclass=NullPool), branches)


def _child(work: Callable[[], int | None], seconds: float, output: Path) -> int | None:
    """The exit code of some work in a process of its own. None: it did not end."""
    child = os.fork()
    if child == 0:
        code: int | None = 3
        try:
            heard = os.open(output, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            for descriptor in (0, 1, 2):
                os.dup2(heard, descriptor)
            code = work()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code or 0)
    for patience, next_signal in ((seconds, signal.SIGINT), (SECONDS_TO_STOP, signal.SIGKILL), (SECONDS_TO_STOP, 0)):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status) if next_signal == signal.SIGINT else None
            time.sleep(0.02)
        os.kill(child, next_signal)
    raise TimeoutError("the tests cannot be stopped")


def _make_ready(server: PostgresServer, administration: Connection, output: Path) -> None:
    for name, project in ((SHOP, "tests.ground.application.project"), (EXAMPLE, "application.project")):
        administration.execute(text(f"create database {name} template template0"))
        _child(partial(_migrate, server.url(name), project), 120, output)


def main() -> None:
    for name in PACKAGES:
        importlib.import_module(name)
    place = MEMORY if os.path.isdir(MEMORY) and shutil.disk_usage(MEMORY).free > 2 * 2**30 else None
    with (
        tempfile.TemporaryDirectory(prefix="nightshift-nursery-", dir=place) as folder,
        PostgresServer(Path(folder, "data")) as server,
    ):
        output, engine = Path(folder, "output"), create_engine(server.url(), poolclass=NullPool)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as administration:
            _make_ready(server, administration, output)
        for line in sys.stdin:
            tests, seconds = json.loads(line)
            asked = ["-q", "-x", "--tb=line", "-p", "no:cacheprovider", *tests]
            code = _child(partial(pytest.main, asked, [Ready(server)]), seconds, output)
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as administration:
                for name in administration.scalars(LEFT).all():
                    administration.execute(text(f"drop database {name} with (force)"))
            sys.stdout.write(json.dumps([code, output.read_text(errors="replace")[-20_000:]]) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
