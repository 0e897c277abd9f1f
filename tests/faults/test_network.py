"""What networks, other sessions and clocks do to a run: nothing is lost, and it is told in time."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import Engine, text

from local.postgres import PostgresServer
from nightshift import Execution, Function, Job
from nightshift.environment import DATABASE_VARIABLE
from nightshift.errors import DatabaseAwayError, RunFailedError, UnclaimedError
from nightshift.runtime import invoke
from tests.faults.deaths import let_the_lease_end
from tests.integration.conftest import Context, scheduled

AT = "2026-03-01T02:00:00Z"
BATCHES = 3


class Hole:
    """A proxy before the server. While it is `open`, it takes what either side sends, and neither hears of it.

    Nothing is closed and nothing reset: a firewall that has forgotten the connection, or a host that is gone.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.open = threading.Event()
        self.connections = 0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self._server))
            self._sockets += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        swallowed = False
        try:
            while sent := one.recv(65_536):
                swallowed = swallowed or self.open.is_set()  # a connection that has lost something never recovers
                if not swallowed:
                    other.sendall(sent)
            if not swallowed:
                other.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        self._listener.close()
        for each in self._sockets:
            each.close()


@pytest.fixture
def hole(postgres: PostgresServer, database: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hole]:
    """On the way to the test's database."""
    url = postgres.tcp_url(str(database.url.database))
    found = Hole(int(url.port or 0))
    through = url.set(host="127.0.0.1", port=found.port)
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": through.render_as_string(hide_password=False)}))
    yield found
    found.close()


def of_batches(between: Callable[[int, Execution], None]) -> Job:
    def apply(execution: Execution) -> None:
        for n in range((execution.position or {"done": 0})["done"] + 1, BATCHES + 1):
            between(n, execution)
            with execution.batch() as batch:
                batch.session.execute(text("insert into carts (note) values (:note)"), {"note": str(n)})
                batch.position = {"done": n}
                batch.count(done=1)

    step = Function(name="work", apply=apply, plan=lambda session, run: [], counters=("done",), changes=("done",))
    return Job(name="work", kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)


def notes(database: Engine) -> list[str]:
    with database.connect() as connection:
        return list(connection.scalars(text("select note from carts order by note")))


def test_a_connection_that_swallows_everything_is_given_up_in_time_and_the_run_goes_on(
    hole: Hole, database: Engine
) -> None:
    """Nothing is reset, so only waiting no longer than the deadline helps."""

    def fall_in(n: int, _: Execution) -> None:
        if n == 2 and not hole.open.is_set():
            hole.open.set()

    started = time.monotonic()
    with pytest.raises(DatabaseAwayError, match="could not be written down"):
        invoke(of_batches(fall_in), scheduled(AT), Context(5))
    assert time.monotonic() - started < 5, "Lambda would have killed it"
    hole.open.clear()
    let_the_lease_end(database)
    result = invoke(of_batches(lambda n, _: None), scheduled(AT), Context(20))
    assert (result["outcome"], result["counters"]["done"]) == ("succeeded", BATCHES)
    assert notes(database) == ["1", "2", "3"]


def test_a_hole_that_closes_costs_an_attempt_its_connection_and_nothing_else(hole: Hole, database: Engine) -> None:
    def fall_in(n: int, _: Execution) -> None:
        if n == 2 and hole.connections == 1:
            hole.open.set()
            threading.Timer(0.5, hole.open.clear).start()

    outcome = "interrupted"
    with suppress(RunFailedError):  # a slow machine leaves no time to go on in
        outcome = invoke(of_batches(fall_in), scheduled(AT), Context(8))["outcome"]
    assert hole.connections == 2
    if outcome == "interrupted":
        outcome = invoke(of_batches(fall_in), scheduled(AT), Context(20))["outcome"]
    assert (outcome, notes(database)) == ("succeeded", ["1", "2", "3"])


def test_a_hole_at_the_first_connection_is_told_in_time(hole: Hole) -> None:
    hole.open.set()
    started = time.monotonic()
    with pytest.raises(UnclaimedError, match="gave no answer"):
        invoke(of_batches(lambda n, _: None), scheduled(AT), Context(4))
    assert time.monotonic() - started < 4


@contextmanager
def held(database: Engine, lock: str, seconds: float) -> Iterator[None]:
    """Another session holds a lock for so long."""
    connection = database.connect()
    connection.execute(text(lock))

    def let_go() -> None:
        time.sleep(seconds)
        connection.close()

    thread = threading.Thread(target=let_go)
    thread.start()
    yield
    thread.join()


LOCKS = {
    "the table": "lock table carts in access exclusive mode",
    "the job": "select * from nightshift.jobs for update",
    "the ledger": "lock table nightshift.runs in access exclusive mode",
}


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS.keys())
def test_a_lock_that_somebody_holds_for_a_moment_is_waited_for(
    hole: Hole, database: Engine, lock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a statement waits for one: it is asked for again."""
    monkeypatch.setattr("nightshift.database.transaction.LOCK_TIMEOUT_SECONDS", 1 if "nightshift" in lock else 10)
    with database.begin() as connection:
        connection.execute(text("insert into nightshift.jobs (name) values ('work')"))
    with held(database, lock, 2.5):
        result = invoke(of_batches(lambda n, _: None), scheduled(AT), Context(30))
    assert (result["outcome"], notes(database)) == ("succeeded", ["1", "2", "3"])


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_the_clock_of_the_function_decides_nothing(
    hole: Hole, database: Engine, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """An hour off, both ways: leases, cut-offs and what is due go by the database's clock."""
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + seconds)
    seen: dict[str, Any] = {}

    def look(n: int, execution: Execution) -> None:
        with database.connect() as connection:
            left = "select extract(epoch from lease_until - clock_timestamp()) from nightshift.runs"
            seen[str(n)] = float(connection.scalar(text(left)) or 0)
            seen["now"] = execution.run.now.isoformat()

    result = invoke(of_batches(look), scheduled(AT), Context(30))
    assert (result["outcome"], result["scheduled_for"], notes(database)) == ("succeeded", AT, ["1", "2", "3"])
    assert seen.pop("now") == "2026-03-01T02:00:00+00:00"
    assert all(20 < left <= 40 for left in seen.values())
    assert invoke(of_batches(look), scheduled(AT), Context(30)) == result
