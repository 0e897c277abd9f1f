"""Connections as a function makes them: encrypted or not at all, in UTC, with every wait bounded."""

import time
from decimal import Decimal
from typing import Any

import pytest
from pg8000 import legacy
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError

from local.postgres import PostgresServer
from nightshift.database import DatabaseSettings, session_for
from nightshift.database.driver import Connection


def settings(database: Engine) -> DatabaseSettings:
    return DatabaseSettings.from_mapping({"url": database.url.render_as_string(hide_password=False)})


def over_tcp(postgres: PostgresServer, host: str, sslmode: str = "") -> DatabaseSettings:
    url = postgres.tcp_url().set(host=host, query={"sslmode": sslmode} if sslmode else {})
    return DatabaseSettings.from_mapping({"url": url.render_as_string(hide_password=False)})


@pytest.mark.parametrize(("host", "sslmode"), [("0.0.0.0", ""), ("127.0.0.1", "require")])  # noqa: S104 - an address
def test_a_server_without_tls_is_refused(postgres: PostgresServer, host: str, sslmode: str) -> None:
    """Linux connects 0.0.0.0 to itself, so it stands for any address that is not loopback."""
    with pytest.raises(InterfaceError, match="SSL"), session_for(over_tcp(postgres, host, sslmode), seconds=5):
        pass


@pytest.mark.parametrize(("host", "sslmode"), [("127.0.0.1", ""), ("localhost", "prefer")])
def test_on_a_loopback_address_no_tls_is_asked(postgres: PostgresServer, host: str, sslmode: str) -> None:
    with session_for(over_tcp(postgres, host, sslmode), seconds=5) as session:
        assert session.scalar(text("select ssl from pg_stat_ssl where pid = pg_backend_pid()")) is False


def test_every_statement_is_bounded_by_the_time_that_is_left(database: Engine) -> None:
    with session_for(settings(database), seconds=1) as session, pytest.raises(DBAPIError, match="57014"):
        session.execute(text("select pg_sleep(30)"))


def test_the_session_is_in_utc_and_says_whose_it_is(database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(text(f"alter database {database.url.database} set timezone to 'Pacific/Auckland'"))
    with session_for(settings(database), seconds=30, application_name="nightshift/some-job") as session:
        names = ("TimeZone", "application_name", "lock_timeout")
        shown = [session.scalar(text("select current_setting(:name)"), {"name": name}) for name in names]
    assert shown == ["UTC", "nightshift/some-job", "10s"]


def test_one_session_keeps_one_connection_over_its_transactions(database: Engine) -> None:
    with session_for(settings(database), seconds=30) as session:
        backends = set()
        for _ in range(3):
            with session.begin():
                backends.add(session.scalar(text("select pg_backend_pid()")))
    assert len(backends) == 1


def test_a_password_that_is_asked_for_and_not_given_is_a_refusal_of_the_database(postgres: PostgresServer) -> None:
    url = f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres"
    with (
        pytest.raises(DBAPIError, match="28P01"),
        session_for(DatabaseSettings.from_mapping({"url": url}), seconds=5),
    ):
        pass


def test_a_connection_ends_although_the_driver_does_not_close_it(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that is on its way holds what the driver would close."""
    with session_for(settings(database), seconds=5, application_name="left open") as session:
        held: Any = session.connection().connection.dbapi_connection
        monkeypatch.setattr(held, "close", lambda: None)
    there = text("select count(*) from pg_stat_activity where application_name = 'left open'")
    end = time.monotonic() + 10
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while connection.scalar(there):
            assert time.monotonic() < end, "the server still has the connection"
            time.sleep(0.01)
    held._sock.close()
    held._usock.close()


def outcome(connection: Any, statement: str, values: tuple[Any, ...]) -> object:
    """What a statement gives, or the code of its refusal, and that the connection is in order afterwards."""
    cursor = connection.cursor()
    try:
        cursor.execute(statement, values)
        found: object = (cursor.rowcount, cursor.description and cursor.fetchall())
    except legacy.ProgrammingError as refused:
        found = refused.args[0]["C"]
        connection.rollback()
    cursor.execute("select %s::int", (7,))
    assert cursor.fetchone() == [7]
    return found


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("select %s::int + 1, null, %s::text", (1, None)),
        ("select i from generate_series(1, %s) i", (2000,)),
        ("create temp table here as select i from generate_series(1, %s::int) i", (5,)),
        ("-- nothing %s", (None,)),
        ("selec %s", (1,)),
        ("select %s::int / 0", (1,)),
        ("select cast(%s as timestamptz)", ("no time",)),
        ("select 1 where 1 / (i - 3) = %s from generate_series(1, 9) i", (1,)),
        ("select 1 / (i - 1500) + %s from generate_series(1, 2000) i", (1,)),
    ],
)
def test_a_statement_takes_one_way_there_and_back_and_gives_what_the_driver_gives(
    postgres: PostgresServer, statement: str, values: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"user": "postgres", "unix_sock": str(postgres.socket), "ssl_context": False}
    expected, given = legacy.Connection(**asked), Connection(**asked)
    answers: list[str] = []

    def wait(answer: Any) -> None:
        answers.append(answer.statement)
        Connection.handle_messages(given, answer)

    monkeypatch.setattr(given, "handle_messages", wait)
    try:
        assert outcome(given, statement, values) == outcome(expected, statement, values)
        assert len([each for each in answers if not each.startswith(("begin transaction", "rollback"))]) == 2
    finally:
        expected.close()
        given.close()


def test_a_transaction_begins_along_with_its_first_statement(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = Connection(user="postgres", unix_sock=str(postgres.socket), ssl_context=False)
    answers: list[str] = []

    def wait(answer: Any) -> None:
        answers.append(answer.statement)
        Connection.handle_messages(connection, answer)

    monkeypatch.setattr(connection, "handle_messages", wait)
    try:
        cursor = connection.cursor()
        cursor.execute("create temp table here as select i from generate_series(1, 5) i")
        cursor.execute("select i from here where i > %s", (3,))
        assert cursor.fetchall() == ([4], [5])
        connection.rollback()
        assert [each.split()[0] for each in answers] == ["begin", "select", "rollback"]
        with pytest.raises(legacy.ProgrammingError, match="here"):
            cursor.execute("select i from here")
    finally:
        connection.close()


ODD = {
    "time '24:00'": "24:00:00",
    "interval 'infinity'": "infinity",
    "array[1, 2]::int[]": [1, 2],
    "'[0:1]={1,2}'::int[]": "[0:1]={1,2}",
    "json '[5]'": [5],
    f"json '{'9' * 5000}'": "9" * 5000,
    f"jsonb '{'[' * 3000}{']' * 3000}'": "[" * 3000 + "]" * 3000,
    "numeric 'NaN'": Decimal("NaN"),
}


def test_what_python_cannot_hold_arrives_as_text_and_the_next_answer_is_that_to_the_next_question(
    database: Engine,
) -> None:
    with session_for(settings(database), seconds=30) as session:
        for number, (value, held) in enumerate(ODD.items()):
            given, after = session.execute(text(f"select {value}, {number} + :zero"), {"zero": 0}).one()
            assert (str(given), after) == (str(held), number)
            assert session.scalar(text("select 7 + :number"), {"number": number}) == 7 + number


@pytest.mark.parametrize("statement", ["selec :value", "select cast(:value as text)"])
def test_a_value_that_cannot_be_sent_leaves_the_connection_in_order(database: Engine, statement: str) -> None:
    with session_for(settings(database), seconds=5) as session:
        with pytest.raises(UnicodeEncodeError):
            session.execute(text(statement), {"value": "\ud800"})
        session.rollback()
        assert session.scalar(text("select 7 + :number"), {"number": 1}) == 8


def test_percent_signs_mean_what_they_mean_to_the_database(database: Engine) -> None:
    with session_for(settings(database), seconds=5) as session:
        assert session.execute(text("select 7 % 4, 'a%s%%'")).one() == (3, "a%s%%")
        assert session.execute(text("select 7 % :four, 'a%s%%'"), {"four": 4}).one() == (3, "a%s%%")
        assert session.connection().exec_driver_sql("select 7 % 4, 'a%s%%'").one() == (3, "a%s%%")
