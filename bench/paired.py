"""Timing two ways of doing the same thing in turn, so that a machine that slows down slows both."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from local.postgres import PostgresServer
from nightshift.database import migrations

ROOT = Path(__file__).parents[1]

SETTINGS = {
    # As durable as a server in production: without this the one big transaction would skip the very work it saves up.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Both ways read from memory, and nothing else works at the same time.
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "autovacuum": "off",
}


@dataclass(frozen=True)
class Ratios:
    """The quotients of paired runs, ours over the reference's; the median is the one to quote."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        return f"{statistics.median(self.values):.2f} (from {min(self.values):.2f} to {max(self.values):.2f})"


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def paired(ours: Callable[[], float], reference: Callable[[], float], *, pairs: int) -> tuple[Ratios, float, float]:
    """Run both in turn, each returning its own seconds. Gives the ratios and both medians in seconds."""
    measured = []
    for number in range(pairs):
        # Every other pair the other way round, so that neither always finds the warmer cache.
        first, second = (ours, reference) if number % 2 == 0 else (reference, ours)
        times = {first: first(), second: second()}
        measured.append((times[ours], times[reference]))
    ratios = Ratios(tuple(mine / other for mine, other in measured))
    return ratios, statistics.median(m for m, _ in measured), statistics.median(r for _, r in measured)


def line(what: str, figure: object, aim: str = "") -> None:
    """One figure of the report."""
    print(f"  {what:<72} {figure!s:<32} {aim}", flush=True)


@contextmanager
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of the benchmark's own."""
    with (
        tempfile.TemporaryDirectory(prefix="nightshift-bench-") as folder,
        PostgresServer(Path(folder, "data"), settings=SETTINGS) as postgres,
    ):
        yield postgres


@contextmanager
def database(branches: Sequence[Path] = ()) -> Iterator[Engine]:
    """A migrated, empty database, with what these branches of migrations make."""
    with server() as postgres:
        # Without TLS over its socket, as the jobs connect: pg8000 would read the machine's certificates each time.
        engine = create_engine(postgres.url(), poolclass=NullPool, connect_args={"ssl_context": False})
        migrations.upgrade(engine, branches)
        yield engine
        engine.dispose()


def python(code: str, *, path: str | None = None, options: tuple[str, ...] = (), **environment: str) -> str:
    """Run Python code in a process of its own and return what it prints."""
    search = (
        path
        if path is not None
        else os.pathsep.join(
            (str(ROOT), *(str(ROOT / f"layers/{name}/python") for name in ("nightshift", "application")))
        )
    )
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        env=os.environ | {"PYTHONPATH": search} | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout
