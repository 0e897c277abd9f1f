"""`nightshift plan JOB --database-url URL`: a plan in any database, without deployment, ledger or right to write."""

import datetime as dt
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from typer.testing import CliRunner, Result

from cli.commands import application
from cli.planning import plan_in
from cli.refusals import RefusedError
from local.postgres import PostgresServer
from nightshift import Count, Delete, Function, Job, Parameter, Run, StepPlan, Update
from nightshift.declaration import Step, registry
from nightshift.errors import SettingError

NOW = dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC)
JOB = "abandoned-carts"
SHOP = """
    create schema shop;
    create table shop.customers (id int primary key, name text);
    create table shop.orders (id int primary key, at timestamptz not null, done boolean default true);
    create table shop.items (order_id int references shop.orders on delete cascade, at timestamptz);
    create table shop.claims (order_id int references shop.orders);
    create index on shop.orders (at);
    insert into shop.orders
        select i, timestamptz '2026-03-01 02:00Z' - i * interval '1 day' from generate_series(1, 20) i;
    insert into shop.items select id, at + interval '12 days' from shop.orders;
    insert into shop.claims values (20);
    analyze;
"""


def url_of(engine: Engine, **change: Any) -> str:
    return engine.url.set(**change).render_as_string(hide_password=False)


def job(*steps: Step) -> Job:
    return Job(name="purge", kind="retention", schedule="cron(0 2 * * ? *)", steps=steps, audited=False)


ORDERS = Delete("shop.orders", older_than=Parameter("retention_days", 7, "days", minimum=2), measured_by="at")
DONE = Count("shop.orders", where="done", counter="done", name="count-done")


@pytest.fixture
def shop(empty_database: Engine) -> Engine:
    """A database that knows nothing of Nightshift."""
    with empty_database.begin() as connection:
        connection.exec_driver_sql(SHOP)
    return empty_database


@contextmanager
def logged(engine: Engine) -> Iterator[Callable[[], int]]:
    """How much the database has written into its log of changes since."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        place = "select pg_current_wal_insert_lsn()"
        before = connection.scalar(text(place))
        yield lambda: int(connection.scalar(text(f"select ({place}) - cast(:lsn as pg_lsn)"), {"lsn": before}))


def test_a_plan_needs_no_ledger_and_tells_all_that_a_run_would_do(shop: Engine) -> None:
    found = plan_in(url_of(shop), job(ORDERS, DONE), NOW, {})

    assert (found["outcome"], found["errors"], found["scheduled_for"]) == ("planned", [], "2026-03-01T02:00:00Z")
    assert found["database"] == f"{shop.url.database} at {shop.url.query['unix_sock']}"
    assert "run_id" not in found
    orders, done = found["plan"]["steps"]
    assert (orders["table"], orders["action"], orders["rows"]) == ("shop.orders", "delete", 12)
    assert (orders["cutoff"], orders["referenced"]) == ("2026-02-22T02:00:00Z", 1)
    (items,) = orders["cascades"]
    assert (items["table"], items["rows"], items["youngest"]) == ("shop.items", 12, "2026-03-05 02:00:00+00")
    assert 'create index concurrently on "shop"."items" ("order_id")' in orders["missing"]
    assert (done["action"], done["rows"]) == ("count", 20)


def test_a_plan_takes_parameters_and_a_time_and_knows_the_caps(shop: Engine) -> None:
    older = plan_in(url_of(shop), job(ORDERS), NOW - dt.timedelta(days=3), {"retention_days": 9})
    (step,) = older["plan"]["steps"]
    assert (step["cutoff"], step["rows"]) == ("2026-02-17T02:00:00Z", 7)
    over = plan_in(url_of(shop), job(ORDERS), NOW, {"max_rows": 23})["plan"]["over_cap"]
    assert over == [
        "step delete-orders would delete 12 rows of shop.orders and 12 that go or change with them; max_rows is 23"
    ]
    assert plan_in(url_of(shop), job(ORDERS), NOW, {"max_rows": 24})["plan"]["over_cap"] == []


def test_a_plan_reads_only_and_as_a_role_that_may_only_read(shop: Engine, postgres: PostgresServer) -> None:
    reader = f"reader_{shop.url.database}"
    with shop.begin() as connection:
        connection.exec_driver_sql(
            f"create role {reader} login password 'secret'; "
            f"alter role {reader} set default_transaction_read_only = on; "
            f"grant usage on schema shop to {reader}; grant select, delete on all tables in schema shop to {reader}"
        )
    address = postgres.tcp_url(str(shop.url.database)).set(username=reader, password="secret")
    try:
        found = plan_in(address.render_as_string(hide_password=False), job(ORDERS), NOW, {})
        with logged(shop) as written:
            plan_in(address.render_as_string(hide_password=False), job(ORDERS), NOW, {})
            assert written() < 8_192
    finally:
        with shop.begin() as connection:
            connection.exec_driver_sql(f"drop owned by {reader}; drop role {reader}")

    assert (found["outcome"], found["plan"]["steps"][0]["rows"]) == ("planned", 12)


class Replica(PostgresServer):
    """A server that only recovers and is read: it takes no write at all, and so no new password."""

    def _set_password(self) -> None:
        pass


def test_a_replica_will_do(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "data") as primary:
        engine = create_engine(primary.url(), poolclass=NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql(SHOP)
        before = plan_in(url_of(engine), job(ORDERS, DONE), NOW, {})
    (tmp_path / "data" / "standby.signal").touch()
    with Replica(tmp_path / "data") as replica:
        found = plan_in(replica.url().render_as_string(), job(ORDERS, DONE), NOW, {})

    assert (found["outcome"], found["plan"]) == ("planned", before["plan"])


def says(statement: str) -> Callable[[Session, Run], list[StepPlan]]:
    def plan(session: Session, _: Run) -> list[StepPlan]:
        return [StepPlan("ask", "orders", "look", session.scalar(text(statement)) or 0)]

    return plan


def asking(plan: Callable[[Session, Run], list[StepPlan]], name: str = "ask") -> Function:
    return Function(name=name, apply=lambda _: None, plan=plan, counters=("asked",))


def lacking(_: Session, __: Run) -> list[StepPlan]:
    raise SettingError("NIGHTSHIFT_KMS_KEY is not set")


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (
            asking(says("select count(*) from nightshift.runs")),
            ": the table nightshift.runs does not exist: Nightshift is not deployed to this database, or its "
            "migrations have not run (SQLSTATE 42P01)",
        ),
        (
            asking(says("delete from shop.orders returning 1")),
            ": a plan only reads: step ask: DELETE writes, and the transaction or the server is read only "
            "(SQLSTATE 25006)",
        ),
        (asking(says("select 1 / 0")), ": a division by zero (SQLSTATE 22012)"),
        (asking(lacking), " here, it needs more than the database: NIGHTSHIFT_KMS_KEY is not set"),
        (
            Delete("shop.order", older_than=Parameter("days", 7, "days"), measured_by="at", name="ask"),
            ": the database has no table shop.order, or this role may not use its schema",
        ),
        (
            Delete("shop.orders", older_than=Parameter("days", 7, "days"), measured_by="made_at", name="ask"),
            ": shop.orders has no column made_at",
        ),
        (
            Update("shop.orders", set={"done": True}, where="colour = 'red'", counter="updated", name="ask"),
            ": the column colour does not exist",
        ),
    ],
)
def test_a_step_that_cannot_be_planned_says_why_in_a_line_and_the_others_are_planned(
    shop: Engine, step: Step, reason: str
) -> None:
    found = plan_in(url_of(shop), job(step, ORDERS), NOW, {})

    assert (found["outcome"], found["reason"]) == ("failed", "1 of 2 steps cannot be planned")
    (error,) = found["errors"]
    assert error.startswith(f"step ask cannot be planned{reason}")
    assert "\n" not in error
    assert [each["rows"] for each in found["plan"]["steps"]] == [12]


def test_all_steps_see_one_instant(shop: Engine) -> None:
    def meanwhile(session: Session, _: Run) -> list[StepPlan]:
        with shop.begin() as connection:
            connection.execute(text("delete from shop.orders where id < 19"))
        return []

    found = plan_in(url_of(shop), job(DONE, asking(meanwhile), ORDERS), NOW, {})

    assert [each["rows"] for each in found["plan"]["steps"]] == [20, 12]


def test_a_connection_that_breaks_in_the_middle_is_told_and_nothing_is_half_shown(shop: Engine) -> None:
    ending = asking(says("select pg_terminate_backend(pg_backend_pid()), pg_sleep(5)"))
    with pytest.raises(RefusedError, match=r"cannot be used: .*(connection broke|SQLSTATE 57P01)"):
        plan_in(url_of(shop), job(ending, ORDERS), NOW, {})


class Silence:
    """AWS where there must be no need of it."""

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        raise AssertionError(f"{function} was invoked with {payload}")


def nightshift(*arguments: str, **environment: str) -> Result:
    environ: dict[str, Any] = {"COLUMNS": None, "NIGHTSHIFT_DATABASE_URL": None, **environment}
    return CliRunner().invoke(application, ["plan", JOB, *arguments], obj=Silence(), env=environ)


def test_the_command_plans_in_the_database_of_the_option_or_the_variable(database: Engine) -> None:
    by_option = nightshift("--database-url", url_of(database), "--json", "--at", "2026-03-01T02:00:00Z")
    by_variable = nightshift("--json", "--at", "2026-03-01T02:00:00Z", NIGHTSHIFT_DATABASE_URL=url_of(database))
    shown = nightshift("--database-url", url_of(database))

    assert (by_option.exit_code, by_variable.exit_code, shown.exit_code) == (0, 0, 0), by_option.output
    one, other = json.loads(by_option.stdout), json.loads(by_variable.stdout)
    assert one["plan"] == other["plan"]
    assert (one["job"], one["outcome"], one["scheduled_for"]) == (JOB, "planned", "2026-03-01T02:00:00Z")
    assert shown.stdout.startswith(f"{JOB}: planned in ")
    assert shown.stdout.endswith(f"Planned in {one['database']}. Nothing was written\n")
    with database.connect() as connection:
        assert connection.scalar(text("select count(*) from nightshift.runs")) == 0


def test_every_declared_job_can_be_planned_without_its_deployment(database: Engine) -> None:
    found = [plan_in(url_of(database), each.job, NOW, {}) for each in registry().values()]

    assert {each["outcome"] for each in found} == {"planned"}
    assert [error for each in found for error in each["errors"]] == []


def test_a_database_without_the_tables_of_the_job_is_exit_code_1(empty_database: Engine) -> None:
    failed = nightshift("--database-url", url_of(empty_database))

    assert (failed.exit_code, failed.stderr) == (1, "")
    assert "cannot be planned: the database has no table" in failed.stdout


@contextmanager
def listening(answer: bytes, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that is no PostgreSQL: it gives one answer to the first who asks, and may begin with TLS."""

    def serve() -> None:
        asked = False
        while not asked:
            connection, _ = server.accept()
            with connection:
                asked = bool(connection.recv(8))
                connection.sendall(answer)
                if asked and tls:
                    with suppress(OSError):
                        tls.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)  # whoever never comes must not be waited for without end
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"password": "wrong"}, "the password of the role postgres is wrong, or it has none (SQLSTATE 28P01)"),
        ({"password": None}, "the password of the role postgres is wrong, or it has none (SQLSTATE 28P01)"),
        ({"username": "nobody"}, "the password of the role nobody is wrong, or it has none (SQLSTATE 28P01)"),
        ({"database": "nothing"}, "the database nothing does not exist on this server (SQLSTATE 3D000)"),
        ({"port": 1}, "nothing listens at this host and port"),
        ({"host": "no-such-host.invalid"}, "the name of this host is not known"),
    ],
)
def test_a_database_that_cannot_be_reached_is_one_line_in_words(
    postgres: PostgresServer, change: dict[str, Any], reason: str
) -> None:
    address = postgres.tcp_url()._replace(**change)
    refused = nightshift("--database-url", address.render_as_string(hide_password=False))

    place = f"{address.database} at {address.host}:{address.port}"
    line = f"the database {place} cannot be used: {reason}\n"
    assert (refused.exit_code, refused.stdout, refused.stderr) == (2, "", line)


def test_a_server_without_tls_is_used_on_this_machine_only(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = postgres.tcp_url().render_as_string(hide_password=False)
    monkeypatch.setattr("nightshift.database.settings.is_loopback", lambda _: False)
    refused = nightshift("--database-url", address)

    assert refused.exit_code == 2
    assert "cannot be used: the database connection failed: the server offers no TLS" in refused.stderr


def test_what_is_no_postgresql_is_told_at_once() -> None:
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        refused = nightshift("--database-url", f"postgresql://ada@127.0.0.1:{port}/shop")
    assert (refused.exit_code, refused.stderr) == (
        2,
        f"what listens at 127.0.0.1:{port} is no PostgreSQL: see the host and the port\n",
    )


def test_a_certificate_that_nobody_knows_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightshift.database.settings.is_loopback", lambda _: False)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(tls)
    with listening(b"S", tls) as port:
        refused = nightshift("--database-url", f"postgresql://ada@localhost:{port}/shop")
    assert refused.exit_code == 2
    assert "cannot be used: the server's certificate cannot be verified: " in refused.stderr
    assert "name the authority's file: ?sslrootcert=FILE" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_socket_that_is_not_there_is_told(postgres: PostgresServer) -> None:
    refused = nightshift("--database-url", "postgresql://ada@/shop?host=/nowhere")
    assert "cannot be used: the database connection failed: there is no socket at this path\n" in refused.stderr
