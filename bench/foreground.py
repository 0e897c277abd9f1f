"""What an application notices: short transactions beside our deletion, beside a naive batched DELETE, and one DELETE.

The load is open: transactions come at a fixed rate, whether the ones before have ended or not, and a late one counts
from when it was due (`pgbench --rate`). All figures are of one server in one run, each beside an idle time of its own.
"""

import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, text

from bench.invocation import Context, as_setting
from bench.paired import database, line
from bench.retention import event, make, outside
from bench.shapes import CUTOFF, Shape, few_of_many
from local.postgres import binaries
from nightshift import Job, telemetry

ROWS = int(os.environ.get("NIGHTSHIFT_BENCH_ROWS", 8_000_000))
SECONDS = 15
"""How long a turn is, and the idle time before it."""
ROUNDS, NAIVE_ROUNDS = 3, 2
RATE, CLIENTS = 200, 4
NAIVE_ROWS = 10_000
NAIVE_MOST = ROWS // 16
"""What it deletes in a turn at most: something is left for the one DELETE."""

TRANSACTION = """
\\set id random(1, 100000)
begin;
update accounts set balance = balance + 1 where id = :id;
select balance from accounts where id = :id;
insert into visits (page, created_at) values ('/foreground', now());
end;
"""

ACCOUNTS = (
    "create table accounts (id bigint primary key, balance bigint not null) with (fillfactor = 80)",
    "insert into accounts select i, 0 from generate_series(1, 100000) i",
)


class InTime(Context):
    """An invocation that ends by itself."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - time.monotonic()) * 1000)


class Load:
    """The application: in a process of its own."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        script = folder / "transaction.sql"
        script.write_text(TRANSACTION)
        socket = Path(str(engine.url.query["unix_sock"]))
        self._folder, self._number = folder, 0
        where = ["-h", str(socket.parent), "-p", socket.name.rpartition(".")[2], "-U", "postgres", "-n", "-f", script]
        self._command = [binaries() / "pgbench", *where, "-c", str(CLIENTS), "-R", str(RATE), "-l"]
        self._database = str(engine.url.database)

    def beside(self, work: Callable[[], object], rounds: int) -> "Latencies":
        """Its transactions while something else is done by turns, and while it is left alone."""
        self._number += 1
        prefix = self._folder / f"log{self._number}"
        command = [*self._command, "-T", "600", "--log-prefix", prefix, self._database]
        turns: list[tuple[float, float]] = []
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as load:
            time.sleep(1)
            begun = time.time()
            for _ in range(rounds):
                time.sleep(SECONDS)
                started = time.time()
                work()
                turns.append((started, time.time()))
            time.sleep(SECONDS)
            load.terminate()
        busy, idle = [], []
        for log in self._folder.glob(f"{prefix.name}*"):
            for each in log.read_text().splitlines():
                fields = each.split()
                if len(fields) < 6 or fields[2] == "skipped":
                    continue
                ended, milliseconds = float(fields[4]) + float(fields[5]) / 1e6, float(fields[2]) / 1000
                if any(start <= ended <= end for start, end in turns):
                    busy.append(milliseconds)
                elif ended > begun and not any(end < ended < end + 1 for _, end in turns):
                    idle.append(milliseconds)  # not what still waits for the turn before
        return Latencies(tuple(sorted(busy)), tuple(sorted(idle)))


@dataclass(frozen=True)
class Latencies:
    """In milliseconds, sorted."""

    busy: tuple[float, ...]
    idle: tuple[float, ...]

    def __str__(self) -> str:
        busy, idle = (each[int(len(each) * 0.99)] for each in (self.busy, self.idle))
        return f"{busy / idle:.2f} ({busy:.1f} ms, {idle:.1f} ms)"


class Paced(logging.Handler):
    """Reads from the job's log what looking and waiting have taken."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, Any] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "run.paced":
            self.fields = record.__dict__

    def __enter__(self) -> Self:
        logging.getLogger(telemetry.SERVICE).addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger(telemetry.SERVICE).removeHandler(self)


def shape() -> Shape:
    """The long table of the retention bench with half of it expired, and accounts beside it."""
    few = few_of_many(ROWS, in_order=True)
    half = [part.replace(f"(i - {ROWS // 1000})", f"(i - {ROWS // 2})") for part in few.makes]
    return replace(few, makes=(*ACCOUNTS, *half), expired=ROWS // 2)


def expired(engine: Engine) -> int:
    with engine.connect() as connection:
        counted = connection.execute(text("select count(*) from visits where created_at < :cutoff"), {"cutoff": CUTOFF})
        return int(counted.scalar_one())


class Ours:
    """One run, an invocation a turn."""

    def __init__(self, engine: Engine, job: Job) -> None:
        self._job, self._asked = job, event()
        self.looks, self.look_seconds, self.seconds = 0, 0.0, 0.0
        os.environ["NIGHTSHIFT_DATABASE"] = as_setting(engine)

    def __call__(self) -> None:
        from nightshift.runtime import invoke

        started = time.monotonic()
        with redirect_stdout(StringIO()), Paced() as paced:
            self._asked = {"run_id": invoke(self._job, self._asked, InTime(SECONDS + 1))["run_id"]}
        self.seconds += time.monotonic() - started
        self.looks += paced.fields.get("looks", 0)
        self.look_seconds += paced.fields.get("look_ms", 0) / 1000


def naive(engine: Engine) -> None:
    """The loop that everybody writes first."""
    batch = text(
        f"delete from visits where id in (select id from visits where created_at < :cutoff limit {NAIVE_ROWS})"  # noqa: S608
    )
    until, deleted = time.monotonic() + SECONDS, 0
    with engine.connect() as connection:
        while time.monotonic() < until and deleted < NAIVE_MOST:
            deleted += connection.execute(batch, {"cutoff": CUTOFF}).rowcount
            connection.commit()


def one_delete(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("delete from visits where created_at < :cutoff"), {"cutoff": CUTOFF})


def main() -> None:
    """Print the figures."""
    print(f"A load of {RATE} short transactions a second beside deletions ({ROWS:,} rows, half expired), p99")
    its = shape()
    with database() as administration, tempfile.TemporaryDirectory(prefix="nightshift-load-") as folder:
        with outside(administration) as connection:
            connection.execute(text("create database empty template postgres"))
        engine = make(administration, "work", its)
        load, left = Load(engine, Path(folder)), [expired(engine)]
        run = Ours(engine, its.job)
        for what, work, rounds, aim in (
            ("ours at the default pace", run, ROUNDS, "aim: at most 1.1"),
            ("a naive batched DELETE", lambda: naive(engine), NAIVE_ROUNDS, ""),
            ("one DELETE", lambda: one_delete(engine), 1, ""),
        ):
            with outside(engine) as connection:
                connection.execute(text("checkpoint"))  # what was written before is nobody's work here
            os.sync()
            latencies = load.beside(work, rounds)
            left.append(expired(engine))
            line(f"beside {what} / idle", latencies, aim)
            line("    rows deleted", f"{left[-2] - left[-1]:,}")
        share = f"{run.look_seconds / run.seconds:.1%} in {run.looks} looks"
        line("    cost of the looks, of the time of ours", share, "aim: at most 3 %")
