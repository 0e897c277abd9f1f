"""Connections as a function makes them: encrypted or not at all, in UTC, with every wait bounded."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError

from local.postgres import PostgresServer
from nightshift.database import DatabaseSettings, session_for


def settings(database: Engine) -> DatabaseSettings:
    return DatabaseSettings.from_mapping({"url": database.url.render_as_string(hide_password=False)})


def test_a_server_without_tls_is_refused_over_the_network(postgres: PostgresServer) -> None:
    address = DatabaseSettings.from_mapping({"url": postgres.tcp_url().render_as_string(hide_password=False)})
    with pytest.raises(InterfaceError, match="SSL"), session_for(address, seconds=5):
        pass


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
