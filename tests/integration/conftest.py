"""Running jobs as Lambda would: the same wrapper, on a real database, with a context of the test's own."""

import datetime as dt
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any, Protocol

import boto3
import pytest
from moto import mock_aws
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from nightshift import Job
from nightshift.environment import (
    DATABASE_VARIABLE,
    DEPLOYMENT_VARIABLE,
    FILES_VARIABLE,
    INSTANCE_VARIABLE,
    KMS_KEY_VARIABLE,
    TOPIC_VARIABLE,
)
from nightshift.runtime import invoke
from nightshift.store import FileStore, KeyService, Snapshots, add_data_key

pytest.register_assert_rewrite("tests.integration.every_job")


class Context:
    """Lambda's context object: a request id and the time that is left."""

    def __init__(self, seconds: float, request_id: str | None = None) -> None:
        self.aws_request_id = request_id or str(uuid.uuid4())
        self.invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:nightshift-test"
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - time.monotonic()) * 1000)


class Invoke(Protocol):
    def __call__(
        self,
        job: Job,
        event: Any = ...,
        *,
        at: str | dt.datetime | None = ...,
        seconds: float = ...,
        request_id: str | None = ...,
    ) -> dict[str, Any]: ...


def scheduled(at: str | dt.datetime) -> dict[str, Any]:
    """The event that an EventBridge rule sends."""
    time = at if isinstance(at, str) else at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": time,
        "region": "eu-central-1",
        "resources": ["arn:aws:events:eu-central-1:123456789012:rule/nightshift-test"],
        "detail": {},
    }


@pytest.fixture
def invoke_job(database: Engine, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Invoke a job's function: `invoke_job(job, event)`. With `at="2026-03-01T02:00:00Z"` it is run for that time."""
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": database.url.render_as_string(hide_password=False)}))

    def call(
        job: Job,
        event: Any = None,
        *,
        at: str | dt.datetime | None = None,
        seconds: float = 60,
        request_id: str | None = None,
    ) -> dict[str, Any]:
        payload: Any = {} if event is None else event
        if at is not None:
            payload = {**payload, "scheduled_for": at if isinstance(at, str) else at.isoformat()}
        return invoke(job, payload, Context(seconds, request_id))

    return call


@pytest.fixture
def session(database: Engine) -> Iterator[Session]:
    """A session for arranging and looking, with expired objects read again after a commit."""
    with Session(database) as session:
        yield session


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AWS as moto plays it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


@pytest.fixture
def files(aws: None, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    """The file store that a job finds in its environment: an empty bucket of moto's."""
    monkeypatch.setenv(FILES_VARIABLE, "nightshift-files")
    boto3.client("s3").create_bucket(Bucket="nightshift-files")
    return FileStore("nightshift-files")


@pytest.fixture
def application_files(files: FileStore) -> FileStore:
    """The store of the application's own files: where nothing else is set, the same."""
    return files


@pytest.fixture
def keys(aws: None, monkeypatch: pytest.MonkeyPatch, session: Session) -> KeyService:
    """The KMS key that a job finds in its environment, and a first data key in the database."""
    service = KeyService(boto3.client("kms").create_key()["KeyMetadata"]["Arn"])
    monkeypatch.setenv(KMS_KEY_VARIABLE, service.kms_key)
    add_data_key(session, service)
    session.commit()
    return service


@pytest.fixture
def snapshots(aws: None, monkeypatch: pytest.MonkeyPatch) -> Snapshots:
    """The RDS instance that a job finds in its environment: one of moto's, which takes snapshots at once."""
    monkeypatch.setenv(INSTANCE_VARIABLE, "main")
    boto3.client("rds").create_db_instance(
        DBInstanceIdentifier="main", DBInstanceClass="db.t4g.small", Engine="postgres"
    )
    return Snapshots("main")


@pytest.fixture
def operators(aws: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ARN of the topic that a job finds in its environment. What is published to it lands in the queue `pages`."""
    sns, sqs = boto3.client("sns"), boto3.client("sqs")
    topic = sns.create_topic(Name="nightshift-critical")["TopicArn"]
    queue = sqs.create_queue(QueueName="pages")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=attributes["QueueArn"])
    monkeypatch.setenv(TOPIC_VARIABLE, topic)
    return topic


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is deployed as declared."""
    monkeypatch.delenv(DEPLOYMENT_VARIABLE, raising=False)
