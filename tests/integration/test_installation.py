"""What the console says of an installation, from a real PostgreSQL."""

import datetime as dt
import json
import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from sqlalchemy import Engine, delete, text
from sqlalchemy.orm import Session

from functions.platform.console import handler
from local.postgres import PostgresServer
from nightshift.database import DatabaseSettings, session_for
from nightshift.database.migrations import revisions
from nightshift.declaration import Deployment, this_project
from nightshift.environment import DATABASE_VARIABLE, DEPLOYMENT_VARIABLE, TABLES_VARIABLE
from nightshift.ledger import SUPERVISOR, RegisteredJob, RunRecord
from nightshift.ledger.pauses import pause_all
from nightshift.ledger.upkeep import note_alive
from nightshift.operations import answer
from tests.integration.conftest import Context

DAILY, OTHER = "abandoned-carts", "removed-items"
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
BEFORE, NEWEST = sorted(revisions())[-2:]
"""The last two of the library's own migrations."""


@pytest.fixture(autouse=True)
def with_every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TABLES_VARIABLE, "create")


def ask(session: Session, part: str, deployment: Deployment | None = None) -> dict[str, Any]:
    """A part of the console's answer."""
    now = dt.datetime.now(dt.UTC)
    told = answer(session, deployment or Deployment(), {"query": "installation"}, now=now)
    found: dict[str, Any] = told[part]
    return found


def register(session: Session, job: str, *, accounted_until: dt.datetime, **facts: Any) -> None:
    session.add(RegisteredJob(name=job, registered_at=accounted_until, accounted_until=accounted_until, **facts))
    session.commit()


def add_run(session: Session, job: str, state: str, *, begun: bool, **facts: Any) -> None:
    now = dt.datetime.now(dt.UTC)
    given = {
        "id": uuid.uuid4(),
        "job": job,
        "scheduled_for": now - HOUR,
        "trigger": "schedule",
        "state": state,
        "max_attempts": 3,
        "started_at": now if begun else None,
        "epoch": int(begun),
        "finished_at": now,
    }
    session.add(RunRecord(**{**given, **facts}))
    session.commit()


def never_begun(session: Session, deployment: Deployment | None = None) -> dict[str, Any]:
    found = ask(session, "never_begun", deployment)["jobs"]
    return {each["job"]: (each["due"], each["ended"]) for each in found if each["registered_at"]}


def test_the_console_answers_with_every_part_and_each_can_be_read(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = database.url.render_as_string(hide_password=False)
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": url}))
    monkeypatch.setenv(DEPLOYMENT_VARIABLE, Deployment().as_json())

    told = json.loads(json.dumps(handler({"query": "installation"}, Context(30))))

    assert set(told) == {"connection", "migrations", "clocks", "supervisor", "pauses", "never_begun"}
    assert [part for part, found in told.items() if "unread" in found] == []
    assert told["connection"]["version"].startswith("1")
    assert {**told["connection"], "version": ""} == {
        "version": "",
        "leaves": False,
        "protocol": None,
        "expires": None,
        "server": False,
    }
    assert told["supervisor"] == {"last_round": None, "silent": True}


def stands_at(session: Session, revision: str) -> None:
    """Let the database say that this is the newest of the library's migrations that it has."""
    at = text("update nightshift.alembic_version set version_num = :revision where version_num like 'nightshift%'")
    session.execute(at, {"revision": revision})
    session.commit()


def test_a_database_that_is_up_to_date_behind_or_ahead(session: Session) -> None:
    found = ask(session, "migrations")
    assert (found["pending"], found["ahead"], found["applied"] > 1) == ([], [], True)

    stands_at(session, BEFORE)
    assert ask(session, "migrations")["pending"] == [NEWEST]

    stands_at(session, "nightshift_9999")
    found = ask(session, "migrations")
    assert (found["pending"], found["ahead"]) == ([], ["nightshift_9999"])


def test_migrations_of_which_nobody_knows_are_refused_in_words(session: Session) -> None:
    stands_at(session, BEFORE)
    session.execute(text("insert into nightshift.alembic_version values ('nightshift_9999')"))
    session.commit()

    assert "which this code does not know" in ask(session, "migrations")["refused"]


def test_tables_that_the_deployment_does_not_ask_for_are_not_pending(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_tables = set(this_project().branches(tables=True)) - set(this_project().branches(tables=False))
    session.execute(text("delete from nightshift.alembic_version where version_num not like 'nightshift%'"))
    session.commit()
    asked_for = ask(session, "migrations")["pending"]

    monkeypatch.setenv(TABLES_VARIABLE, "existing")

    assert len(asked_for) - len(ask(session, "migrations")["pending"]) >= len(of_tables)


def test_the_databases_clock_is_read_between_two_looks_at_the_functions_own(session: Session) -> None:
    found = ask(session, "clocks")

    before, database, after = (dt.datetime.fromisoformat(found[key]) for key in ("before", "database", "after"))
    millisecond = dt.timedelta(milliseconds=1)
    assert before - millisecond <= database <= after + millisecond  # one machine, one clock
    assert abs(dt.datetime.now(dt.UTC) - before) < dt.timedelta(minutes=1)


def test_the_supervisors_last_round(session: Session) -> None:
    note_alive(session, SUPERVISOR)
    session.commit()

    found = ask(session, "supervisor")

    assert (found["silent"], found["last_round"] is None) == (False, False)


def test_pauses_of_one_job_and_of_all(session: Session) -> None:
    now = dt.datetime.now(dt.UTC)
    register(session, DAILY, accounted_until=now, paused_at=now, paused_by="Ada", pause_reason="audit")
    assert {job: each["by"] for job, each in ask(session, "pauses")["jobs"].items()} == {DAILY: "Ada"}

    pause_all(session, now, "Bob", "move", None)
    session.commit()

    found = ask(session, "pauses")["jobs"]
    assert (found[DAILY]["by"], found[OTHER]["by"], found[OTHER]["all"]) == ("Ada", "Bob", True)


def test_a_job_that_was_due_and_has_no_run_has_never_begun(session: Session) -> None:
    now = dt.datetime.now(dt.UTC)
    register(session, DAILY, accounted_until=now - 2 * DAY)
    register(session, OTHER, accounted_until=now)

    found = never_begun(session)

    due = dt.datetime.fromisoformat(found[DAILY][0])
    assert now - 2 * DAY < due < now - DAY
    assert found[DAILY][1] == {}
    assert found[OTHER] == (None, {})


def test_an_occurrence_has_four_minutes_to_be_found(session: Session) -> None:
    now = dt.datetime.now(dt.UTC)
    minute = now.replace(second=0, microsecond=0)
    for minutes, due in ((2, False), (6, True)):
        at = minute - dt.timedelta(minutes=minutes)
        deployment = Deployment(changes={DAILY: {"schedule": f"cron({at.minute} {at.hour} * * ? *)"}})
        session.execute(delete(RegisteredJob))
        register(session, DAILY, accounted_until=at - dt.timedelta(minutes=1))

        assert (never_begun(session, deployment)[DAILY][0] is not None) == due


def test_only_a_run_that_began_counts_and_the_others_are_told_by_state(session: Session) -> None:
    now = dt.datetime.now(dt.UTC)
    register(session, DAILY, accounted_until=now)
    for hours, state in enumerate(("missed", "missed", "paused")):
        add_run(session, DAILY, state, begun=False, scheduled_for=now - hours * HOUR)
    add_run(session, DAILY, "planned", begun=True, mode="plan")
    assert never_begun(session)[DAILY] == (None, {"missed": 2, "paused": 1})

    add_run(session, DAILY, "failed", begun=True, scheduled_for=now - 9 * HOUR)

    assert DAILY not in never_begun(session)


def test_a_job_that_is_disabled_or_has_a_new_schedule_has_missed_nothing(session: Session) -> None:
    register(session, DAILY, accounted_until=dt.datetime.now(dt.UTC) - 2 * DAY, schedule="cron(0 4 ? * MON *)")
    assert never_begun(session)[DAILY] == (None, {})

    disabled = Deployment(changes={DAILY: {"enabled": False}})

    assert DAILY not in never_begun(session, disabled)


def test_a_job_that_the_ledger_does_not_know_says_so(session: Session) -> None:
    found = {each["job"]: each["registered_at"] for each in ask(session, "never_begun")["jobs"]}

    assert found[DAILY] is None


def test_a_part_that_cannot_be_read_hides_no_other(session: Session) -> None:
    session.execute(text("drop table nightshift.signs_of_life"))
    session.commit()

    told = answer(session, Deployment(), {"query": "installation"}, now=dt.datetime.now(dt.UTC))

    assert "42P01" in told["supervisor"]["unread"]
    assert [part for part, found in told.items() if "unread" in found] == ["supervisor"]


@contextmanager
def proxy(server: PostgresServer, certificate: trustme.LeafCert) -> Iterator[int]:
    """A proxy on a port of its own, with TLS before it and none behind, as PgBouncer can be set."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_serve_once, args=(listening, context, server.port), daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(5)


def _serve_once(listening: socket.socket, context: ssl.SSLContext, port: int) -> None:
    plain, _ = listening.accept()
    plain.recv(8)  # asks for TLS
    plain.sendall(b"S")
    with (
        context.wrap_socket(plain, server_side=True) as client,
        socket.create_connection(("127.0.0.1", port)) as behind,
    ):
        back = threading.Thread(target=_copy, args=(behind, client), daemon=True)
        back.start()
        _copy(client, behind)
        back.join(5)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_the_connection_tells_its_tls_the_certificates_end_and_that_none_is_behind_the_proxy(
    postgres: PostgresServer, database: Engine, tmp_path: Path
) -> None:
    expires = dt.datetime.now(dt.UTC).replace(microsecond=0) + 40 * DAY
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with proxy(postgres, authority.issue_cert("127.0.0.1", not_after=expires)) as port:
        url = postgres.tcp_url(str(database.url.database)).set(port=port, query={"sslmode": "verify-full"})
        given = {"url": url.render_as_string(hide_password=False), "ca_file": str(tmp_path / "ca.pem")}
        with session_for(DatabaseSettings.from_mapping(given), seconds=10) as session:
            found = ask(session, "connection")

    assert found["protocol"] == "TLSv1.3"
    assert dt.datetime.fromisoformat(found["expires"]) == expires
    assert (found["server"], found["leaves"]) == (False, False)
