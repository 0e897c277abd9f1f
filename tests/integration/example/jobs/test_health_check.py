import datetime as dt
import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from application.models import Alert, RequestStats
from functions.administration.health_check import MEASURES, handler, job
from nightshift.environment import DATABASE_VARIABLE, DEPLOYMENT_VARIABLE
from nightshift.errors import UnclaimedError
from nightshift.ledger import RegisteredJob, RunRecord
from nightshift.outbox import Notification, render
from nightshift.runtime import paging
from nightshift.steps import HealthRecord, health
from nightshift.store import FileStore, FileStoreError
from tests.integration.conftest import Context, Invoke
from tests.integration.example.jobs.activity import store
from tests.integration.example.jobs.people import outbox, person, utc

NOW = utc("2026-03-01 10:00")
TICK = dt.timedelta(minutes=5)
MINUTE = dt.timedelta(minutes=1)
DAY = dt.timedelta(days=1)

pytestmark = pytest.mark.usefixtures("files", "operators", "deployment")


def states(session: Session, at: dt.datetime = NOW) -> dict[str, str]:
    """The status of every component that the check of an instant found."""
    session.rollback()
    found = session.scalars(select(HealthRecord.components).where(HealthRecord.checked_at == at)).one()
    return {name: one["status"] for name, one in found.items()}


def overall(session: Session, at: dt.datetime = NOW) -> str:
    session.rollback()
    return session.scalars(select(HealthRecord.overall).where(HealthRecord.checked_at == at)).one()


def alerts(session: Session) -> list[tuple[str, str, str]]:
    session.rollback()
    rows = session.execute(select(Alert.fingerprint, Alert.severity, Alert.status).order_by(Alert.first_seen_at))
    return [(fingerprint, severity, status) for fingerprint, severity, status in rows]


def requests(session: Session, errors: int, at: dt.datetime = NOW - MINUTE) -> None:
    session.add(RequestStats(minute=at, route="/", n=100, errors=errors, sum_ms=1000, hist=[0] * 281))
    session.commit()


def notice(session: Session, due: dt.datetime, channel: str) -> None:
    more = {"title": "A", "body": "B", "kind": "security_alert", "dedupe_key": f"{uuid.uuid4()}|{channel}"}
    session.add(Notification(channel=channel, scheduled_for=due, created_at=due, **more))
    session.commit()


def succeeded(session: Session, name: str, finished_at: dt.datetime, **more: Any) -> None:
    session.add(RegisteredJob(name=name, registered_at=NOW - 90 * DAY, **more))
    session.flush()
    times = {"scheduled_for": finished_at, "started_at": finished_at, "finished_at": finished_at}
    session.add(RunRecord(job=name, state="succeeded", trigger="schedule", max_attempts=3, **times))
    session.commit()


def break_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileStoreError("S3 answered PutObject with AccessDenied")

    monkeypatch.setattr(FileStore, "write", refuse)


def test_all_is_well_and_what_cannot_be_measured_is_unknown(invoke_job: Invoke, session: Session) -> None:
    requests(session, 5)

    counters = invoke_job(job, at=NOW)["counters"]

    assert states(session) == {
        **dict.fromkeys(("database", "connections", "outbox", "error_rate", "jobs", "files"), "healthy"),
        **dict.fromkeys(("memory", "cpu", "storage"), "unknown"),
    }
    assert overall(session) == "healthy"
    assert (counters["components"], counters["degraded"], counters["unhealthy"], counters["unknown"]) == (9, 0, 0, 3)


def test_a_slow_database_is_degraded(invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    assert health.SLOWEST_PING_MS == 1000
    monkeypatch.setattr(health, "SLOWEST_PING_MS", 0)

    counters = invoke_job(job, at=NOW)["counters"]

    assert (states(session)["database"], overall(session)) == ("degraded", "degraded")
    assert (counters["degraded"], counters["unhealthy"]) == (1, 0)


def test_a_database_that_answers_with_an_error_or_too_late_is_unhealthy(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "SECONDS_EACH", 1)
    monkeypatch.setattr(health, "PING", text("select 1 from pg_sleep(30)"))

    counters = invoke_job(job, at=NOW)["counters"]

    assert (states(session)["database"], overall(session), counters["unhealthy"]) == ("unhealthy", "unhealthy", 1)


@pytest.mark.parametrize(("errors", "status"), [(5, "healthy"), (6, "degraded")])
def test_error_rate(invoke_job: Invoke, session: Session, errors: int, status: str) -> None:
    requests(session, errors)
    requests(session, 100, NOW - 11 * MINUTE)
    requests(session, 100, NOW)

    invoke_job(job, at=NOW)

    assert states(session)["error_rate"] == status


def test_without_requests_the_error_rate_is_unknown(invoke_job: Invoke, session: Session) -> None:
    invoke_job(job, at=NOW)

    assert states(session)["error_rate"] == "unknown"
    assert overall(session) == "healthy"


@pytest.mark.parametrize(
    ("waits", "channel", "status"),
    [
        (15 * MINUTE, "email", "healthy"),
        (16 * MINUTE, "email", "degraded"),
        (16 * MINUTE, "ops", "degraded"),
        (16 * MINUTE, "in_app", "degraded"),
        (16 * MINUTE, "push", "healthy"),
        (-DAY, "email", "healthy"),
    ],
)
def test_outbox(invoke_job: Invoke, session: Session, waits: dt.timedelta, channel: str, status: str) -> None:
    notice(session, NOW - waits, channel)

    invoke_job(job, at=NOW)

    assert states(session)["outbox"] == status


@pytest.mark.parametrize(
    ("since", "more", "status"),
    [
        (2 * DAY, {}, "healthy"),
        (2 * DAY + MINUTE, {}, "degraded"),
        (9 * DAY, {"paused_at": NOW}, "healthy"),
    ],
)
def test_a_job_without_success_for_two_periods_is_overdue(
    invoke_job: Invoke, session: Session, since: dt.timedelta, more: dict[str, Any], status: str
) -> None:
    succeeded(session, "cache-cleanup", NOW - since, **more)
    succeeded(session, "no-longer-there", NOW - 80 * DAY)

    invoke_job(job, at=NOW)

    assert states(session)["jobs"] == status


def test_a_job_that_never_succeeded_is_overdue_two_periods_after_it_was_known(
    invoke_job: Invoke, session: Session
) -> None:
    session.add(RegisteredJob(name="cache-cleanup", registered_at=NOW - 2 * DAY))
    session.commit()

    invoke_job(job, at=NOW)
    invoke_job(job, at=NOW + TICK)

    assert (states(session)["jobs"], states(session, NOW + TICK)["jobs"]) == ("healthy", "degraded")


def test_a_disabled_job_is_not_overdue(invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = {"packs": ["tracking"], "jobs": {"cache-cleanup": {"enabled": False}}}
    monkeypatch.setenv(DEPLOYMENT_VARIABLE, json.dumps(deployment))
    succeeded(session, "cache-cleanup", NOW - 9 * DAY)

    invoke_job(job, at=NOW)

    assert states(session)["jobs"] == "healthy"


@pytest.mark.parametrize(
    ("key", "component", "limit"),
    [("memory_percent", "memory", 90), ("cpu_percent", "cpu", 80), ("storage_percent", "storage", 90)],
)
def test_what_somebody_measures_of_the_server(
    invoke_job: Invoke, session: Session, key: str, component: str, limit: int
) -> None:
    store(session, "perf_10m", NOW - 10 * MINUTE, NOW, **{key: limit})
    invoke_job(job, at=NOW)
    store(session, "perf_10m", NOW - 5 * MINUTE, NOW + TICK, **{key: limit + 0.1})

    invoke_job(job, at=NOW + TICK)
    invoke_job(job, at=NOW + 60 * MINUTE)

    seen = [states(session, at)[component] for at in (NOW, NOW + TICK, NOW + 60 * MINUTE)]
    assert seen == ["healthy", "degraded", "unknown"]


def test_connections(invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    measure, limit = health.MEASURES["connections"]
    assert limit == 0.8
    monkeypatch.setitem(health.MEASURES, "connections", (measure, 0.0))

    invoke_job(job, at=NOW)

    assert states(session)["connections"] == "degraded"


@pytest.mark.parametrize(
    ("replicas", "status"),
    [
        ("(0, 0, null::float)", None),
        ("(1, 1, 5.0)", "healthy"),
        ("(1, 1, 5.1)", "degraded"),
        ("(1, 0, 0.0)", "unknown"),
    ],
)
def test_replication_is_judged_where_there_is_a_replica(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch, replicas: str, status: str | None
) -> None:
    found = text(f"select * from (values {replicas}) as given")  # noqa: S608 - a constant of this test
    monkeypatch.setattr(health, "REPLICATION", found)

    invoke_job(job, at=NOW)

    assert states(session).get("replication") == status


def test_the_question_about_replicas_can_be_asked(session: Session) -> None:
    assert session.execute(health.REPLICATION).one()[0] == 0


def test_a_measurement_that_fails_or_takes_too_long_is_unknown(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "SECONDS_EACH", 1)
    monkeypatch.setitem(MEASURES, "error_rate", ("select 1 / 0", 0.05))
    monkeypatch.setitem(health.MEASURES, "outbox", ("select 1 from pg_sleep(30)", 15))
    monkeypatch.setitem(MEASURES, "memory", ("select numeric 'NaN'", 0.9))
    monkeypatch.setitem(MEASURES, "cpu", ("select float8 'Infinity'", 0.8))
    monkeypatch.setitem(MEASURES, "storage", ("select array[1]", 0.9))

    invoke_job(job, at=NOW)

    found = states(session)
    assert (found["error_rate"], found["outbox"], found["connections"]) == ("unknown", "unknown", "healthy")
    assert (found["memory"], found["cpu"], found["storage"]) == ("unknown", "degraded", "unknown")


def test_a_file_store_that_refuses_is_unhealthy(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_files(monkeypatch)

    counters = invoke_job(job, at=NOW)["counters"]

    assert (states(session)["files"], overall(session), counters["unhealthy"]) == ("unhealthy", "unhealthy", 1)


def test_a_file_store_that_hangs_or_forgets_is_unhealthy(files: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileStore, "read", lambda *_: b"another")
    assert health.file_store(files).status == "unhealthy"

    answered = threading.Event()
    monkeypatch.setattr(health, "SECONDS_EACH", 0.05)
    monkeypatch.setattr(FileStore, "read", lambda *_: answered.wait(10))
    assert health.file_store(files).reason == "no answer within 0.05 seconds"
    answered.set()


def test_one_bad_check_is_no_alert_two_running_are_one(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = person(session, "root", role="admin")
    with monkeypatch.context() as broken:
        break_files(broken)
        invoke_job(job, at=NOW)
        assert alerts(session) == []

        for number in (1, 2, 3):
            invoke_job(job, at=NOW + number * TICK)

    assert alerts(session) == [("unhealthy_component:files", "critical", "open")]
    assert session.scalars(select(Alert.occurrences)).one() == 3
    assert sorted((row.channel, row.recipient, row.title) for row in outbox(session)) == [
        ("email", str(admin), "Critical: a component is not well"),
        ("ops", None, "files is unhealthy"),
    ]
    for row in outbox(session):
        shown = render(row.kind, title=row.title, body=row.body, data=row.data, name=None).text
        assert "  - files, S3 answered PutObject with AccessDenied: 1 time\n" in shown

    invoke_job(job, at=NOW + 4 * TICK)

    assert alerts(session) == [("unhealthy_component:files", "critical", "resolved")]


def test_a_blip_is_no_alert(invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        with monkeypatch.context() as broken:
            if number % 2:
                break_files(broken)
            invoke_job(job, at=NOW + number * TICK)

    assert alerts(session) == []


def test_an_alert_is_not_repeated_within_five_minutes(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_files(monkeypatch)

    for minutes in (0, 5, 6, 9, 10):
        invoke_job(job, at=NOW + minutes * MINUTE)

    assert session.scalars(select(Alert.occurrences)).one() == 2


def test_what_becomes_worse_is_told_again(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = person(session, "root", role="admin")
    statuses = iter(["degraded", "degraded", "unhealthy"])
    monkeypatch.setattr(health, "file_store", lambda _: health.Component(next(statuses)))  # type: ignore[arg-type]

    for number in range(3):
        invoke_job(job, at=NOW + number * TICK)

    assert [severity for _, severity, _ in alerts(session)] == ["critical"]
    titles = [row.title for row in outbox(session) if row.recipient == str(admin)]
    assert sorted(titles) == ["Critical: a component is not well", "Medium: a component is not well"]


def test_an_unknown_component_neither_alerts_nor_resolves(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = iter(["unhealthy", "unhealthy", "unknown", "unknown"])
    monkeypatch.setattr(health, "file_store", lambda _: health.Component(next(statuses)))  # type: ignore[arg-type]

    for number in range(4):
        invoke_job(job, at=NOW + number * TICK)

    assert alerts(session) == [("unhealthy_component:files", "critical", "open")]


def test_the_alert_of_a_replica_that_is_no_longer_there_is_resolved(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as lagging:
        lagging.setattr(health, "REPLICATION", text("select 1, 1, 60.0"))
        invoke_job(job, at=NOW)
        invoke_job(job, at=NOW + TICK)
    assert alerts(session) == [("unhealthy_component:replication", "medium", "open")]

    invoke_job(job, at=NOW + 2 * TICK)

    assert alerts(session) == [("unhealthy_component:replication", "medium", "resolved")]


def test_checks_are_kept_for_thirty_days(invoke_job: Invoke, session: Session) -> None:
    for age in (30 * DAY, 30 * DAY + MINUTE):
        session.add(HealthRecord(checked_at=NOW - age, overall="healthy", components={}, duration_ms=1))
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert counters["deleted"] == 1
    assert set(session.scalars(select(HealthRecord.checked_at))) == {NOW - 30 * DAY, NOW}


def test_a_forced_repetition_replaces_the_check(invoke_job: Invoke, session: Session) -> None:
    invoke_job(job, at=NOW)
    invoke_job(job, {"force": True}, at=NOW)

    assert session.scalars(select(HealthRecord.checked_at)).all() == [NOW]


def pages() -> list[str]:
    """What the operators were paged with."""
    sqs = boto3.client("sqs")
    queue = sqs.get_queue_url(QueueName="pages")["QueueUrl"]
    found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"])["Subject"] for message in found]


@pytest.fixture
def without_database(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The check as it is deployed, less patient, while the database is away."""
    assert handler.__qualname__ == paging.paging_handler(job).__qualname__
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": "postgresql://nobody@127.0.0.1:1/none"}))
    monkeypatch.setattr(paging, "PATIENCE_SECONDS", 0.2)
    return paging.paging_handler(job)


def test_without_a_database_a_metric_is_logged_and_the_operators_are_paged_once(
    without_database: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(2):  # Lambda tries a failed check again
        with pytest.raises(UnclaimedError):
            without_database({"scheduled_for": NOW.isoformat()}, Context(60))

    assert pages() == ["The database does not answer"]
    assert caplog.messages.count("health.database_unreachable") == 2
    assert capsys.readouterr().out.count('"DatabaseUnreachable":[1.0]') == 2

    monkeypatch.setattr(paging, "AGAIN_AFTER", dt.timedelta(0))
    with pytest.raises(UnclaimedError):
        without_database({"scheduled_for": NOW.isoformat()}, Context(60))

    assert pages() == ["The database does not answer"]


def test_without_a_file_store_either_the_operators_are_paged_all_the_same(
    without_database: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileStoreError("S3 answered ListObjectsV2 with AccessDenied")

    monkeypatch.setattr(FileStore, "pages", refuse)
    monkeypatch.setattr(FileStore, "write", refuse)

    with pytest.raises(UnclaimedError):
        without_database({}, Context(60))

    assert pages() == ["The database does not answer"]
