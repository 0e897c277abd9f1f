"""Retention: the whole invocation of a job against one DELETE written by hand, on the same rows of the same server."""

import datetime as dt
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from bench import logins, shapes
from bench.invocation import Invocation, in_own_process, invoked
from bench.paired import Ratios, database, line
from bench.shapes import CUTOFF, NOW, Shape

PAIRS = 5
LONGEST = "aim: at most 250 ms"
MODULE = logins.__name__

WORK = "work"
"""The database that a measurement spends."""


def event(now: dt.datetime = NOW) -> dict[str, object]:
    return {"scheduled_for": now.isoformat(), "force": True, "parameters": {"max_share": 100}}


@contextmanager
def outside(engine: Engine) -> Iterator[Connection]:
    """A connection for statements that no transaction may hold."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def to_database(engine: Engine, name: str) -> Engine:
    return create_engine(
        engine.url.set(database=name), poolclass=NullPool, connect_args={"ssl_context": False}, hide_parameters=True
    )


def make(engine: Engine, name: str, shape: Shape) -> Engine:
    """A database with the ledger and the shape's tables."""
    with outside(engine) as connection:
        connection.execute(text(f"drop database if exists {name} with (force)"))
        connection.execute(text(f"create database {name} template empty strategy file_copy"))
    made = to_database(engine, name)
    with made.begin() as connection:
        for statement in shape.makes:
            connection.execute(text(statement), {"cutoff": CUTOFF} if ":cutoff" in statement else {})
    with outside(made) as connection:
        connection.execute(text("vacuum analyze"))
    return made


def made_again(engine: Engine, kept: str, shape: Shape) -> Engine:
    """A copy of a database that was kept, in memory. Its files are the same, so every measurement begins alike."""
    with outside(engine) as connection:
        connection.execute(text(f"drop database if exists {WORK} with (force)"))
        connection.execute(text(f"create database {WORK} template {kept} strategy file_copy"))
    made = to_database(engine, WORK)
    with outside(made) as connection:
        warm(connection, shape)
        connection.execute(text("checkpoint"))
    return made


def warm(connection: Connection, shape: Shape) -> None:
    connection.execute(
        text(
            """
            select sum(pg_prewarm(oid))
              from (select cast(cast(name as regclass) as oid) from unnest(cast(:names as text[])) name
                    union all
                    select indexrelid from pg_index where indrelid = any (cast(:names as regclass[]))) each (oid)
            """
        ),
        {"names": list(shape.tables)},
    )


def by_hand(engine: Engine, shape: Shape, cutoff: dt.datetime = CUTOFF) -> float:
    """One statement in one transaction, the way everybody writes it."""
    with engine.connect() as connection:
        connection.execute(text("select 1"))  # connect before the clock starts: a job's connection is our own cost
        connection.rollback()
        started = time.perf_counter()
        deleted = connection.execute(text(shape.by_hand), {"cutoff": cutoff}).rowcount
        connection.commit()
        took = time.perf_counter() - started
    assert deleted == shape.expired, deleted
    return took


def ours(engine: Engine, shape: Shape, now: dt.datetime = NOW) -> Invocation:
    run = invoked(engine, shape.job, event(now))
    assert run.counters["deleted"] == shape.expired, run.counters
    return run


class Pairs:
    """Both ways in turn, and the lines about them."""

    def __init__(self) -> None:
        self.runs: list[Invocation] = []
        self.hand: list[float] = []

    def turns(self) -> Iterator[bool]:
        """Whose turn it is: every other pair the other way round, so that neither always finds the warmer cache."""
        for number in range(PAIRS):
            yield from (True, False) if number % 2 == 0 else (False, True)

    def told(self, what: str, aim: str, *, rate: bool = False) -> None:
        whole = [run.seconds for run in self.runs]
        deleting = [sum(run.batches_ms) / 1000 for run in self.runs]
        if rate:
            line(f"{what}: rate of the invocation / by hand", _quotients(self.hand, whole), aim)
            line("    rate of its deleting transactions alone / by hand", _quotients(self.hand, deleting))
        else:
            line(f"{what}: time of the invocation / by hand", _quotients(whole, self.hand), aim)
            line("    time of its deleting transactions alone / by hand", _quotients(deleting, self.hand))
        longest = max(milliseconds for run in self.runs for milliseconds in run.batches_ms)
        line("    longest transaction of ours", f"{longest} ms", LONGEST)
        batches = round(median(len(run.batches_ms) for run in self.runs))
        medians = f"{median(whole) * 1000:.0f} ms in {batches} batches, {median(self.hand) * 1000:.0f} ms"
        line("    medians, ours and by hand", medians)


def measure(engine: Engine, shape: Shape, aim: str, *, rate: bool = False) -> None:
    """Each measurement on its own copy of the same database."""
    make(engine, "kept", shape).dispose()
    pairs = Pairs()
    for our_turn in pairs.turns():
        work = made_again(engine, "kept", shape)
        if our_turn:
            pairs.runs.append(ours(work, shape))
        else:
            pairs.hand.append(by_hand(work, shape))
    pairs.told(shape.what, aim, rate=rate)


def measure_few_of_many(engine: Engine, shape: Shape, aim: str) -> None:
    """One database, too large to be copied: the clock goes on, and every time the next rows have expired."""
    work = make(engine, WORK, shape)
    pairs = Pairs()
    for number, our_turn in enumerate(pairs.turns()):
        later = dt.timedelta(milliseconds=number * shape.expired)
        with outside(work) as connection:
            connection.execute(text("vacuum (index_cleanup on) visits"))
            warm(connection, shape)
            connection.execute(text("checkpoint"))
        if our_turn:
            pairs.runs.append(ours(work, shape, NOW + later))
        else:
            pairs.hand.append(by_hand(work, shape, CUTOFF + later))
    pairs.told(shape.what, aim)


def _quotients(above: list[float], below: list[float]) -> Ratios:
    return Ratios(tuple(one / other for one, other in zip(above, below, strict=True)))


def main() -> None:
    """Print the figures."""
    print(f"Retention against one hand-written DELETE (whole invocation, median of {PAIRS} pairs)")
    with database() as engine:
        with outside(engine) as connection:
            connection.execute(text("create extension pg_prewarm"))
            connection.execute(text("create database empty template postgres"))
        for in_order in (True, False):
            measure(engine, shapes.half_of_a_million(in_order=in_order), "aim: at least 0.85", rate=True)
        for in_order in (True, False):
            measure_few_of_many(engine, shapes.few_of_many(10_000_000, in_order=in_order), "aim: at most 1.3")
        measure(engine, shapes.three_levels(), "aim: at most 1.1")
        for by_age in (True, False):
            measure(engine, shapes.partitions(by_age=by_age), "aim: at most 4")
        measure(engine, shapes.no_index(), "aim: at most 3")
        for rows in (1_000_000, 5_000_000):
            shape = shapes.half_of_a_million(rows, in_order=False)
            megabytes, counters = in_own_process(make(engine, WORK, shape), MODULE, event())
            assert counters["deleted"] == shape.expired
            what = f"{rows:,} rows, half expired: peak memory of the process"
            line(what, f"{megabytes:.0f} MB", "aim: flat, under 200 MB")
