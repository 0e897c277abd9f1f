"""What a job's function writes for CloudWatch, and what it refuses: without these lines the alarms stay silent."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift import Execution, Function, Job, Policy, ledger, telemetry
from nightshift.environment import ENABLED_VARIABLE
from nightshift.errors import Interrupted, PermanentError, RunFailedError, SettingError
from nightshift.ledger import Claim, Request
from nightshift.runtime import lambda_handler
from tests.integration.conftest import Context, Invoke, scheduled

AT = "2026-03-01T02:00:00Z"

Measured = Callable[[], dict[str, float]]


def working(work: Callable[[Execution], None], **declared: Any) -> Job:
    step = Function(name="work", apply=work, plan=lambda session, run: [], counters=("done",), changes=("done",))
    return Job(
        name="work", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False, **{"kind": "retention"} | declared
    )


def done(execution: Execution) -> None:
    with execution.batch() as batch:
        batch.count(done=3)
        batch.quarantine("things:1", "odd")


def broken(_: Execution) -> None:
    raise ValueError("broken")


def hopeless(_: Execution) -> None:
    raise PermanentError("hopeless")


def late(_: Execution) -> None:
    raise Interrupted


@pytest.fixture
def call(invoke_job: Invoke) -> Any:
    """Call a job's function as Lambda does, in the environment of `invoke_job`."""
    telemetry.metrics().clear_metrics()
    return lambda job, event, **context: lambda_handler(job)(event, Context(60, **context))


@pytest.fixture
def measured(capsys: pytest.CaptureFixture[str]) -> Measured:
    """The metrics in the lines that were written since this was asked last."""

    def read() -> dict[str, float]:
        found: dict[str, float] = {}
        for line in map(json.loads, capsys.readouterr().out.splitlines()):
            if "_aws" not in line:  # of the log
                continue
            (definition,) = line["_aws"]["CloudWatchMetrics"]
            assert (definition["Namespace"], definition["Dimensions"]) == ("Nightshift", [["service"]])
            for each in definition["Metrics"]:
                assert each["Unit"] == ("Seconds" if each["Name"].endswith("Seconds") else "Count")
                found[each["Name"]] = found.get(each["Name"], 0) + sum(line[each["Name"]])
        return found

    return read


def test_a_run_that_succeeds_says_what_it_changed_left_and_took(call: Any, measured: Measured) -> None:
    result = call(working(done), scheduled(AT))
    seconds = result["duration_ms"] / 1000
    assert measured() == {"RunsSucceeded": 1, "RowsChanged": 3, "RowsQuarantined": 1, "RunSeconds": seconds}
    call(working(done), scheduled(AT))
    assert measured() == {}, "a second delivery of its event did nothing"


def test_a_failure_counts_as_final_only_at_the_last_attempt(call: Any, measured: Measured) -> None:
    for expected in ({"AttemptsFailed": 1}, {"AttemptsFailed": 1}, {"RunsFailed": 1}):
        with pytest.raises(RunFailedError, match="broken"):
            call(working(broken), scheduled(AT), request_id="lambda's")
        assert measured() == expected


def test_a_failure_that_no_retry_would_help_counts_at_once_and_its_retries_do_not(
    call: Any, measured: Measured
) -> None:
    for expected in ({"RunsFailed": 1}, {}, {}):
        with pytest.raises(RunFailedError, match="hopeless"):
            call(working(hopeless), scheduled(AT), request_id="lambda's")
        assert measured() == expected
    assert call(working(hopeless), scheduled(AT), request_id="a doubled delivery")["outcome"] == "failed"
    assert measured() == {}


def test_a_final_failure_that_the_supervisor_reports_is_measured_too(
    call: Any, measured: Measured, session: Session
) -> None:
    for _ in range(2):
        with pytest.raises(RunFailedError):
            call(working(broken), scheduled(AT))
    run_id = str(session.scalar(text("select id from nightshift.runs")))
    session.rollback()
    measured()
    assert call(working(broken), {"run_id": run_id})["outcome"] == "failed"
    assert measured() == {"RunsFailed": 1}


def test_an_interruption_is_no_failure(call: Any, measured: Measured) -> None:
    assert call(working(late), scheduled(AT))["outcome"] == "interrupted"
    assert measured() == {"RunsInterrupted": 1}


def test_an_occurrence_that_comes_too_late_is_missed(call: Any, measured: Measured) -> None:
    assert call(working(done, kind="notification"), scheduled(AT))["outcome"] == "missed"
    assert measured() == {"OccurrencesMissed": 1}


def test_a_zombie_does_not_count_its_successors_run_again(call: Any, measured: Measured, session: Session) -> None:
    def overtaken(execution: Execution) -> None:
        session.rollback()
        session.execute(text("update nightshift.runs set lease_until = now() - interval '1 second'"))
        session.commit()
        request = Request(run_id=execution.run.id)
        successor = ledger.claim(session, "work", Policy(), request, seconds=60)
        assert isinstance(successor, Claim)
        with session.begin():
            ledger.finish(session, successor, counters={"done": 3})
        with execution.batch():
            pass

    assert call(working(overtaken), scheduled(AT))["outcome"] == "succeeded"
    assert measured() == {}


@pytest.mark.parametrize("event", [scheduled(AT), {}, {"dry_run": True}, {"force": True}])
def test_a_job_that_the_settings_disable_runs_for_nobody(
    call: Any, measured: Measured, session: Session, monkeypatch: pytest.MonkeyPatch, event: dict[str, Any]
) -> None:
    monkeypatch.setenv(ENABLED_VARIABLE, "false")
    with pytest.raises(SettingError, match="job work is disabled"):
        call(working(done), event)
    assert session.scalar(text("select count(*) from nightshift.runs")) == 0
    assert measured() == {}
