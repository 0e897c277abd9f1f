"""The database goes away in the middle of a run: the attempt connects again, and the run goes on as if nothing was."""

import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sqlalchemy import Engine, NullPool, create_engine, make_url, text
from sqlalchemy.orm import Session

from local.postgres import PostgresServer
from nightshift import Execution, Function, Job, Policy, ledger
from nightshift.database import migrations
from nightshift.declaration import Deployment
from nightshift.environment import DATABASE_VARIABLE
from nightshift.errors import DatabaseAwayError, RunFailedError, UnclaimedError
from nightshift.operations import look_over
from nightshift.runtime import invoke, reach
from tests.ground.application.project import project
from tests.integration.conftest import Context, Invoke, scheduled
from tests.integration.test_ledger import carts, retention

AT = "2026-03-01T02:00:00Z"

Work = Callable[[Execution], None]


def of_batches(number: int, between: Callable[[int, Execution], None], **declared: Any) -> Job:
    """A job of so many batches. `between(n, execution)` is called in the middle of the n-th one."""

    def apply(execution: Execution) -> None:
        for n in range((execution.position or {"done": 0})["done"] + 1, number + 1):
            with execution.batch() as batch:
                batch.session.execute(text("insert into carts (note) values (:note)"), {"note": str(n)})
                between(n, execution)
                batch.count(done=1)
                batch.position = {"done": n}

    step = Function(name="work", apply=apply, plan=lambda session, run: [], counters=("done",), changes=("done",))
    named: dict[str, Any] = {"name": "work", "kind": "retention", "schedule": "cron(0 2 * * ? *)"} | declared
    return Job(steps=(step,), audited=False, **named)


class Restarted:
    """A server of its own that a test may stop and start, and a role that may connect once only."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._kept = threading.Event()

    @property
    def address(self) -> str:
        return f"postgresql://worker:secret@127.0.0.1:{self.server.port}/outages"

    @contextmanager
    def session(self) -> Iterator[Session]:
        engine = create_engine(self.server.url("outages"), poolclass=NullPool)
        with Session(engine) as session:
            yield session

    def away(self, seconds: float) -> None:
        """Stop the server, and start it again after so many seconds."""
        self.server.stop()
        if not seconds:
            self.server.start()
            return

        def back() -> None:
            time.sleep(seconds)
            self.server.start()
            self._kept.wait()  # the kernel stops the server with the thread that started it

        threading.Thread(target=back, daemon=True).start()

    def let_go(self) -> None:
        self._kept.set()


@pytest.fixture(scope="module")
def restarted() -> Iterator[Restarted]:
    with tempfile.TemporaryDirectory(prefix="nightshift-outages-") as folder:
        Path(folder).chmod(0o755)
        with PostgresServer(Path(folder, "data")) as server:
            administration = create_engine(server.url(), isolation_level="AUTOCOMMIT", poolclass=NullPool)
            with administration.connect() as connection:
                connection.execute(text("create role worker login password 'secret' connection limit 1"))
                connection.execute(text("create database outages owner worker"))
            found = Restarted(server)
            migrations.upgrade(
                create_engine(found.address.replace("postgresql", "postgresql+pg8000"), poolclass=NullPool),
                project.branches(tables=True),
            )
            yield found
            found.let_go()


@pytest.fixture
def there(restarted: Restarted, monkeypatch: pytest.MonkeyPatch) -> Restarted:
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": restarted.address}))
    with restarted.session() as session, session.begin():
        session.execute(text("truncate nightshift.runs, carts cascade"))
    return restarted


@pytest.mark.parametrize("seconds", [0, 2])
def test_a_run_goes_on_after_a_restart_of_the_database(there: Restarted, seconds: float) -> None:
    stopped: list[int] = []

    def restart(n: int, _: Execution) -> None:
        if n == 2 and not stopped:
            stopped.append(n)
            there.away(seconds)

    started = time.monotonic()
    result = invoke(of_batches(3, restart), scheduled(AT), Context(60))

    assert time.monotonic() - started < seconds + 10
    assert (result["outcome"], result["counters"]["done"], result["counters"]["batches"]) == ("succeeded", 3, 3)
    with there.session() as session:
        assert session.scalars(text("select note from carts order by note")).all() == ["1", "2", "3"]
        assert session.scalar(text("select attempts from nightshift.runs")) == 1, "no attempt was used up"
        attempts = session.execute(text("select ending, error from nightshift.attempts order by epoch")).all()
    assert [ending for ending, _ in attempts] == ["lost", "finished"]
    assert "database connection failed" in attempts[0][1] or "57P01" in attempts[0][1], "and it is told why"


def test_a_run_goes_on_when_a_failover_has_left_it_a_server_that_only_reads(invoke_job: Invoke) -> None:
    """As one that was the writer does until it has gone: the address leads to the new one."""
    failed_over: list[int] = []

    def fail_over(n: int, execution: Execution) -> None:
        if n == 2 and not failed_over:
            failed_over.append(n)
            execution.session.execute(text("set transaction read only"))

    result = invoke_job(of_batches(3, fail_over), scheduled(AT))

    assert failed_over == [2]
    assert (result["outcome"], result["counters"]["done"]) == ("succeeded", 3)


@pytest.mark.parametrize("seconds", [0.5, 3])
def test_an_invocation_that_begins_in_an_outage_waits_for_its_end(there: Restarted, seconds: float) -> None:
    there.away(seconds)
    started = time.monotonic()
    result = invoke(of_batches(2, lambda n, _: None), scheduled(AT), Context(60))
    assert time.monotonic() - started < seconds + 10
    assert (result["outcome"], result["counters"]["done"]) == ("succeeded", 2)
    with there.session() as session:
        assert session.scalars(text("select ending from nightshift.attempts")).all() == ["finished"]


def test_an_invocation_that_has_no_database_until_its_end_says_so_in_time(there: Restarted) -> None:
    there.server.stop()
    started = time.monotonic()
    try:
        with pytest.raises(UnclaimedError, match="connection"):
            invoke(of_batches(2, lambda n, _: None), scheduled(AT), Context(5))
        with pytest.raises(UnclaimedError, match="connection"):
            invoke(of_batches(2, lambda n, _: None), scheduled(AT), Context(60), patience=1)
        assert 4 < time.monotonic() - started < 20, "of the two, each in its own time"
    finally:
        there.server.start()


def test_a_refusal_that_no_waiting_would_help_is_told_at_once(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = database.url.set(database="another").render_as_string(hide_password=False)
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": address}))
    context = Context(20)
    with pytest.raises(UnclaimedError, match="3D000"):
        invoke(of_batches(1, lambda n, _: None), scheduled(AT), context)
    assert context.get_remaining_time_in_millis() > 10_000


def test_an_outage_beyond_the_invocation_is_told_and_the_supervisor_takes_the_run_over(there: Restarted) -> None:
    def stop(n: int, _: Execution) -> None:
        if n == 2:
            there.server.stop()

    try:
        with pytest.raises(DatabaseAwayError, match=r"database connection failed.*could not be written down"):
            invoke(of_batches(3, stop, name="abandoned-carts"), scheduled(AT), Context(4))
    finally:
        there.server.start()
    with there.session() as session:
        left = "select state, extract(epoch from lease_until - now()) from nightshift.runs"
        state, seconds = session.execute(text(left)).one()
        assert (state, seconds < 15) == ("running", True)
        session.execute(
            text("update nightshift.runs set lease_until = now() - interval '1 s', job = 'abandoned-carts'")
        )
        session.commit()
        invoked: list[Any] = []
        look_over(session, Deployment(), lambda name, payload: invoked.append(name), lambda _: None)
    assert invoked == ["nightshift-abandoned-carts"]


def test_an_ordinary_failure_is_noted_though_the_role_may_connect_only_once(there: Restarted) -> None:
    def fail(n: int, _: Execution) -> None:
        raise ValueError("broken")

    with pytest.raises(RunFailedError, match="broken"):
        invoke(of_batches(1, fail), scheduled(AT), Context(20))
    with there.session() as session:
        state, reason = session.execute(text("select state, reason from nightshift.runs")).one()
    assert (state, reason) == ("retrying", "attempt 1 of 3 failed: ValueError: broken")


CUT = text("select pg_terminate_backend(pg_backend_pid())")


def only_run(session: Session) -> Any:
    session.rollback()
    return session.execute(text("select * from nightshift.runs")).one()


def test_what_brings_the_connection_down_each_time_fails_with_the_reason(invoke_job: Invoke, session: Session) -> None:
    def cut(n: int, execution: Execution) -> None:
        if n == 2:
            execution.session.execute(CUT)

    with pytest.raises(RunFailedError, match="lost in 3 attempts in a row, without one batch that was committed"):
        invoke_job(of_batches(2, cut), scheduled(AT))
    run = only_run(session)
    assert (run.state, run.counters["done"]) == ("failed", 1)
    endings = session.scalars(text("select ending from nightshift.attempts order by epoch")).all()
    assert endings == ["lost", "lost", "lost", "failed"], "the first had committed a batch, and does not count"


def test_an_answer_that_was_lost_with_the_connection_is_found_in_the_ledger(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = ledger.finish
    executions: list[Execution] = []

    def finish_unheard(session: Session, *args: Any, **named: Any) -> Any:
        finish(session, *args, **named)
        session.commit()
        session.execute(CUT)

    monkeypatch.setattr("nightshift.ledger.finish", finish_unheard, raising=False)
    result = invoke_job(of_batches(1, lambda n, execution: executions.append(execution)), scheduled(AT))
    assert (result["outcome"], len(executions)) == ("succeeded", 1)
    assert only_run(session).epoch == 1


class Secrets:
    """Secrets Manager, of which an answer may be an error."""

    def __init__(self, url: str, *answers: Any) -> None:
        address = make_url(url)
        self.secret = {"username": address.username, "password": address.password or ""}
        self.answers = list(answers)

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803 - as AWS names it
        answer = self.answers.pop(0) if self.answers else json.dumps(self.secret)
        if isinstance(answer, Exception):
            raise answer
        return {"SecretString": answer}


def refusal(code: str, status: int) -> ClientError:
    given: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(given, "GetSecretValue")


@pytest.fixture
def secrets(database: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Secrets]:
    url = database.url.render_as_string(hide_password=False)
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": url, "secret_arn": "arn:aws:secretsmanager:shop"}))

    def answering(*answers: Any) -> Secrets:
        made = Secrets(url, *answers)
        monkeypatch.setattr("boto3.client", lambda *_, **__: made)
        return made

    return answering


BUSY = (refusal("ThrottlingException", 400), refusal("InternalServiceError", 500))


@pytest.mark.parametrize("when", ["at first", "in the middle"])
def test_a_secret_that_aws_is_too_busy_to_give_is_asked_for_again(
    secrets: Callable[..., Secrets], session: Session, when: str
) -> None:
    given = secrets(*(BUSY if when == "at first" else ()))
    cuts = [n for n in (2,) if when != "at first"]

    def cut(n: int, execution: Execution) -> None:
        if n in cuts:
            cuts.clear()
            given.answers = list(BUSY)
            execution.session.execute(CUT)

    result = invoke(of_batches(3, cut), scheduled(AT), Context(60))
    assert (result["outcome"], result["counters"]["done"]) == ("succeeded", 3)


OLD_PASSWORD = json.dumps({"username": "postgres", "password": "of yesterday"})


@pytest.mark.parametrize("refused", [2, 9])
def test_a_password_that_is_rotated_just_now_is_asked_for_again_for_a_while(
    secrets: Callable[..., Secrets],
    postgres: PostgresServer,
    database: Engine,
    monkeypatch: pytest.MonkeyPatch,
    refused: int,
) -> None:
    """The server has the new one some seconds before the secret has."""
    monkeypatch.setattr(reach, "LONGEST_PAUSE", 0.3)
    monkeypatch.setattr(reach, "ROTATION_SECONDS", 1.0)
    address = postgres.tcp_url().set(database=database.url.database).render_as_string(hide_password=False)
    given = secrets(*[OLD_PASSWORD] * refused)
    given.secret = {"username": "postgres", "password": str(postgres.password)}
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": address, "secret_arn": "arn:aws:secretsmanager:shop"}))
    if refused == 2:
        assert invoke(of_batches(1, lambda n, _: None), scheduled(AT), Context(60))["outcome"] == "succeeded"
    else:
        with pytest.raises(UnclaimedError, match="28P01"):
            invoke(of_batches(1, lambda n, _: None), scheduled(AT), Context(60))
        assert given.answers, "it was not tried for ever"


@pytest.mark.parametrize("answer", [refusal("AccessDeniedException", 400), "hunter2", '{"password": "hunter2"}', "[]"])
def test_a_secret_that_aws_does_not_give_is_told_at_once_and_never_its_text(
    secrets: Callable[..., Secrets], session: Session, answer: Any
) -> None:
    secrets(answer)
    started = time.monotonic()
    with pytest.raises(UnclaimedError, match=r"AWS gives no credentials|is no JSON with username and password") as told:
        invoke(of_batches(1, lambda n, _: None), scheduled(AT), Context(60))
    assert "hunter2" not in str(told.value)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("event", [scheduled(AT), {}, {"once": True}], ids=["rule", "by hand", "once"])
@pytest.mark.parametrize("claims", ["claim", "claim_again"])
def test_a_claim_whose_answer_was_lost_is_this_attempts_own(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch, event: dict[str, Any], claims: str
) -> None:
    """It goes on at once, and not after the lease."""
    claim = getattr(ledger, claims)
    heard: list[Any] = []

    def unheard(*args: Any, **named: Any) -> Any:
        heard.append(claim(*args, **named))
        if len(heard) == 1:
            raise ConnectionResetError("the answer was lost")
        return heard[-1]

    def cut_once(n: int, execution: Execution) -> None:
        if n == 2 and claims == "claim_again" and not heard:
            execution.session.execute(CUT)

    monkeypatch.setattr(f"nightshift.ledger.{claims}", unheard, raising=False)
    result = invoke_job(of_batches(3, cut_once), event)

    assert (result["outcome"], result["counters"]["done"], result.get("already")) == ("succeeded", 3, None)
    assert only_run(session).epoch == (1 if claims == "claim" else 2)
    assert [each.epoch for each in heard] == [only_run(session).epoch] * 2


def test_a_run_that_was_taken_over_meanwhile_is_left_to_its_new_attempt(invoke_job: Invoke, session: Session) -> None:
    inner: list[Any] = []

    def lose_it(n: int, execution: Execution) -> None:
        if not inner:
            inner.append(None)
            session.rollback()
            session.execute(text("update nightshift.runs set lease_until = now() - interval '1 second'"))
            session.commit()
            inner.append(invoke_job(job, scheduled(AT)))
            execution.session.execute(CUT)

    job = of_batches(1, lose_it)
    assert invoke_job(job, scheduled(AT)) == inner[1]
    assert only_run(session).epoch == 2


def test_a_run_that_lost_its_turn_in_the_outage_waits_for_it(invoke_job: Invoke, session: Session) -> None:
    """Its lease had expired, and a forced run of an older time was begun."""

    def lose_it(n: int, execution: Execution) -> None:
        session.rollback()
        session.execute(text("update nightshift.runs set lease_until = now() - interval '1 second'"))
        session.commit()
        older = ledger.Request("manual", scheduled_for=execution.run.scheduled_for.replace(month=2), forced=True)
        assert isinstance(ledger.claim(session, "work", job.effective_policy, older, seconds=60), ledger.Claim)
        execution.session.execute(CUT)

    job = of_batches(1, lose_it, policy=Policy(overlap="wait"))
    result = invoke_job(job, scheduled(AT))
    assert result["outcome"] == "interrupted"
    assert "waits for its turn" in result["reason"]


def lease_seconds(session: Session) -> float:
    with Session(session.get_bind()) as other:
        left = "select extract(epoch from lease_until - clock_timestamp()) from nightshift.runs where state = 'running'"
        return float(other.scalar(text(left)) or 0)


def test_between_short_batches_the_lease_is_short_and_before_other_work_it_lasts_to_the_deadline(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightshift.engine.ways.HeapWalk.first", 4)
    monkeypatch.setattr("nightshift.engine.ways.HeapWalk.largest", 4)
    carts(session, old=3_000, young=3_500)
    seen: list[float] = []

    def look(execution: Execution) -> None:
        seen.append(lease_seconds(session))
        with execution.batch() as batch:
            batch.count(done=1)

    def log(event: str, /, **fields: Any) -> None:
        if event == "batch.committed":
            seen.append(lease_seconds(session))

    monkeypatch.setattr("nightshift.telemetry.log", log)
    work = Function(name="work", apply=look, plan=lambda session, run: [], counters=("done",))
    deletion = retention()
    job = Job(name="both", kind="retention", schedule=deletion.schedule, steps=(*deletion.steps, work), audited=False)
    assert invoke_job(job, scheduled(AT), seconds=600)["outcome"] == "succeeded"
    *sweeping, before, after = seen
    assert len(sweeping) > 5
    assert all(85 < left <= 90 for left in sweeping)
    assert 600 < before <= 610, "nobody knows how long a function takes"
    assert 600 < after <= 610


def sleeping(seconds: float, times: int = 1) -> Callable[[Session], None]:
    def sleep(session: Session) -> None:
        for _ in range(times):
            session.execute(text(f"select pg_sleep({seconds})"))

    return sleep


def waits_in_a_batch(wait: Callable[[Session], None]) -> Job:
    return of_batches(1, lambda n, execution: wait(execution.session))


def waits_between_batches(wait: Callable[[Session], None]) -> Job:
    def apply(execution: Execution) -> None:
        with execution.session.begin():
            wait(execution.session)

    step = Function(name="work", apply=apply, plan=lambda session, run: [], counters=("done",))
    return Job(name="work", kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)


TOO_LONG = r"SQLSTATE 57014|longer together|SQLSTATE 25P04|database connection failed"


@pytest.mark.parametrize(
    ("server", "job", "wait"),
    [
        (17, waits_between_batches, sleeping(20)),
        (17, waits_in_a_batch, sleeping(0.4, times=50)),
        (16, waits_in_a_batch, sleeping(0.4, times=50)),
    ],
    ids=["one statement", "many", "many before PostgreSQL 17"],
)
def test_statements_that_outlast_the_attempt_end_before_it_and_the_reason_is_noted(
    invoke_job: Invoke,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    server: int,
    job: Callable[..., Job],
    wait: Callable[[Session], None],
) -> None:
    if server < 17:
        monkeypatch.setattr("nightshift.database.transaction.TRANSACTION_TIMEOUT_SINCE", (99,))
    started = time.monotonic()
    with pytest.raises(RunFailedError, match=TOO_LONG):
        invoke_job(job(wait), scheduled(AT), seconds=2.5)
    assert time.monotonic() - started < 2.5, "Lambda would have killed it"
    run = only_run(session)
    assert run.state == "retrying"
    assert re.search(TOO_LONG, run.reason)


def test_a_plan_that_outlasts_its_invocation_says_so(invoke_job: Invoke, session: Session) -> None:
    def plan(session: Session, _: Any) -> list[Any]:
        sleeping(20)(session)
        return []

    step = Function(name="work", apply=lambda execution: None, plan=plan, counters=())
    job = Job(name="work", kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)
    started = time.monotonic()
    with pytest.raises(RunFailedError, match="SQLSTATE 57014"):
        invoke_job(job, {"dry_run": True}, seconds=2.5)
    assert time.monotonic() - started < 2.5
    assert "57014" in only_run(session).reason


def test_a_run_that_is_done_when_its_time_is_nearly_up_is_settled(invoke_job: Invoke, session: Session) -> None:
    """The reserve is for that."""
    job = of_batches(1, lambda n, execution: time.sleep(1.7))
    assert invoke_job(job, scheduled(AT), seconds=2.5)["outcome"] == "succeeded"
