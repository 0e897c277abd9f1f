"""The watch from outside: what a monitor hears, over real HTTP, of a deployment that works and of one that does not."""

import datetime as dt
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from functions.platform import watch
from nightshift.declaration import Deployment
from nightshift.operations import WatchError, answer, look, ping
from tests.integration.conftest import Context

Heard = list[tuple[str, str]]


class Monitor(ThreadingHTTPServer):
    """A monitor in the manner of healthchecks.io. It keeps the path and the body of what it hears."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Listener)
        self.heard: Heard = []
        self.refusing = 0
        """How many requests it refuses from now on."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/ping/11111111"


class Listener(BaseHTTPRequestHandler):
    server: Monitor

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        refused = self.server.refusing > 0
        self.server.refusing -= refused
        if not refused:
            self.server.heard.append((self.path, body))
        self.send_response(503 if refused else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with Monitor() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def asked(session: Session, monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch, with the console's own code in the place of its function."""
    monkeypatch.setenv("NIGHTSHIFT_PING_URL", monitor.url)

    def ask() -> dict[str, Any]:
        session.rollback()
        return answer(session, Deployment(()), {"query": "health"}, now=dt.datetime.now(dt.UTC))

    monkeypatch.setattr(watch, "_ask", ask)


def supervised(session: Session, ago: str) -> None:
    session.execute(text("delete from nightshift.signs_of_life"))
    sign = "insert into nightshift.signs_of_life values ('supervisor', clock_timestamp() - cast(:ago as interval))"
    session.execute(text(sign), {"ago": ago})
    session.commit()


@pytest.mark.usefixtures("asked")
def test_a_monitor_hears_start_and_success_and_notices_a_supervisor_that_has_stopped(
    session: Session, monitor: Monitor
) -> None:
    supervised(session, "1 minute")
    watch.handler({}, Context(50))
    assert [path for path, _ in monitor.heard] == ["/ping/11111111/start", "/ping/11111111"]
    assert monitor.heard[-1][1] == "all jobs have succeeded lately"

    supervised(session, "6 minutes")
    with pytest.raises(WatchError, match="the supervisor has not looked over the ledger since 2"):
        watch.handler({}, Context(50))
    assert [path for path, _ in monitor.heard[2:]] == ["/ping/11111111/start", "/ping/11111111/fail"]
    assert "the supervisor has not looked" in monitor.heard[-1][1]

    supervised(session, "10 seconds")
    watch.handler({}, Context(50))
    assert monitor.heard[-1][0] == "/ping/11111111"


@pytest.mark.usefixtures("asked")
def test_a_monitor_that_is_away_is_no_failure_of_the_deployment(session: Session, monitor: Monitor) -> None:
    supervised(session, "1 minute")
    monitor.refusing = 1
    watch.handler({}, Context(50))
    assert [path for path, _ in monitor.heard] == ["/ping/11111111/start", "/ping/11111111"], "tried again"
    monitor.refusing = 100
    assert watch.handler({}, Context(50))["found"]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"status": "not_ready", "reason": "the database does not answer: gone"}, "the database does not answer: gone"),
        ({"error": "the payload must be"}, "the payload must be"),
        ({"status": "ready", "supervisor": {"last_round": None, "silent": True}, "jobs": []}, "ledger yet"),
        ({"status": "ready", "jobs": []}, "ledger yet"),
        ({}, "the console gave no answer"),
    ],
)
def test_what_is_wrong_with_the_whole_is_said(told: dict[str, Any], reason: str) -> None:
    with pytest.raises(WatchError, match=reason):
        look(told)


def test_a_job_that_has_not_succeeded_lately_is_named_and_hides_no_silent_supervisor() -> None:
    supervisor = {"last_round": "2026-03-01T00:00:00Z", "silent": False}
    jobs = [{"job": "backup", "status": "degraded"}, {"job": "report", "status": "healthy"}]

    assert look({"status": "ready", "supervisor": supervisor, "jobs": jobs}) == "no success lately: backup"
    with pytest.raises(WatchError):
        look({"status": "ready", "supervisor": {**supervisor, "silent": True}, "jobs": jobs})


def test_an_address_with_a_query_keeps_it(monitor: Monitor) -> None:
    ping(f"{monitor.url}/?create=1", "fail", "why")
    ping(f"http://127.0.0.1:{monitor.server_port}", "success")

    assert monitor.heard == [("/ping/11111111/fail?create=1", "why"), ("/", "")]


def test_without_a_monitor_nobody_is_pinged(session: Session, asked: None, monitor: Monitor) -> None:
    supervised(session, "1 minute")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NIGHTSHIFT_PING_URL")
        watch.handler({}, Context(50))
    assert monitor.heard == []


def test_an_answer_that_is_an_error_of_the_function_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Functions:
        def invoke(self, **_: Any) -> dict[str, Any]:
            class Payload:
                def read(self) -> bytes:
                    return json.dumps({"errorType": "Runtime.ExitError"}).encode()

            return {"FunctionError": "Unhandled", "Payload": Payload()}

    monkeypatch.setenv("NIGHTSHIFT_CONSOLE", "nightshift-console")
    monkeypatch.setattr("boto3.client", lambda *_, **__: Functions())

    with pytest.raises(WatchError, match=r"the console ended with Runtime\.ExitError"):
        watch.handler({}, Context(50))
