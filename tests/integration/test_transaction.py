"""The transaction is ours: what every one begins with, what is sent besides, and a real pooler in between."""

import datetime as dt
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pg8000.core import CoreConnection
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from local.postgres import PostgresServer
from nightshift.database import DatabaseSettings, session_for
from nightshift.database.transaction import FIXED, transaction
from nightshift.ledger.dials import dials_query
from tests.integration.tables.conftest import (
    Call,
    call as call,
    deletion,
    library_only as library_only,
    made as made,
    rows,
)

THINGS = (
    "create table things (id int primary key, at timestamptz); create index on things (at);"
    "insert into things select i, timestamptz '2025-12-01Z' from generate_series(1, 500) i"
)
FIRST = "begin transaction; set transaction isolation level "
MEANT = {
    **{"DateStyle": "ISO, YMD", "IntervalStyle": "postgres", "TimeZone": "UTC", "client_encoding": "UTF8"},
    **{"bytea_output": "hex", "extra_float_digits": "1", "search_path": "public", "row_security": "off"},
    **{"standard_conforming_strings": "on", "array_nulls": "on", "transform_null_equals": "off"},
}
LIMITS = {"lock_timeout": 8_000, "statement_timeout": 8_000, "idle_in_transaction_session_timeout": 13_000}
"""Milliseconds at most."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that goes to the server, in order."""
    statements: list[str] = []
    for name in ("send_QUERY", "send_PARSE"):
        original = getattr(CoreConnection, name)

        def record(self: Any, *arguments: Any, original: Any = original) -> Any:
            statements.append(next(str(each) for each in arguments if isinstance(each, str)))
            return original(self, *arguments)

        monkeypatch.setattr(CoreConnection, name, record)
    return statements


def settings(engine: Engine) -> DatabaseSettings:
    return DatabaseSettings.from_mapping({"url": engine.url.render_as_string(hide_password=False)})


def test_every_transaction_begins_with_its_settings_and_none_is_set_for_the_session(
    made: Any, call: Call, sent: list[str]
) -> None:
    database = made(THINGS)
    sent.clear()
    call(database, deletion("things"), dry_run=True)
    call(database, deletion("things"))

    ours = sent[sent.index(next(each for each in sent if each.startswith(FIRST))) :]
    assert [each for each in ours if each.lower().startswith("begin") and not each.startswith(FIRST)] == []
    ended = [place for place, each in enumerate(ours[:-1]) if each in ("commit", "rollback")]
    assert ended
    assert [ours[place + 1] for place in ended if not ours[place + 1].startswith(FIRST)] == []
    lowered = [each.lower() for each in ours]
    assert [each for each in lowered if "set session" in each or ("set_config(" in each and "false" in each)] == []
    parts = [part.strip() for each in lowered if each.startswith(("set ", FIRST)) for part in each.split(";")]
    allowed = ("begin transaction", "set local ", "set transaction ", "set constraints ")
    assert [part for part in parts if not part.startswith(allowed)] == [
        part for part in parts if part == dials_query("forget")
    ], "but for the dials, which a batch reads with its first message"
    # A value that had to be cast from text would be cast again for every row.
    assert [each for each in ours if "things" in each and "CAST($" in each] == []


def test_what_the_first_query_says_holds(made: Any) -> None:
    with session_for(settings(made(THINGS)), seconds=8, grace=5) as session:
        for name, value in (FIXED | MEANT).items():
            assert session.scalar(text("select current_setting(:name)"), {"name": name}) == value
        for name, most in LIMITS.items():
            shown = session.scalar(
                text("select cast(setting as int) from pg_settings where name = :name"), {"name": name}
            )
            assert most - 3_000 < shown <= most, name
        session.rollback()
        with transaction(session, isolation="repeatable read", read_only=True):
            assert session.scalar(text("show transaction_isolation")) == "repeatable read"
            with pytest.raises(DBAPIError, match="25006"), session.begin_nested():
                session.execute(text("delete from things"))


def test_dates_that_python_cannot_hold_arrive_as_text(made: Any) -> None:
    with session_for(settings(made(THINGS)), seconds=30) as session:
        given = "'2026-03-01 02:00Z', 'infinity', '-infinity', '20260-01-01Z', '0044-03-15 BC', '2026-01-12'"
        row = session.execute(text(f"select * from unnest(cast(array[{given}] as timestamptz[]))")).scalars().all()  # noqa: S608
        day = session.execute(text("select date '20260-01-01', date '2026-01-12', timestamp 'infinity'")).one()
    assert row == [
        dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC),
        *("infinity", "-infinity", "20260-01-01 00:00:00+00", "0044-03-15 00:00:00+00 BC"),
        dt.datetime(2026, 1, 12, tzinfo=dt.UTC),
    ]
    assert tuple(day) == ("20260-01-01", dt.date(2026, 1, 12), "infinity")


@pytest.fixture(params=["transaction", "session"])
def pooled(request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path_factory: Any) -> Iterator[Any]:
    """A real PgBouncer before the server: `pooled(engine)` gives the same database through it."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("needs pgbouncer: apt-get install pgbouncer")
    folder = Path(tmp_path_factory.mktemp("bouncer"))
    port = postgres.port
    (folder / "users.txt").write_text(f'"postgres" "{postgres.password}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={port} user=postgres password={postgres.password}\n[pgbouncer]\n"
        f"listen_addr =\nlisten_port = 6432\nunix_socket_dir = {folder}\nauth_type = any\n"
        f"pool_mode = {request.param}\ndefault_pool_size = 2\nlogfile = {folder}/log\n"
    )
    for path in (folder, *folder.iterdir()):
        path.chmod(0o777)
    for above in list(folder.parents)[:-2]:
        above.chmod(above.stat().st_mode | 0o055)
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([program, "-q", *user, str(folder / "pgbouncer.ini")])
    try:
        deadline = time.monotonic() + 10
        while not (folder / ".s.PGSQL.6432").exists():
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.02)

        def through(engine: Engine) -> Engine:
            url = engine.url.set(query={"unix_sock": str(folder / ".s.PGSQL.6432")})
            return create_engine(url, poolclass=NullPool, connect_args={"ssl_context": False})

        yield through
    finally:
        process.terminate()
        process.wait(10)


def test_a_run_goes_through_a_pooler_and_leaves_nothing_set_behind_it(made: Any, call: Call, pooled: Any) -> None:
    database = made(THINGS)
    through = pooled(database)

    result = call(through, deletion("things"))

    assert (result["outcome"], result["counters"]["deleted"], rows(database, "things")) == ("succeeded", 500, 0)
    with through.connect() as connection:
        kept = [
            connection.scalar(text(f"show {name}")) for name in ("row_security", "statement_timeout", "lock_timeout")
        ]
    assert kept == ["on", "0", "0"]
