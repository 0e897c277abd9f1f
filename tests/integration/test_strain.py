"""Strain on the database, each kind injected for real: a run waits or works more slowly from its next batch on."""

import datetime as dt
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from local.postgres import PostgresServer
from nightshift import Delete, Job, Policy, days
from nightshift.engine.pacing import POLITE_SECONDS, UNSURE_SECONDS
from nightshift.engine.strain import _READS
from nightshift.engine.ways import HeapWalk
from nightshift.environment import DATABASE_VARIABLE, STRAIN_VARIABLE
from tests.integration.conftest import Invoke, scheduled

NOW = "2026-03-01T02:00:00Z"

job = Job(
    name="forget-visits",
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    steps=(Delete("visits", older_than=days(7), measured_by="at"),),
    audited=False,
)

VISITS = """
create table visits (id bigint generated always as identity primary key, note text, at timestamptz not null);
insert into visits (note, at)
select repeat('x', 400), timestamptz '2026-01-01Z' + i * interval '1 s' from generate_series(1, 4000) i
"""


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some forty batches of five blocks each."""
    monkeypatch.setattr(HeapWalk, "first", 5)
    monkeypatch.setattr(HeapWalk, "largest", 5)


@pytest.fixture
def visits(session: Session) -> Session:
    session.execute(text(VISITS))
    session.commit()
    session.execute(text("analyze visits"))
    session.commit()
    return session


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set limits. All others are as they are by default, but looks come before every batch, and holds are short."""
    monkeypatch.setattr("nightshift.engine.pacing.LEAST_SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr("nightshift.engine.pacing.LOOKS_SHARE", 1e9)
    monkeypatch.setattr("nightshift.engine.pacing.SECONDS_TO_THE_SECOND_LOOK", 0.0)

    def set_(**limits: Any) -> None:
        monkeypatch.setenv(STRAIN_VARIABLE, json.dumps({"work_percent": 100, "hold_seconds": 0.3, **limits}))

    set_()
    return set_


class Run:
    """A run in a thread of its own, stopped for a moment after its n-th batch, so that something can be done then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, invoke: Invoke, after: int, do: Callable[[], None]) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._batches, self._after, self._do = 0, after, do
        monkeypatch.setattr("nightshift.telemetry.log", self._log)
        self.result = invoke(job, at=NOW, seconds=30)

    def _log(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, fields))
        if event == "batch.committed":
            self._batches += 1
            if self._batches == self._after:
                self._do()

    def said(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    @property
    def batches_before(self) -> int:
        """How many batches there were before the run was held or slowed."""
        names = [name for name, _ in self.events]
        until = next(place for place, name in enumerate(names) if name in ("run.held", "run.slowed"))
        return names[:until].count("batch.committed")


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection


def left(session: Session) -> int:
    session.rollback()
    return int(session.scalar(text("select count(*) from visits")) or 0)


def last_run(session: Session) -> Any:
    session.rollback()
    return session.execute(text("select * from nightshift.runs order by created_at desc limit 1")).one()


def die(visits: Session, database: Engine) -> None:
    """Two thousand rows leave dead ones behind."""
    visits.execute(text("update visits set note = 'y' where id > 2000; select pg_stat_force_next_flush()"))
    visits.commit()
    with connected(database) as looking:
        until_true(looking, "select pg_stat_get_dead_tuples('visits'::regclass) > 1000")


@contextmanager
def slow_vacuum(visits: Session, database: Engine) -> Iterator[Callable[[], None]]:
    """Begin a VACUUM of the table that lasts until the block or somebody else ends it."""
    vacuuming = database.connect().execution_options(isolation_level="AUTOCOMMIT")
    vacuuming.execute(text("set vacuum_cost_delay = 10; set vacuum_cost_limit = 1"))
    thread = threading.Thread(target=lambda: suppressed(vacuuming, "vacuum visits"))

    def begin() -> None:
        thread.start()
        with connected(database) as looking:
            at_work = "select exists (select from pg_stat_progress_vacuum where relid = 'visits'::regclass)"
            until_true(looking, at_work)

    yield begin
    end_vacuum(visits)
    thread.join()
    vacuuming.close()


def end_vacuum(visits: Session) -> None:
    visits.execute(text("select pg_terminate_backend(pid) from pg_stat_progress_vacuum"))


def held_after_two(run: Run, signal: str, session: Session) -> None:
    """It stopped with the batch in which the strain came, said why, and its attempt is not counted."""
    assert run.result["outcome"] == "interrupted"
    assert run.batches_before == 2
    assert signal in run.result["reason"]
    assert run.result["reason"].startswith("held")
    record = last_run(session)
    assert record.attempts == 0
    assert record.strain["state"] == "held"
    assert record.strain["why"].startswith(signal)
    assert left(session) == 4000 - record.counters["deleted"] > 0


def test_a_lock_holder_holds_the_run_and_its_end_releases_it(
    visits: Session, invoke_job: Invoke, database: Engine, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(hold_seconds=20)
    with connected(database) as holder:

        def lock() -> None:
            holder.execute(text("lock table visits in share mode"))
            threading.Timer(0.5, holder.rollback).start()

        run = Run(monkeypatch, invoke_job, 2, lock)
    assert run.result["outcome"] == "succeeded"
    assert (run.batches_before, left(visits)) == (2, 0)
    assert "lock_waits" in run.said("run.held")[0]["reason"]
    assert run.said("run.released")


def test_sessions_that_wait_for_a_lock_hold_the_run(
    visits: Session, invoke_job: Invoke, database: Engine, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(database) as holder, connected(database) as waiter:
        thread = threading.Thread(
            target=lambda: waiter.execute(text("update visits set note = '' where id = 3999")).close()
        )

        def wait_for_a_row() -> None:
            holder.execute(text("select from visits where id = 3999 for update"))
            thread.start()
            with connected(database) as looking:
                until_true(looking, "select exists (select from pg_locks where not granted)")
            time.sleep(0.15)

        run = Run(monkeypatch, invoke_job, 2, wait_for_a_row)
        holder.rollback()
        thread.join()
    held_after_two(run, "lock_waits", visits)


def test_an_old_transaction_holds_the_run(
    visits: Session, invoke_job: Invoke, database: Engine, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(transaction_seconds=0.2)
    visits.rollback()
    with connected(database) as old:

        def begin() -> None:
            old.execute(text("select 1"))
            time.sleep(0.25)

        run = Run(monkeypatch, invoke_job, 2, begin)
    held_after_two(run, "transaction_age", visits)


def test_a_horizon_that_stays_behind_holds_the_run(
    visits: Session, invoke_job: Invoke, database: Engine, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(horizon_transactions=4, transaction_seconds=0)
    with connected(database) as old, connected(database) as busy:

        def fall_behind() -> None:
            old.execute(text("set transaction isolation level repeatable read"))
            old.execute(text("select 1"))
            for _ in range(5):
                busy.execute(text("select txid_current()"))
                busy.commit()

        run = Run(monkeypatch, invoke_job, 2, fall_behind)
    held_after_two(run, "horizon", visits)


def test_a_busy_connection_pool_holds_the_run(
    visits: Session, invoke_job: Invoke, database: Engine, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(connections_percent=25)
    with ExitStack() as pool:

        def connect() -> None:
            for _ in range(28):
                pool.enter_context(connected(database)).execute(text("select 1")).close()

        run = Run(monkeypatch, invoke_job, 2, connect)
    held_after_two(run, "connections", visits)


def test_vacuum_at_work_on_the_table_slows_the_run(
    visits: Session, invoke_job: Invoke, database: Engine, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(work_percent=50)
    with slow_vacuum(visits, database) as vacuum:
        run = Run(monkeypatch, invoke_job, 2, vacuum)

    assert run.result["outcome"] == "succeeded"
    assert run.batches_before == 2
    assert "VACUUM" in run.said("run.slowed")[0]["reason"]
    assert any("seconds slowed by vacuum" in fields["seconds"] for fields in run.said("run.paced"))


def test_dead_rows_slow_the_run(
    visits: Session, database: Engine, invoke_job: Invoke, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(work_percent=50, dead_rows=1000)

    run = Run(monkeypatch, invoke_job, 2, lambda: die(visits, database))
    assert run.batches_before == 2
    assert "dead rows" in run.said("run.slowed")[0]["reason"]


def test_a_run_that_rests_goes_on_when_the_strain_is_over(
    visits: Session, database: Engine, invoke_job: Invoke, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the batch before took: what held it up may be gone."""
    monkeypatch.setattr("nightshift.engine.pacing.SLOWED_TIMES", 1e9)
    monkeypatch.setattr("nightshift.engine.pacing.LONGEST_REST_SECONDS", 15)
    monkeypatch.setattr("nightshift.engine.pacing.LONGEST_WAIT_SECONDS", 0.1)
    limits(work_percent=50)
    over = threading.Timer(0.5, lambda: end_vacuum(visits))
    with slow_vacuum(visits, database) as vacuum:

        def vacuum_for_a_while() -> None:
            vacuum()
            over.start()

        run = Run(monkeypatch, invoke_job, 2, vacuum_for_a_while)
        over.join()

    assert "VACUUM" in run.said("run.slowed")[0]["reason"]
    assert run.result["outcome"] == "succeeded"
    assert 0.3 < run.said("run.paced")[0]["seconds"]["seconds slowed by vacuum"] < 10


def test_a_run_looks_once_before_it_counts_and_deletes_within_moments(
    visits: Session, database: Engine, invoke_job: Invoke, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightshift.engine.pacing.SECONDS_TO_THE_SECOND_LOOK", 3600.0)

    run = Run(monkeypatch, invoke_job, 1, lambda: None)

    assert run.said("run.paced")[0]["looks"] == 1
    assert (run.result["outcome"], left(visits)) == ("succeeded", 0)


def test_a_run_rests_a_while_at_most(
    visits: Session, database: Engine, invoke_job: Invoke, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch that something held up would be followed by a rest without end."""
    monkeypatch.setattr("nightshift.engine.pacing.SLOWED_TIMES", 1e9)
    monkeypatch.setattr("nightshift.engine.pacing.LONGEST_REST_SECONDS", 0.02)
    limits(work_percent=50, dead_rows=1000)

    run = Run(monkeypatch, invoke_job, 2, lambda: die(visits, database))

    assert "dead rows" in run.said("run.slowed")[0]["reason"]
    assert (run.result["outcome"], left(visits)) == ("succeeded", 0)


def deleted_by_batches(run: Run) -> list[int]:
    return [fields["counters"]["deleted"] for fields in run.said("batch.committed")]


def test_the_next_batch_is_shorter_when_others_have_come(
    visits: Session, database: Engine, invoke_job: Invoke, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How large it is was chosen before they came."""
    limits(work_percent=50)
    monkeypatch.setattr(HeapWalk, "first", 80)
    monkeypatch.setattr(HeapWalk, "largest", 80)
    with connected(database) as other:
        run = Run(monkeypatch, invoke_job, 1, lambda: other.execute(text("select 1")).close())

    first, second, *_ = deleted_by_batches(run)
    assert 0 < second <= first * POLITE_SECONDS / UNSURE_SECONDS * 1.1
    assert run.said("run.paced")[0]["seconds"]["seconds slowed by others"] > 0
    assert (run.result["outcome"], left(visits)) == ("succeeded", 0)


@pytest.mark.parametrize(("second_look", "grows"), [(0.0, True), (1e9, False)], ids=["two_looks", "one_look"])
def test_batches_grow_when_a_second_look_has_seen_nobody_either(
    visits: Session,
    invoke_job: Invoke,
    limits: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    second_look: float,
    grows: bool,
) -> None:
    """Who happened to rest at the first look would meet the largest batches."""
    limits(work_percent=50)
    monkeypatch.setattr(HeapWalk, "first", 20)
    monkeypatch.setattr(HeapWalk, "largest", 1000)
    monkeypatch.setattr("nightshift.engine.sweeping.FEWEST_ROWS", 1)
    monkeypatch.setattr("nightshift.engine.pacing.UNSURE_SECONDS", 1e-9)
    monkeypatch.setattr("nightshift.engine.pacing.TARGET_SECONDS", 1e9)
    monkeypatch.setattr("nightshift.engine.pacing.SECONDS_TO_THE_SECOND_LOOK", second_look)
    monkeypatch.setattr("nightshift.engine.pacing.Pacing.at", lambda *_: None)  # so that one look comes

    run = Run(monkeypatch, invoke_job, 0, lambda: None)

    first, _, third, *_ = deleted_by_batches(run)
    assert (third > first) is grows
    assert left(visits) == 0


def test_a_gate_of_ones_own_holds_the_run_with_its_reason(
    visits: Session, invoke_job: Invoke, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    visits.execute(text("create table sale (on_until text)"))
    visits.commit()
    limits(gate="select (select 'a sale until ' || on_until from sale)")

    def begin_a_sale() -> None:
        visits.execute(text("insert into sale values ('midnight')"))
        visits.commit()

    run = Run(monkeypatch, invoke_job, 2, begin_a_sale)
    assert "a sale until midnight" in run.result["reason"]
    held_after_two(run, "gate", visits)


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ("select false -- until the sale is over", "it is closed"),
        ("select false; ", "it is closed"),
        ("select * from (values (true), (false)) open (says)", "it is closed"),
        ("select 'a sale', 7", "a sale"),
    ],
)
def test_a_gate_that_is_closed_in_any_row_holds_the_run(
    visits: Session, invoke_job: Invoke, limits: Callable[..., None], gate: str, told: str
) -> None:
    limits(gate=gate)
    result = invoke_job(job, at=NOW, seconds=30)
    assert (result["outcome"], left(visits)) == ("interrupted", 4000)
    assert told in result["reason"]


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ("select true, true", "more than one value"),
        ("select * from (values (true), (true)) open (says)", "more than one value"),
        ("select true where false", "neither"),
        ("select 1 / 0 = 1", "zero"),
        ("select pg_sleep(3) is null", "statement"),
        ("select true); delete from visits; select (true", "42601"),
        ("with gone as (delete from visits returning 1) select true from gone", "0A000"),
        ("select null::boolean", "neither"),
    ],
)
def test_a_gate_that_fails_is_unknown_and_holds_nobody_up(
    visits: Session, invoke_job: Invoke, limits: Callable[..., None], gate: str, told: str
) -> None:
    visits.execute(text("delete from visits where id > 10"))
    visits.commit()
    limits(gate=gate)
    result = invoke_job(job, at=NOW, seconds=30)
    assert (result["outcome"], result["counters"]["deleted"]) == ("succeeded", 10)
    assert told in last_run(visits).strain["unknown"]["gate"]


def test_what_this_role_may_not_see_is_unknown_and_holds_nobody_up(
    visits: Session, database: Engine, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch, invoke_job: Invoke
) -> None:
    visits.execute(
        text(
            "create role low login; grant usage on schema nightshift to low;"
            " grant all on all tables in schema nightshift to low; grant select, delete on visits to low;"
            " grant all on all sequences in schema nightshift to low"
        )
    )
    visits.commit()
    limits(transaction_seconds=1000)
    url = database.url.set(username="low").render_as_string(hide_password=False)
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": url}))
    with connected(database) as another:
        another.execute(text("select 1"))
        result = invoke_job(job, at=NOW, seconds=30)
    assert result["outcome"] == "succeeded"
    unknown = last_run(visits).strain["unknown"]
    assert "pg_monitor" in unknown["transaction_age"]
    assert "lock_waits" not in unknown


def test_a_function_that_is_missing_leaves_the_other_signals(
    visits: Session, invoke_job: Invoke, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"replica_lag": "pg_no_such_function()"}
    monkeypatch.setattr("nightshift.engine.strain._READS", {**_READS, **broken})
    limits(connections_percent=0.1)
    result = invoke_job(job, at=NOW, seconds=30)
    assert result["outcome"] == "interrupted"
    assert "connections" in result["reason"]
    assert "replica_lag" in last_run(visits).strain["unknown"]


def test_auroras_own_function_tells_the_lag_of_its_readers(
    visits: Session, invoke_job: Invoke, limits: Callable[..., None]
) -> None:
    visits.execute(
        text(
            """
            create function aurora_replica_status()
            returns table (session_id text, replica_lag_in_msec double precision)
            language sql as $$values ('MASTER_SESSION_ID', null), ('reader', 9000.0)$$
            """
        )
    )
    visits.commit()
    result = invoke_job(job, at=NOW, seconds=30)
    assert "replica_lag: a replica is 9.0 s behind" in result["reason"]
    assert left(visits) == 4000, "the first batch waits as well"


def test_a_run_that_is_held_is_never_failed_and_one_with_a_late_limit_is_missed(
    visits: Session, invoke_job: Invoke, limits: Callable[..., None]
) -> None:
    limits(connections_percent=0.1)
    first = invoke_job(job, scheduled(NOW), seconds=30)
    for _ in range(4):
        again = invoke_job(job, {"run_id": first["run_id"]}, seconds=30)
        assert again["outcome"] == "interrupted"
    assert last_run(visits).attempts == 0
    limits()
    assert invoke_job(job, {"run_id": first["run_id"]}, seconds=30)["outcome"] == "succeeded"
    assert left(visits) == 0
    limits(connections_percent=0.1)
    soon = Job(
        name="forget-soon",
        kind="retention",
        schedule=job.schedule,
        steps=job.steps,
        audited=False,
        policy=Policy(late_limit=dt.timedelta(seconds=1)),
    )
    minute = dt.datetime.now(dt.UTC).replace(second=0, microsecond=0)
    late = invoke_job(soon, scheduled(minute + dt.timedelta(minutes=1)), seconds=30)
    assert late["outcome"] in ("missed", "interrupted")


def test_a_run_that_waits_has_no_transaction_and_keeps_its_lease(
    visits: Session, invoke_job: Invoke, database: Engine, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(hold_seconds=20)
    monkeypatch.setattr("nightshift.engine.pacing.RENEWED_SECONDS", 0.2)
    seen: list[Any] = []
    with connected(database) as holder:

        def lock() -> None:
            holder.execute(text("lock table visits in share mode"))

            def look() -> None:
                with connected(database) as looking:
                    waiting = (
                        "select state, (select strain ->> 'why' from nightshift.runs), "
                        "(select lease_until > now() + interval '20 s' from nightshift.runs) from pg_stat_activity "
                        "where application_name = 'nightshift/forget-visits'"
                    )
                    deadline = time.monotonic() + 2
                    while time.monotonic() < deadline:
                        seen.append(looking.execute(text(waiting)).one())
                        looking.rollback()
                        time.sleep(0.01)
                holder.rollback()

            threading.Thread(target=look).start()

        run = Run(monkeypatch, invoke_job, 2, lock)
    assert run.result["outcome"] == "succeeded"
    waits = [state for state, why, _ in seen if why]
    assert waits.count("idle") > 0.7 * len(waits)
    assert {lease for *_, lease in seen} == {True}


def test_checks_and_notices_do_not_give_way_to_strain(
    visits: Session, invoke_job: Invoke, limits: Callable[..., None]
) -> None:
    limits(connections_percent=0.1)
    check = Job(name="check-visits", kind="check", schedule=job.schedule, steps=job.steps, audited=False)
    assert invoke_job(check, at=NOW, seconds=30)["outcome"] == "succeeded"


@contextmanager
def standby(primary: PostgresServer, folder: Path) -> Iterator[Engine]:
    """A streaming replica of a server."""
    primary_user = primary._owner()
    data = folder / "standby"
    data.mkdir(mode=0o700)
    shutil.chown(data, primary_user, -1)
    source = f"host={primary.socket.parent} port={primary.port} user=postgres"
    copy = ["-D", str(data), "-d", source, "--checkpoint=fast", "--no-sync", "--write-recovery-conf"]
    subprocess.run(primary._command("pg_basebackup", *copy), check=True, capture_output=True, cwd="/")
    with Standby(data, settings={"hot_standby": "on"}) as replica:
        engine = create_engine(replica.url(), poolclass=NullPool, connect_args={"ssl_context": False})
        yield engine
    shutil.rmtree(data)


class Standby(PostgresServer):
    """It takes its password from its primary."""

    def _set_password(self) -> None:
        self.password = ""


@pytest.mark.parametrize("limit", [{"replica_lag_seconds": 0.2}, {"replica_lag_megabytes": 0.05}])
def test_a_lagging_replica_holds_the_run(
    visits: Session,
    invoke_job: Invoke,
    postgres: PostgresServer,
    limits: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    limit: dict[str, float],
    tmp_path: Path,
) -> None:
    limits(**{"replica_lag_seconds": 0, "replica_lag_megabytes": 0, **limit})
    with standby(postgres, Path(postgres.data.parent)) as replica, connected(replica) as there:

        def lag() -> None:
            there.execute(text("select pg_wal_replay_pause()"))
            there.commit()
            until_true(there, "select pg_get_wal_replay_pause_state() = 'paused'")
            visits.execute(text("create table ballast as select repeat('x', 100) from generate_series(1, 5000)"))
            visits.commit()
            time.sleep(0.25)

        run = Run(monkeypatch, invoke_job, 2, lag)
        there.execute(text("select pg_wal_replay_resume()"))
        there.commit()
    assert run.result["outcome"] == "interrupted"
    assert "replica" in run.result["reason"]


def until_true(connection: Connection, question: str) -> None:
    deadline = time.monotonic() + 10
    while not connection.execute(text(question)).scalar():
        assert time.monotonic() < deadline, question
        connection.rollback()
        time.sleep(0.01)
    connection.rollback()


def suppressed(connection: Connection, statement: str) -> None:
    try:
        connection.execute(text(statement))
    except Exception:  # noqa: BLE001 - it is stopped by force
        connection.invalidate()
