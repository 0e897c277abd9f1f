"""One local AWS with the app deployed, for all end-to-end tests of a session. Started only when such a test runs.

Deployed is the project as it is, with the shop of tests/ground beside its own packs.
"""

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import pytest
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.orm import Session

from local.deploy import PROJECT
from local.machine import DATABASE, Machine, machine as started_machine
from nightshift.declaration import function_name, registry
from tests.ground.functions.market._tables import Base
from tests.ground.world import project_with_shop, shop_beside

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient

TICKING = "cart-notices"
"""The one job whose rule fires during the tests: each minute."""

ITEMS = "removed-items"
CARTS = "abandoned-carts"
"""Without a cap."""

with shop_beside():
    JOBS = dict(registry())

QUIET = dt.timedelta(hours=3)
"""So long no rule but that one fires."""

Found = TypeVar("Found")


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two workers: one has the tests on the local AWS that they share, the other those that deploy their own."""
    for item in items:
        shared = "deployed" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("the local AWS" if shared else item.path.name))


@pytest.fixture(scope="module", autouse=True)
def on_the_ground() -> Iterator[None]:
    """The shop's packs stand beside the project's own."""
    with shop_beside():
        yield


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that is deployed."""
    return project_with_shop(PROJECT, tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def deployed(project: Path) -> Iterator[Machine]:
    """PostgreSQL with the shop's tables and AWS with IAM enforced, every stack deployed, retries after moments."""
    others = psutil.Process().children(recursive=True)
    settings = {"jobs": _quiet_jobs()}
    with (
        shop_beside(),
        started_machine("e2e", settings=settings, project=project, retry_base_seconds=0.1) as running,
    ):
        Base.metadata.create_all(create_engine(running.postgres.url(DATABASE), poolclass=NullPool))
        yield running
        started = [process for process in psutil.Process().children(recursive=True) if process not in others]
    _, alive = psutil.wait_procs(started, timeout=5)
    assert not alive, "processes of the machine outlive it"


def _quiet_jobs() -> dict[str, dict[str, Any]]:
    """Settings under which no rule but one fires by itself while the tests run, whatever the time of day."""
    now = dt.datetime.now(dt.UTC)
    later = now + dt.timedelta(hours=12)
    jobs: dict[str, dict[str, Any]] = {ITEMS: {"schedule": f"cron({later.minute} {later.hour} * * ? *)"}}
    for place, (name, found) in enumerate(JOBS.items()):
        fires = found.job.timetable.next_after(now)
        if name not in jobs and fires is not None and fires < now + QUIET:
            other = later + place * dt.timedelta(minutes=7)
            jobs[name] = {"schedule": f"cron({other.minute} {other.hour} * * ? *)"}
    jobs[TICKING] = {"schedule": "cron(* * * * ? *)"}
    jobs.setdefault(CARTS, {})["parameters"] = {"max_share": 100}
    return jobs


@pytest.fixture(scope="session")
def machine(deployed: Machine) -> Machine:
    return deployed


@pytest.fixture(scope="session")
def engine(machine: Machine) -> Engine:
    """The database that the functions use."""
    return create_engine(machine.postgres.url(DATABASE), poolclass=NullPool)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """For arranging and looking."""
    with Session(engine) as session:
        yield session


@dataclass(frozen=True)
class Lambda:
    """The Lambda API for the functions of jobs and of the platform, by their names without the prefix."""

    client: "LambdaClient"

    def call(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke and wait for the answer, which must not be an error."""
        failed, answer = self.outcome(name, payload)
        assert not failed, answer
        return answer

    def error(self, name: str, payload: Mapping[str, Any]) -> str:
        """Invoke and wait for the answer, which must be an error. Returns its message."""
        failed, answer = self.outcome(name, payload)
        assert failed, answer
        return str(answer["errorMessage"])

    def send(self, name: str, payload: Mapping[str, Any]) -> None:
        """Invoke without waiting, as EventBridge does: what fails is tried again, and goes to the queue at last."""
        self.client.invoke(FunctionName=function_name(name), InvocationType="Event", Payload=json.dumps(payload))

    def outcome(self, name: str, payload: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
        """Whether the function failed, and what it answered."""
        response = self.client.invoke(FunctionName=function_name(name), Payload=json.dumps(payload))
        return "FunctionError" in response, json.loads(response["Payload"].read())


@pytest.fixture(scope="session")
def functions(machine: Machine) -> Lambda:
    return Lambda(machine.aws.client("lambda"))


@pytest.fixture(scope="session")
def failure_record(machine: Machine) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Wait for the dead letter that holds a payload, take it off the queue and return it."""
    queues: SQSClient = machine.aws.client("sqs")
    queue = machine.outputs["Nightshift-Platform"]["DeadLetterQueueUrl"]

    def wait_for(payload: Mapping[str, Any]) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            for message in queues.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages", []):
                queues.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                record: dict[str, Any] = json.loads(message["Body"])
                if record.get("requestPayload") == payload:
                    return record
            return None

        return eventually(look, seconds=60)

    return wait_for


def eventually(look: Callable[[], Found | None], *, seconds: float) -> Found:
    """Look again and again until something is found, and return it; fail when `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"nothing after {seconds} s"
        time.sleep(0.02)
    return found


def scheduled(at: dt.datetime) -> dict[str, Any]:
    """The event that an EventBridge rule sends."""
    return {"source": "aws.events", "detail-type": "Scheduled Event", "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}


def runs(session: Session, job: str) -> list[Any]:
    """The ledger's runs of a job, the newest first, as of now."""
    session.rollback()
    found = text("select * from nightshift.runs where job = :job order by created_at desc")
    return list(session.execute(found, {"job": job}))
