"""The ledger's promises: one outcome an occurrence, one live epoch a job, and nothing from a zombie."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from nightshift import Delete, Function, Job, Parameter, Policy, ledger
from nightshift.declaration import Deployment, Trigger
from nightshift.engine import RunExecution
from nightshift.errors import EventError, Fenced, RunFailedError
from nightshift.ledger import Claim, Request, Standing
from nightshift.operations import look_over
from tests.ground.functions.market._tables import Cart
from tests.integration.conftest import Invoke, scheduled

AT = "2026-03-01T02:00:00Z"


def retention(name: str = "forget-carts", **changes: Any) -> Job:
    step = Delete(Cart, older_than=Parameter("retention_days", 7, "days"), measured_by=Cart.updated_at)
    declared: dict[str, Any] = {"kind": "retention", "audited": False} | changes
    return Job(name=name, schedule="cron(0 2 * * ? *)", steps=(step,), **declared)


def with_work(work: Any, **changes: Any) -> Job:
    """A job of one step that calls `work(execution)`."""
    step = Function(name="work", apply=work, plan=lambda session, run: [], counters=("done",), changes=("done",))
    declared: dict[str, Any] = {"kind": "retention", "audited": False} | changes
    return Job(name="work", schedule="cron(0 2 * * ? *)", steps=(step,), **declared)


def carts(session: Session, old: int, young: int) -> None:
    session.execute(
        text(
            """
            insert into carts (paid, updated_at)
            select false, timestamptz '2026-03-01 02:00Z' - interval '7 days'
                          + case when mod(i * bigint '7919', :all) < :old then -1 else 1 end * (i + 1) * interval '1 ms'
              from generate_series(0, :all - 1) i
            """
        ),
        {"old": old, "all": old + young},
    )
    session.commit()
    session.execute(text("analyze carts"))
    session.commit()


def runs(session: Session) -> list[Any]:
    session.rollback()
    return list(session.execute(text("select * from nightshift.runs order by created_at")).all())


def expire_leases(session: Session) -> None:
    session.execute(
        text("update nightshift.runs set lease_until = now() - interval '1 second' where state = 'running'")
    )
    session.commit()


def test_an_event_delivered_again_later_finds_its_run_done(invoke_job: Invoke, session: Session) -> None:
    carts(session, old=10, young=10)
    first = invoke_job(retention(), scheduled("2026-03-01T02:00:17Z"), request_id="first")
    again = invoke_job(retention(), scheduled("2026-03-01T02:00:42Z"), request_id="second")
    assert first == again
    assert first["scheduled_for"] == AT
    assert len(runs(session)) == 1


def test_an_event_delivered_twice_at_the_same_moment_runs_once(invoke_job: Invoke, session: Session) -> None:
    carts(session, old=3_000, young=20_000)
    together = threading.Barrier(8)

    def deliver(_: int) -> dict[str, Any]:
        together.wait()
        return invoke_job(retention(), scheduled(AT))

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(deliver, range(8)))
    assert len({result["run_id"] for result in results}) == 1
    (run,) = runs(session)
    assert (run.state, run.epoch, run.counters["deleted"]) == ("succeeded", 1, 3_000)
    assert {result["outcome"] for result in results} <= {"succeeded", "running"}
    assert session.scalar(text("select count(*) from nightshift.attempts")) == 1


def test_a_manual_call_delivered_again_by_lambda_is_the_same_run(invoke_job: Invoke, session: Session) -> None:
    first = invoke_job(retention(), {}, request_id="same")
    assert invoke_job(retention(), {}, request_id="same") == first
    assert invoke_job(retention(), {}, request_id="another")["run_id"] != first["run_id"]


def test_the_same_time_on_purpose_is_a_no_op_unless_forced(invoke_job: Invoke, session: Session) -> None:
    first = invoke_job(retention(), at=AT)
    assert invoke_job(retention(), at=AT)["run_id"] == first["run_id"]
    forced = invoke_job(retention(), {"force": True}, at=AT)
    assert forced["run_id"] != first["run_id"]
    assert forced["scheduled_for"] == first["scheduled_for"]


def test_a_plan_takes_no_occurrence(invoke_job: Invoke, session: Session) -> None:
    planned = invoke_job(retention(), {"dry_run": True}, at=AT)
    applied = invoke_job(retention(), at=AT)
    assert (planned["outcome"], applied["outcome"]) == ("planned", "succeeded")


def test_an_occurrence_that_meets_an_open_run_is_skipped_with_the_reason(invoke_job: Invoke, session: Session) -> None:
    def work(execution: RunExecution) -> None:
        with execution.batch() as batch:
            batch.count(done=1)
        inner.append(invoke_job(job, scheduled("2026-03-02T02:00:00Z")))

    inner: list[dict[str, Any]] = []
    job = with_work(work)
    outer = invoke_job(job, scheduled(AT))
    assert outer["outcome"] == "succeeded"
    assert inner[0]["outcome"] == "skipped"
    assert outer["run_id"] in inner[0]["reason"]


def test_an_occurrence_of_a_waiting_kind_takes_its_turn(invoke_job: Invoke, session: Session) -> None:
    def work(execution: RunExecution) -> None:
        with execution.batch() as batch:
            batch.count(done=1)
        if not inner:
            inner.append(invoke_job(job, scheduled("2026-03-02T02:00:00Z")))

    inner: list[dict[str, Any]] = []
    job = with_work(work, policy=Policy(overlap="wait", missed="every"))
    assert invoke_job(job, scheduled(AT))["outcome"] == "succeeded"
    assert inner[0]["outcome"] == "queued"
    assert invoke_job(job, {"run_id": inner[0]["run_id"]})["outcome"] == "succeeded"


def test_a_late_event_of_a_limited_job_is_settled_as_missed(invoke_job: Invoke, session: Session) -> None:
    job = retention(kind="notification")
    late = invoke_job(job, scheduled(AT))
    assert late["outcome"] == "missed"
    assert "the limit is 2:00:00" in late["reason"]
    assert invoke_job(job, at="2026-02-28T02:00:00Z")["outcome"] == "succeeded"  # what a person asks for is never late


def test_a_paused_job_settles_its_occurrences_as_paused_but_runs_by_hand(invoke_job: Invoke, session: Session) -> None:
    session.execute(
        text(
            "insert into nightshift.jobs (name, paused_at, paused_by, pause_reason) "
            "values ('forget-carts', now(), 'Ada', 'import running')"
        )
    )
    session.commit()
    paused = invoke_job(retention(), scheduled(AT))
    assert (paused["outcome"], paused["reason"]) == ("paused", "paused by Ada: import running")
    assert invoke_job(retention(), {})["outcome"] == "succeeded"


def test_a_zombie_changes_nothing_and_says_what_happened(invoke_job: Invoke, session: Session) -> None:
    """An attempt that outlives its lease wakes up in the middle of a batch, after its successor has finished."""
    carts(session, old=500, young=500)
    results: list[dict[str, Any]] = []

    def work(execution: RunExecution) -> None:
        with execution.batch() as batch:
            if execution.claim.epoch == 1:
                expire_leases(session)
                results.append(invoke_job(job, scheduled(AT)))
            batch.session.execute(text("update carts set paid = true where id <= 10"))
            batch.count(done=10)

    job = with_work(work)
    zombie = invoke_job(job, scheduled(AT))
    assert results[0]["outcome"] == "succeeded"
    assert zombie == results[0]
    (run,) = runs(session)
    assert (run.epoch, run.counters["done"]) == (2, 10)
    endings = session.execute(text("select epoch, ending from nightshift.attempts order by epoch")).all()
    assert [tuple(row) for row in endings] == [(1, "lost"), (2, "finished")]


def test_a_zombie_does_nothing_outside_the_database_either(invoke_job: Invoke, session: Session) -> None:
    deeds: list[int] = []

    def work(execution: RunExecution) -> None:
        if execution.claim.epoch == 1:
            expire_leases(session)
            invoke_job(job, scheduled(AT))
        execution.stop_if_late()
        deeds.append(execution.claim.epoch)
        with execution.batch() as batch:
            batch.count(done=1)

    job = with_work(work)
    assert invoke_job(job, scheduled(AT))["outcome"] == "succeeded"
    assert deeds == [2]


def test_a_zombies_failure_does_not_fail_the_run(invoke_job: Invoke, session: Session) -> None:
    def work(execution: RunExecution) -> None:
        with execution.batch() as batch:
            batch.count(done=1)
        if execution.claim.epoch == 1:
            expire_leases(session)
            invoke_job(job, scheduled(AT))
            raise ValueError("too late")

    job = with_work(work)
    assert invoke_job(job, scheduled(AT))["outcome"] == "succeeded"


class Killed(BaseException):
    """The process dies: nothing catches this, and nothing cleans up but the connection's end."""


@contextmanager
def killed_at_statement(number: int) -> Iterator[list[int]]:
    """Die just before the n-th statement. Yields the statements counted."""
    seen = [0]

    def die(*_: Any) -> None:
        seen[0] += 1
        if seen[0] == number:
            raise Killed

    event.listen(Engine, "before_cursor_execute", die)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", die)


def test_dying_at_any_statement_leaves_the_data_of_an_undisturbed_run(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightshift.engine.ways.HeapWalk.first", 4)
    monkeypatch.setattr("nightshift.engine.ways.HeapWalk.largest", 4)
    job = retention(audited=True)
    number, deaths = 0, 0
    while True:
        number += 1
        session.execute(text("truncate carts, nightshift.runs cascade"))
        session.commit()
        carts(session, old=400, young=500)
        try:
            with killed_at_statement(number) as seen:
                invoke_job(job, scheduled(AT))
        except Killed:
            deaths += 1
            expire_leases(session)
            assert invoke_job(job, scheduled(AT))["outcome"] == "succeeded"
        (run,) = runs(session)
        assert run.counters["deleted"] == 400, f"died at statement {number}"
        assert session.scalar(text("select count(*) from carts")) == 500
        assert session.scalars(text("select job from trail where run_id = :run"), {"run": run.id}).all() == [job.name]
        if seen[0] < number:
            break
    assert deaths > 20


def test_sigkill_in_the_middle_of_200_000_rows_loses_and_doubles_nothing(
    invoke_job: Invoke, session: Session, database: Engine
) -> None:
    carts(session, old=200_000, young=250_000)
    invocation = """
import json, sys, time
from tests.integration.test_ledger import retention, scheduled, AT
from tests.integration.conftest import Context
from nightshift.runtime import invoke
import nightshift.engine.ways
nightshift.engine.ways.HeapWalk.largest = 32
invoke(retention(), scheduled(AT), Context(60))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", invocation], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (found := runs(session)) or not 0 < found[0].counters.get("deleted", 0) < 100_000:
        assert time.monotonic() < deadline
        assert process.poll() is None, "the process was not caught in the middle"
    process.send_signal(signal.SIGKILL)
    process.wait()

    at_once = invoke_job(retention(), scheduled(AT))
    assert at_once["outcome"] == "running"  # for all the ledger knows, the first attempt may still be alive

    expire_leases(session)
    result = invoke_job(retention(), scheduled(AT))
    assert result["outcome"] == "succeeded"
    assert result["counters"]["deleted"] == 200_000
    assert session.scalar(text("select count(*) from carts")) == 250_000
    (run,) = runs(session)
    assert (run.epoch, run.attempts) == (2, 2)


def test_a_failed_attempt_leaves_the_run_open_until_the_last_one(invoke_job: Invoke, session: Session) -> None:
    def work(execution: RunExecution) -> None:
        with execution.batch() as batch:
            batch.count(done=1)
        raise ConnectionResetError("the network went away")

    job = with_work(work)
    states = []
    for _ in range(3):
        with pytest.raises(RunFailedError, match="the network went away"):
            invoke_job(job, scheduled(AT), request_id="the same")
        states.append(runs(session)[0].state)
    assert states == ["retrying", "retrying", "failed"]
    assert len(runs(session)) == 1
    assert invoke_job(job, scheduled(AT), request_id="a doubled delivery")["outcome"] == "failed"


@pytest.mark.parametrize("event", [{}, {"dry_run": True}, {"trigger": "backfill", "scheduled_for": AT}])
def test_a_call_that_somebody_waits_for_ends_when_it_fails(
    invoke_job: Invoke, session: Session, event: dict[str, Any]
) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("no grant")

    step = Function(name="work", apply=fail, plan=fail, counters=("done",))
    job = Job(name="work", kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)
    with pytest.raises(RunFailedError, match="no grant"):
        invoke_job(job, {**event, "once": True})
    (run,) = runs(session)
    assert (run.state, run.reason) == ("failed", "ValueError: no grant")


def test_lambdas_retry_of_a_permanent_failure_fails_again_so_that_it_reaches_the_queue(
    invoke_job: Invoke, session: Session
) -> None:
    carts(session, old=200, young=10)
    capped = {"parameters": {"max_rows": 100}}
    for _ in range(3):
        with pytest.raises(RunFailedError, match="max_rows is 100"):
            invoke_job(retention(), capped, request_id="the same")
    (run,) = runs(session)
    assert (run.state, run.attempts) == ("failed", 1)


@pytest.mark.parametrize(("critical", "noted"), [(True, 2), (False, 0)])
def test_each_final_failure_of_a_critical_job_is_noted_once(
    invoke_job: Invoke, session: Session, critical: bool, noted: int
) -> None:
    def work(execution: RunExecution) -> None:
        raise ValueError("broken")

    for at in (AT, "2026-03-02T02:00:00Z"):
        for _ in range(3):
            with pytest.raises(RunFailedError):
                invoke_job(with_work(work, critical=critical), scheduled(at))
    failures = session.execute(text("select run_id, job, reason from job_failures order by at")).all()
    assert [tuple(each) for each in failures] == [
        (run.id, "work", "ValueError: broken") for run in runs(session)[:noted]
    ]


def test_the_database_being_away_is_one_clear_error(invoke_job: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://nobody@/nothing?unix_sock=/nowhere/.s.PGSQL.1"
    monkeypatch.setenv("NIGHTSHIFT_DATABASE", json.dumps({"url": url}))
    with pytest.raises(RunFailedError, match="could not claim its run"):
        invoke_job(retention(), seconds=2)


def test_a_connection_cut_in_the_middle_does_not_end_the_attempt(invoke_job: Invoke, session: Session) -> None:
    cuts: list[int] = []

    def work(execution: RunExecution) -> None:
        with execution.batch() as batch:
            if not cuts:
                cuts.append(execution.claim.epoch)
                batch.session.execute(text("select pg_terminate_backend(pg_backend_pid())"))
            batch.count(done=1)

    assert invoke_job(with_work(work), scheduled(AT))["counters"]["done"] == 1
    (run,) = runs(session)
    assert (run.state, run.epoch, run.attempts) == ("succeeded", 2, 2)


def test_a_run_id_of_another_job_is_refused(invoke_job: Invoke, session: Session) -> None:
    other = invoke_job(retention("another-job"))
    with pytest.raises(EventError, match="job forget-carts has no run"):
        invoke_job(retention(), {"run_id": other["run_id"]})
    with pytest.raises(EventError, match="job forget-carts has no run"):
        invoke_job(retention(), {"run_id": str(uuid.uuid4())})


def test_a_time_to_come_is_refused_and_leaves_no_trace(invoke_job: Invoke, session: Session) -> None:
    carts(session, old=5, young=5)
    with pytest.raises(EventError, match="lies in the future"):
        invoke_job(retention(), at="2199-01-01T00:00:00Z")
    assert runs(session) == []


@pytest.fixture
def supervise(session: Session) -> Any:
    """One round of the supervisor. Returns what it invoked and what it reported."""

    def look() -> tuple[list[tuple[str, Any]], list[Any]]:
        invoked: list[tuple[str, Any]] = []
        reported: list[Any] = []
        session.rollback()
        look_over(session, Deployment(), lambda name, payload: invoked.append((name, payload)), reported.append)
        return invoked, reported

    return look


def open_run(
    session: Session, job: str = "abandoned-carts", *, seconds: float = 60, trigger: Trigger = "manual"
) -> Claim:
    session.rollback()
    claim = ledger.claim(session, job, Policy(), Request(trigger), seconds=seconds)
    assert isinstance(claim, Claim)
    return claim


def test_the_supervisor_continues_an_interrupted_run(session: Session, supervise: Any) -> None:
    claim = open_run(session)
    ledger.interrupt(session, claim, progressed=True, critical=False)
    invoked, reported = supervise()
    assert invoked == [("nightshift-abandoned-carts", {"run_id": str(claim.run.id)})]
    assert reported == []


def test_the_supervisor_leaves_a_live_run_alone(session: Session, supervise: Any) -> None:
    open_run(session)
    assert supervise() == ([], [])


def test_the_supervisor_continues_a_run_whose_attempt_died(session: Session, supervise: Any) -> None:
    claim = open_run(session)
    expire_leases(session)
    assert supervise()[0] == [("nightshift-abandoned-carts", {"run_id": str(claim.run.id)})]


def test_the_supervisor_leaves_a_fresh_failure_to_lambdas_retry(session: Session, supervise: Any) -> None:
    claim = open_run(session, trigger="schedule")
    ledger.fail_attempt(session, claim, "lost", permanent=False, critical=False)
    assert supervise() == ([], [])
    session.execute(text("update nightshift.attempts set ended_at = now() - interval '61 seconds'"))
    session.commit()
    assert len(supervise()[0]) == 1


def test_the_supervisor_settles_and_reports_a_run_that_died_on_its_last_attempt(
    session: Session, supervise: Any
) -> None:
    claim = open_run(session)
    session.execute(text("update nightshift.runs set attempts = max_attempts"))
    session.commit()
    expire_leases(session)
    invoked, reported = supervise()
    assert invoked == []
    assert reported[0]["requestPayload"] == {"run_id": str(claim.run.id)}
    (run,) = runs(session)
    assert (run.state, run.reason) == ("failed", "attempt 3 of 3 died without a result")
    assert supervise() == ([], [])


def test_the_supervisor_forgets_what_ended_longer_than_400_days_ago(session: Session, supervise: Any) -> None:
    for days in (399, 401):
        claim = open_run(session)
        with session.begin():
            ledger.finish(session, claim, counters={})
        long_ago = text("update nightshift.runs set finished_at = now() - make_interval(days => :days) where id = :id")
        session.execute(long_ago, {"days": days, "id": claim.run.id})
        session.commit()
    open_run(session)
    supervise()
    kept = [
        run.finished_at is None or run.finished_at > run.created_at - dt.timedelta(days=400) for run in runs(session)
    ]
    assert kept == [True, True]
    assert session.scalar(text("select count(*) from nightshift.attempts")) == 2


@pytest.mark.parametrize(("young", "kept"), [(1_099, 2_201), (1_100, 1_702)])
def test_a_clock_that_is_a_year_ahead_does_not_empty_the_ledger(
    session: Session, supervise: Any, young: int, kept: int
) -> None:
    open_run(session)
    session.execute(
        text(
            """
            insert into nightshift.runs (id, job, scheduled_for, trigger, mode, forced, parameters, state, epoch,
                                         attempts, max_attempts, counters, errors, created_at, finished_at)
            select gen_random_uuid(), job, scheduled_for - make_interval(mins => i), trigger, mode, forced, parameters,
                   'succeeded', 1, 1, 3, '{}', '[]', created_at,
                   now() - make_interval(days => case when i <= 1101 then 401 else 1 end)
              from nightshift.runs, generate_series(1, 1101 + :young) i
            """
        ),
        {"young": young},
    )
    session.commit()
    supervise()
    assert session.scalar(text("select count(*) from nightshift.runs")) == kept


def test_a_report_that_does_not_get_through_is_made_again(session: Session, supervise: Any) -> None:
    open_run(session)
    session.execute(text("update nightshift.runs set attempts = max_attempts"))
    session.commit()
    expire_leases(session)

    def lost(_: Any) -> None:
        raise OSError("no route")

    assert look_over(session, Deployment(), lambda name, payload: None, lost).hindered == 1
    assert len(supervise()[1]) == 1


def test_a_lease_ends_a_little_after_the_invocation(session: Session) -> None:
    open_run(session, seconds=100)
    left = session.scalar(text("select extract(epoch from lease_until - clock_timestamp()) from nightshift.runs"))
    assert left is not None
    assert 105 < left <= 110


def test_a_renewed_lease_needs_the_epoch(session: Session) -> None:
    claim = open_run(session)
    ledger.renew(session, claim, seconds=500)
    left = session.scalar(text("select extract(epoch from lease_until - clock_timestamp()) from nightshift.runs"))
    assert left is not None
    assert left > 500
    session.rollback()
    expire_leases(session)
    again = ledger.claim(session, "abandoned-carts", Policy(), Request(run_id=claim.run.id), seconds=60)
    assert isinstance(again, Claim)
    with pytest.raises(Fenced):
        ledger.renew(session, claim, seconds=500)


def test_two_occurrences_cannot_take_one_place(session: Session) -> None:
    claim = open_run(session)
    duplicate = text(
        "insert into nightshift.runs (job, scheduled_for, trigger, state, max_attempts) "
        "select job, scheduled_for, 'schedule', 'running', 3 from nightshift.runs"
    )
    with pytest.raises(Exception, match="runs_occurrence_key"):
        session.execute(duplicate)
    assert isinstance(claim, Claim)


def test_a_standing_tells_how_long_the_run_took(session: Session) -> None:
    claim = open_run(session)
    with session.begin():
        done = ledger.finish(session, claim, counters={"deleted": 1})
    assert isinstance(done, Standing)
    assert done.duration_ms is not None
    assert done.duration_ms >= 0
