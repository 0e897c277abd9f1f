"""The health check of a project of one's own, as docs/examples has it, on a database without the example."""

import datetime as dt
import json
import runpy
from pathlib import Path
from typing import Any

import boto3
import pytest
from sqlalchemy import Engine, text

from nightshift import Job
from nightshift.environment import TOPIC_VARIABLE
from nightshift.steps import HealthCheck
from nightshift.store import FileStore, FileStoreError
from tests.integration.tables.conftest import Call

EXAMPLES = Path(__file__).parents[3] / "docs/examples"
NOW = dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)

pytestmark = pytest.mark.usefixtures("package", "files", "operators", "deployment")


@pytest.fixture(autouse=True)
def packs_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """No job of the example is there, as its tables and models are not."""
    monkeypatch.setattr("nightshift.declaration.deployment.registry", dict)


def offered(name: str) -> Job:
    """A job file that may be copied into a pack."""
    job = runpy.run_path(str(EXAMPLES / f"{name}.py"))["job"]
    assert isinstance(job, Job)
    assert job.name == name.replace("_", "-")
    return job


def told(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("select title from nightshift.notifications order by scheduled_for")))


def checked(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        found = connection.execute(text("select overall, components from nightshift.health_checks order by checked_at"))
        return [(overall, {name: each["status"] for name, each in parts.items()}) for overall, parts in found]


def test_components_are_measured_and_operators_told_once_of_what_is_bad_twice_running(
    made: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, job = made(""), offered("health_check")

    def check(minutes: int) -> None:
        call(engine, job, scheduled_for=(NOW + dt.timedelta(minutes=minutes)).isoformat())

    def refuse(*_: object, **__: object) -> None:
        raise FileStoreError("S3 answered PutObject with AccessDenied")

    check(0)
    with monkeypatch.context() as broken:
        broken.setattr(FileStore, "write", refuse)
        check(5)
        assert told(engine) == []
        for minutes in (10, 15, 20):
            check(minutes)
    check(25)

    assert told(engine) == ["files is unhealthy"]
    found = checked(engine)
    assert found[0] == ("healthy", dict.fromkeys(("database", "connections", "outbox", "jobs", "files"), "healthy"))
    assert [overall for overall, _ in found] == ["healthy", *["unhealthy"] * 4, "healthy"]


@pytest.mark.parametrize(
    ("channel", "status"), [("email", "degraded"), ("ops", "degraded"), ("in_app", "degraded"), ("push", "healthy")]
)
def test_every_channel_that_is_sent_or_released_from_here_makes_the_outbox_wait(
    made: Any, call: Call, channel: str, status: str
) -> None:
    engine = made("")
    wait(engine, channel, NOW - dt.timedelta(minutes=16))
    call(engine, offered("health_check"), scheduled_for=NOW.isoformat())
    assert checked(engine)[0][1]["outbox"] == status


def wait(engine: Engine, channel: str, since: dt.datetime) -> None:
    """A notice that nobody has sent since then."""
    notice = text(
        "insert into nightshift.notifications (channel, kind, title, body, dedupe_key, scheduled_for, created_at)"
        " values (:channel, 'operators', 'waiting', '', 'waiting', :since, :since)"
    )
    with engine.begin() as connection:
        connection.execute(notice, {"channel": channel, "since": since})


def paged() -> list[dict[str, str]]:
    sqs = boto3.client("sqs")
    queue = sqs.get_queue_url(QueueName="pages")["QueueUrl"]
    found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"]) for message in found]


def test_operators_are_paged_with_a_bad_outbox_past_it_once(made: Any, call: Call) -> None:
    engine, job = made(""), offered("health_check")
    wait(engine, "email", NOW - dt.timedelta(minutes=16))

    def check(minutes: int) -> None:
        call(engine, job, scheduled_for=(NOW + dt.timedelta(minutes=minutes)).isoformat())

    check(0)
    assert paged() == []
    for minutes in (5, 10, 15):
        check(minutes)

    (page,) = paged()
    assert page["Subject"] == "The outbox is degraded"
    assert "has waited for 21 minutes" in page["Message"]
    assert "First: check that the rule nightshift-dispatcher" in page["Message"]
    assert told(engine) == ["waiting"], "nobody writes it into the outbox"


def test_a_page_that_is_not_sent_does_not_keep_the_check_from_its_end(
    made: Any, call: Call, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(TOPIC_VARIABLE, "arn:aws:sns:us-east-1:123456789012:gone")
    engine, job = made(""), offered("health_check")
    wait(engine, "email", NOW - dt.timedelta(minutes=16))
    for minutes in (0, 5):
        call(engine, job, scheduled_for=(NOW + dt.timedelta(minutes=minutes)).isoformat())
    assert [overall for overall, _ in checked(engine)] == ["degraded", "degraded"]
    assert "operators.not_paged" in [record.message for record in caplog.records]


def test_a_measure_of_ones_own_is_told_again_when_it_becomes_worse(made: Any, call: Call) -> None:
    engine = made("create table queue (waits int); insert into queue values (9)")
    step = HealthCheck(measures={"queue": ("select max(waits) from queue", 5), "typo": ("select nothing", 1)})
    job = Job(name="look", kind="check", schedule="cron(0/5 * * * ? *)", steps=(step,), audited=False,
              needs=frozenset({"files", "deployment"}))  # fmt: skip

    for minutes in (0, 5):
        result = call(engine, job, scheduled_for=(NOW + dt.timedelta(minutes=minutes)).isoformat())

    assert (result["counters"]["degraded"], result["counters"]["unknown"]) == (1, 1)
    assert told(engine) == ["queue is degraded"]
    assert checked(engine)[1][1]["typo"] == "unknown"


def test_the_backup_that_is_offered_runs(made: Any, call: Call) -> None:
    assert call(made("create table orders (id int)"), offered("backup"))["outcome"] == "succeeded"
