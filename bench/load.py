"""The ledger under load: claims by 50 attempts at once, and the supervisor's round, with much history and without."""

import datetime as dt
import multiprocessing
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from typing import Any

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from bench.paired import line, paired, seconds, server
from local.postgres import PostgresServer
from nightshift import ledger
from nightshift.database import migrations
from nightshift.database.transaction import own_every_transaction
from nightshift.declaration import Deployment, Policy
from nightshift.ledger import Claim, Request
from nightshift.operations import look_over

HISTORY = 100_000
AT_ONCE = 50
CLAIMS = 10
"""By each attempt, each of another job."""
PAIRS = 25
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def main() -> None:
    """Print the figures."""
    print(f"The ledger under load ({HISTORY:,} runs of history, {AT_ONCE} attempts at once)")
    with server() as postgres:
        short, long = _made(postgres, "short", 1), _made(postgres, "long", HISTORY)
        with _looking(short) as few, _looking(long) as many:
            ratios, its, reference = paired(lambda: seconds(many), lambda: seconds(few), pairs=PAIRS)
        measured = {number: _claims_at_once(long, number) for number in (1, AT_ONCE)}
    line("the supervisor's round, 1 run of history", f"{reference * 1000:.1f} ms")
    line(f"the supervisor's round, {HISTORY:,} runs", f"{its * 1000:.1f} ms, {ratios} times", "under 1.5")
    # The attempts share this machine's processors with the server; on AWS each has its own.
    for number, (claims, inserts) in measured.items():
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            claim, insert = _quantile(claims, share), _quantile(inserts, share)
            ratio = f"{claim / insert:.1f} times a transaction with one insert"
            line(f"a claim, {number} at once, {name}", f"{claim * 1000:.1f} ms, {ratio}")


def _made(postgres: PostgresServer, name: str, runs: int) -> Engine:
    """A database with history of that many runs of the deployed jobs, and of those that will be claimed."""
    with create_engine(postgres.url(), isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"create database {name}"))
    engine = create_engine(postgres.url(name), poolclass=NullPool, connect_args={"ssl_context": False})
    migrations.upgrade(engine)
    deployed = list(Deployment().jobs())
    names = [*deployed, *(f"load-{number}" for number in range(AT_ONCE))]
    with engine.begin() as connection:
        connection.execute(text("create table bare (id uuid primary key, at timestamptz not null, note text)"))
        connection.execute(
            text("insert into nightshift.jobs (name) select unnest(cast(:names as text[])) on conflict do nothing"),
            {"names": names},
        )
        made = text(
            "with run as (insert into nightshift.runs (job, scheduled_for, trigger, state, epoch, attempts,"
            " max_attempts, created_at, started_at, finished_at, counters)"
            " select (cast(:names as text[]))[1 + mod(i, cardinality(cast(:names as text[])))],"
            " cast(:start as timestamptz) + i * interval '1 minute', 'schedule',"
            " case mod(i, 50) when 0 then 'missed' else 'succeeded' end,"
            " 1, 1, 3, clock_timestamp(), clock_timestamp(), clock_timestamp() - i * interval '1 minute' / 10,"
            " '{\"deleted\": 5}' from generate_series(1, :runs) i on conflict do nothing returning id)"
            " insert into nightshift.attempts (run_id, epoch, started_at, ended_at, ending)"
            " select id, 1, clock_timestamp(), clock_timestamp(), 'finished' from run"
        )
        connection.execute(made, {"names": names, "start": START - dt.timedelta(days=100), "runs": runs})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze"))
    return engine


@contextmanager
def _looking(engine: Engine) -> Iterator[Callable[[], None]]:
    """A round of the supervisor that finds nothing to do."""

    def never(*_: Any) -> None:
        raise AssertionError("nothing is to be done")

    deployment = Deployment()
    with engine.connect() as connection, Session(connection, expire_on_commit=False) as session:

        def look() -> None:
            look_over(session, deployment, never, never)

        look()  # learns the schedules
        yield look


def _claims_at_once(engine: Engine, number: int) -> tuple[Sequence[float], Sequence[float]]:
    """The seconds of each claim, and of each bare insert, by so many processes that start together."""
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(number), context.SimpleQueue()
    engine.dispose()
    address = engine.url.render_as_string(hide_password=False)
    workers = [
        context.Process(target=_claims, args=(address, f"load-{each}", barrier, answers, number))
        for each in range(number)
    ]
    for worker in workers:
        worker.start()
    found = [answers.get() for _ in workers]
    for worker in workers:
        worker.join()
    return [each for claims, _ in found for each in claims], [each for _, inserts in found for each in inserts]


def _claims(address: str, job: str, barrier: Barrier, answers: Any, day: int) -> None:
    engine = create_engine(address, poolclass=NullPool, connect_args={"ssl_context": False})
    own_every_transaction(engine)
    with engine.connect() as connection, Session(connection, expire_on_commit=False) as session:

        def claim(number: int) -> Callable[[], object]:
            request = Request(
                "schedule", scheduled_for=START + dt.timedelta(days=day, minutes=number), request_id=str(uuid.uuid4())
            )
            return lambda: granted.append(ledger.claim(session, job, Policy("wait", "every"), request, seconds=60))

        def insert() -> None:
            with session.begin():
                session.execute(text("insert into bare values (gen_random_uuid(), clock_timestamp(), 'a note')"))

        granted: list[Any] = []
        claim(-1)()
        insert()
        claims, inserts = [], []
        barrier.wait()
        for number in range(CLAIMS):
            with session.begin():
                ledger.finish(session, granted[-1], counters={})
            claims.append(seconds(claim(number)))
            assert isinstance(granted[-1], Claim)
            inserts.append(seconds(insert))
            time.sleep(0.01)
        with session.begin():
            ledger.finish(session, granted[-1], counters={})
        answers.put((claims, inserts))


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]
