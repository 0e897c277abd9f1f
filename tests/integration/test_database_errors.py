"""Errors of a real server in words: what is meant is named, and no value of a row is told."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from local.postgres import PostgresServer
from nightshift.database import DatabaseSettings, describe, session_for

SECRET = "ada.lovelace@example.org"

TABLES = f"""
    create schema shop;
    create schema closed;
    create table closed.orders (id int);
    create domain shop.grade as int constraint one_to_six check (value between 1 and 6);
    create table shop.customers (
        id int primary key, email text not null unique, age smallint constraint grown_up check (age >= 18),
        mark shop.grade
    );
    create table orders (id int primary key, customer_id int references shop.customers on delete restrict, at date);
    create table "Order Items" (order_id int constraint of_an_order references orders);
    create table parts (id int) partition by range (id);
    create table locked_away (id int);
    create table guarded (id int, email text);
    create view grown as select * from shop.customers where age > 30 with check option;
    create function refuse() returns trigger language plpgsql as
        $$begin raise exception 'not %', new.email; end$$;
    create trigger refuse before insert on guarded for each row execute function refuse();
    create function shop.divide(by int) returns int language plpgsql as $$begin return 1 / by; end$$;
    create sequence numbers;
    insert into shop.customers values (1, '{SECRET}', 40);
    insert into orders values (1, 1);
    insert into "Order Items" values (1);
    alter table locked_away enable row level security;
    grant usage on schema public, shop to clerk;
    grant select on locked_away to clerk;
"""  # noqa: S608 - a constant of this module
MISSING = "is its name right, with its schema where that is not public?"
OTHER_NAME = "has it another name there, or is a migration missing?"


@pytest.fixture(scope="module")
def shop(postgres: PostgresServer) -> Iterator[Engine]:
    administration = create_engine(postgres.url(), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    engine = create_engine(postgres.url("failures"), poolclass=NullPool, connect_args={"ssl_context": False})
    with administration.connect() as connection:
        connection.execute(text("create role clerk"))
        connection.execute(text("create database failures template template0"))
        with engine.begin() as made:
            made.exec_driver_sql(TABLES)
        yield engine
        connection.execute(text("drop database failures with (force)"))
        connection.execute(text("drop role clerk"))


@pytest.fixture
def connection(shop: Engine) -> Iterator[Connection]:
    with shop.connect() as connection:
        yield connection


def told(connection: Connection, statement: str) -> str:
    with pytest.raises(DBAPIError) as caught:
        connection.exec_driver_sql(statement)
    words = describe(caught.value)
    assert SECRET not in words
    assert "ada" not in words
    return words


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("select * from nothing", f"the table nothing does not exist: {MISSING} (SQLSTATE 42P01)"),
        ("select * from shop.nothing", f"the table shop.nothing does not exist: {MISSING} (SQLSTATE 42P01)"),
        ('select * from "No Such"', f"a table does not exist: {MISSING} (SQLSTATE 42P01)"),
        (
            "select split_part(email, '.', 1)::regclass from shop.customers",
            f"a table does not exist: {MISSING} (SQLSTATE 42P01)",
        ),
        (
            "select (split_part(email, '@', 1) || '()')::regprocedure from shop.customers",
            "a function or operator for these types does not exist: is an extension or a migration missing? "
            "(SQLSTATE 42883)",
        ),
        (
            "select orders.at",
            "the table orders is used and stands in no FROM of the statement (SQLSTATE 42P01)",
        ),
        (
            "select * from nightshift.runs",
            "the table nightshift.runs does not exist: Nightshift is not deployed to this database, or its migrations "
            "have not run (SQLSTATE 42P01)",
        ),
        (
            "select * from nowhere.orders",
            f"the table nowhere.orders does not exist: {MISSING} (SQLSTATE 42P01)",
        ),
        (
            "create table nowhere.orders (id int)",
            "the schema nowhere does not exist: is its name right, or is a migration missing? (SQLSTATE 3F000)",
        ),
        ("select o.colour from orders o", f"the column o.colour does not exist: {OTHER_NAME} (SQLSTATE 42703)"),
        ("update orders set colour = 1", f"the column orders.colour does not exist: {OTHER_NAME} (SQLSTATE 42703)"),
        (
            "select public.paint(1, 'x'::text)",
            "the function public.paint(integer, text) does not exist: is an extension or a migration missing? "
            "(SQLSTATE 42883)",
        ),
        (
            "select date '2026-01-01' + date '2026-01-01'",
            "there is no operator date + date: has a value another type than its column, or is an extension missing? "
            "(SQLSTATE 42883)",
        ),
        ("select cast(1 as shop.colour)", "the type, role or setting shop.colour does not exist (SQLSTATE 42704)"),
        ("create table orders (id int)", "the table or index orders exists already (SQLSTATE 42P07)"),
        ("selec 1", "the statement is no valid SQL (SQLSTATE 42601)"),
        (
            "insert into shop.customers values (1, 'x')",
            "shop.customers has a row with the same key already: the unique constraint customers_pkey (SQLSTATE 23505)",
        ),
        (
            f"insert into shop.customers values (2, '{SECRET}')",  # noqa: S608
            "shop.customers has a row with the same key already: the unique constraint customers_email_key "
            "(SQLSTATE 23505)",
        ),
        (
            "insert into shop.customers values (2, null)",
            "the column shop.customers.email takes no null (SQLSTATE 23502)",
        ),
        (
            "insert into shop.customers values (2, 'x', 3)",
            "the check grown_up of shop.customers refuses the row (SQLSTATE 23514)",
        ),
        (
            "insert into shop.customers values (2, 'x', 30, 7)",
            "the check one_to_six of the type grade refuses the value (SQLSTATE 23514)",
        ),
        (
            "insert into parts values (4711)",
            "parts refuses the row: no partition is for it, or a check is not met (SQLSTATE 23514)",
        ),
        (
            "insert into orders values (2, 4711)",
            "the foreign key orders_customer_id_fkey of orders refuses the row: what it refers to is not there, or is "
            "still referred to (SQLSTATE 23503)",
        ),
        (
            "delete from orders",
            "rows of Order Items refer to the row of orders: the foreign key of_an_order keeps it (SQLSTATE 23503)",
        ),
        (
            "delete from shop.customers",
            "rows of orders refer to the row of customers: the foreign key orders_customer_id_fkey keeps it "
            "(SQLSTATE 23001)",
        ),
        (
            "insert into grown values (2, 'x', 20)",
            "the view grown would not show the row, and so refuses it (SQLSTATE 44000)",
        ),
        (
            f"insert into guarded values (1, '{SECRET}')",  # noqa: S608
            "a trigger or function of the database refuses it, in the function refuse (SQLSTATE P0001)",
        ),
        ("select shop.divide(0)", "a division by zero, in the function shop.divide (SQLSTATE 22012)"),
        (
            f"do $$begin raise '{SECRET}' using table = 'orders', constraint = 'ours', errcode = 'AB123'; end$$",
            "a trigger or function of the database refuses it, table orders, constraint ours (SQLSTATE AB123)",
        ),
        (f"select '{SECRET}'::int", "a text is no value of the type integer (SQLSTATE 22P02)"),
        ("select 99999::smallint", "a number is out of the range of its type (SQLSTATE 22003)"),
        ("select '2026-02-30'::date", "a date or time is out of range (SQLSTATE 22008)"),
        (f"select '{SECRET}'::date", "a text is no date or time (SQLSTATE 22007)"),
        (f"select '{SECRET}'::jsonb", "a text is no value of the type json (SQLSTATE 22P02)"),
        ("select substring('a' from 1 for -1)", "a value does not fit its type or function (SQLSTATE 22011)"),
        ("create database x", "the transaction is in a state in which the statement is not taken (SQLSTATE 25001)"),
        (
            "set local statement_timeout = 10; select pg_sleep(5)",
            "the statement took longer than it may: look for what holds it up, or for a missing index (SQLSTATE 57014)",
        ),
        (
            "select pg_cancel_backend(pg_backend_pid()), pg_sleep(5)",
            "somebody cancelled the statement (SQLSTATE 57014)",
        ),
        (
            "select pg_terminate_backend(pg_backend_pid()), pg_sleep(5)",
            "the database connection failed: the connection broke",
        ),
        (
            "set transaction read only; insert into orders values (3)",
            "INSERT writes, and the transaction or the server is read only (SQLSTATE 25006)",
        ),
        (
            "set transaction read only; select nextval('numbers')",
            "nextval() writes, and the transaction or the server is read only (SQLSTATE 25006)",
        ),
        (
            "set transaction read only; select * from orders for update",
            "SELECT FOR UPDATE writes, and the transaction or the server is read only (SQLSTATE 25006)",
        ),
    ],
)
def test_an_error_names_what_is_meant_and_says_what_to_do(connection: Connection, statement: str, words: str) -> None:
    assert told(connection, statement) == words


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("select * from orders", "the table orders: grant select on orders to it"),
        ("delete from orders where id = 1", "the table orders: grant select, delete on orders to it"),
        ("insert into orders values (9)", "the table orders: grant insert on orders to it"),
        (
            "with gone as (delete from orders returning id) select * from gone",
            "the table orders: grant select, delete on orders to it",
        ),
        ("select * from grown", "the view grown: grant select on grown to it"),
        ("select * from closed.orders", "the schema closed: grant usage on schema closed to it"),
        ("select nextval('numbers')", "the sequence numbers: grant usage on sequence numbers to it"),
    ],
)
def test_a_missing_right_is_named_with_the_grant_that_gives_it(
    connection: Connection, statement: str, words: str
) -> None:
    connection.exec_driver_sql("set local role clerk")
    assert told(connection, statement) == f"this role may not use {words} (SQLSTATE 42501)"


def test_row_security_and_ownership_are_told_apart_from_rights(connection: Connection) -> None:
    connection.exec_driver_sql("set local role clerk; set local row_security = off; savepoint here")
    assert told(connection, "select * from locked_away") == (
        "row security on locked_away hides rows from this role, or refuses them: give the role BYPASSRLS or a policy "
        "for all rows (SQLSTATE 42501)"
    )
    connection.exec_driver_sql("rollback to here")
    assert told(connection, "drop table orders") == "this role is not the owner of the table orders (SQLSTATE 42501)"


def test_who_waits_in_vain_for_a_lock_is_told_where(shop: Engine, connection: Connection) -> None:
    with shop.begin() as other:
        other.exec_driver_sql("update orders set at = now()")
        assert told(connection, "set local lock_timeout = 20; delete from orders") == (
            "another session held a lock in orders for longer than is waited: try again, or see who holds it in "
            "pg_locks (SQLSTATE 55P03)"
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"database": "nothing"}, "the database nothing does not exist on this server (SQLSTATE 3D000)"),
        ({"username": "nobody"}, "the role nobody does not exist there, or may not sign in (SQLSTATE 28000)"),
        (
            {"query": {"unix_sock": "/nowhere/.s.PGSQL.1"}},
            "the database connection failed: there is no socket at this path",
        ),
        (
            {"host": "127.0.0.1", "port": 1, "query": {}},
            "the database connection failed: nothing listens at this host and port",
        ),
        (
            {"host": "no-such-host.invalid", "query": {}},
            "the database connection failed: the name of this host is not known",
        ),
    ],
)
def test_a_connection_that_fails_says_why(shop: Engine, change: dict[str, object], words: str) -> None:
    address = DatabaseSettings(shop.url.set(**change))  # type: ignore[arg-type]
    with pytest.raises(DBAPIError) as caught, session_for(address, seconds=5):
        pass
    assert describe(caught.value) == words


def test_a_server_without_tls_is_told_in_words(postgres: PostgresServer) -> None:
    asking = DatabaseSettings(postgres.tcp_url(), sslmode="require")
    with pytest.raises(DBAPIError) as caught, session_for(asking, seconds=5):
        pass
    assert describe(caught.value) == (
        "the database connection failed: the server offers no TLS, and without it nobody connects over a network"
    )


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_wrong_password_is_told_with_the_role(postgres: PostgresServer, password: str | None) -> None:
    address = DatabaseSettings(postgres.tcp_url()._replace(password=password))
    with pytest.raises(DBAPIError) as caught, session_for(address, seconds=5):
        pass
    assert describe(caught.value) == "the password of the role postgres is wrong, or it has none (SQLSTATE 28P01)"
