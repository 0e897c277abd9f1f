"""A tree of 100 partitions: dropping them against deleting their rows, and how long a reader waits meanwhile."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection, Engine, text

from bench.invocation import Invocation, invoked
from bench.paired import database, line
from bench.retention import event, made_again, make, outside
from bench.shapes import CUTOFF, Shape
from nightshift import Delete, Drop, Job, days

LEAVES = 100
ROWS = 20_000_000
PAYLOAD = 100
"""Bytes of each row's payload."""


def job(partitions: Drop | None) -> Job:
    step = Delete("events", older_than=days(7), measured_by="created_at", partitions=partitions)
    return Job(name="keep-short", kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)


def tree(rows: int = ROWS) -> Shape:
    """Events of 100 days that have expired, each in a partition, and of one more day. A table may refer to them."""
    first = f"cast('{CUTOFF.isoformat()}' as timestamptz) - interval '{LEAVES} days'"
    bounds = [
        f"({first} + interval '{day} days') to ({first} + interval '{day + 1} days')" for day in range(LEAVES + 1)
    ]
    return Shape(
        f"{rows:,} rows in {LEAVES} partitions by day",
        (
            "create table events (id bigint not null, payload text, created_at timestamptz not null) "
            "partition by range (created_at)",
            *(
                f"create table events_{day:03} partition of events for values from {bound}"
                for day, bound in enumerate(bounds)
            ),
            f"""
            insert into events
            select i, repeat('x', {PAYLOAD}), {first} + i * (interval '{LEAVES} days' / {rows})
              from generate_series(0, {rows - 1}) i
            """,  # noqa: S608 - numbers of this module's own
            "alter table events add primary key (id, created_at)",
            "create table attempts (event_id bigint, event_at timestamptz, "
            "foreign key (event_id, event_at) references events)",
            "create index on attempts (event_id, event_at)",
        ),
        job(None),
        "delete from events where created_at < :cutoff",
        rows,
    )


@contextmanager
def reading(engine: Engine) -> Iterator[list[float]]:
    """A session that reads the newest of the table all the while, and how many seconds each look took."""
    waits: list[float] = []
    done = threading.Event()

    def read(connection: Connection) -> None:
        while not done.is_set():
            started = time.perf_counter()
            connection.execute(text("select count(*) from events where created_at >= :cutoff"), {"cutoff": CUTOFF})
            waits.append(time.perf_counter() - started)

    with outside(engine) as connection:
        reader = threading.Thread(target=read, args=(connection,))
        reader.start()
        try:
            yield waits
        finally:
            done.set()
            reader.join()


def copied(engine: Engine) -> Engine:
    """The kept database once more. Its files are on disk, so that no commit waits for them."""
    work = made_again(engine, "kept")
    os.sync()
    return work


def ran(engine: Engine, shape: Shape, partitions: Drop | None) -> Invocation:
    run = invoked(engine, replace(shape, job=job(partitions)).job, event())
    gone = (
        run.counters["deleted"] if partitions is None else run.counters["partitions_dropped"] * shape.expired // LEAVES
    )
    assert gone == shape.expired, run.counters
    return run


def main() -> None:
    """Print the figures."""
    shape = tree()
    print(f"Whole partitions ({shape.what}, whose rows another table may refer to)")
    with database() as engine:
        with outside(engine) as connection:
            connection.execute(text("create extension pg_prewarm"))
            connection.execute(text("create database empty template postgres"))
        make(engine, "kept", shape).dispose()
        deleted = ran(copied(engine), shape, None)
        exact = ran(copied(engine), shape, Drop())
        by_size = ran(copied(engine), shape, Drop(counted="by size"))
        work = copied(engine)
        with reading(work) as waits:
            ran(work, shape, Drop(counted="by size"))
    for how, run in (("exactly", exact), ("by size", by_size)):
        aim = "aim: at least 100" if run is by_size else ""
        line(f"counted {how}: deleting / dropping, whole invocation", f"{deleted.seconds / run.seconds:.0f}", aim)
        transactions = sum(deleted.batches_ms) / max(1, sum(run.batches_ms))
        line("    their transactions alone", f"{transactions:.0f}")
        line("    longest transaction", f"{max(run.batches_ms)} ms")
    told = f"{deleted.seconds:.1f} s, {exact.seconds:.2f} s, {by_size.seconds:.2f} s"
    line("    deleting, dropping counted exactly, and by size", told)
    line(
        "longest wait of a session that reads the table all the while",
        f"{max(waits) * 1000:.0f} ms",
        "aim: at most 250 ms",
    )
