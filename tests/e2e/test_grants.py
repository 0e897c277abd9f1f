"""IAM is enforced: a function can do what it declares, and nothing else."""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from local.machine import RDS_INSTANCE, Machine
from nightshift.declaration import function_name
from nightshift.store.snapshots import prefix
from tests.e2e.conftest import ITEMS, JOBS, Lambda, eventually

if TYPE_CHECKING:
    from mypy_boto3_rds import RDSClient

pytestmark = pytest.mark.e2e

PROBE = """
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

def handler(event, context):
    client = boto3.client(event["service"], config=Config(retries={"total_max_attempts": 1}))
    try:
        getattr(client, event["method"])(**event["arguments"])
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "allowed"
"""

REFUSED = {"AccessDenied", "AccessDeniedException", "AuthorizationError"}
"""What S3, Lambda and SNS call it."""


def test_a_function_whose_grant_is_taken_away_is_refused_and_says_so(
    machine: Machine, functions: Lambda, session: Session
) -> None:
    run_id = functions.call(ITEMS, {})["run_id"]
    with _without_grant(machine, functions, "supervisor", "lambda:InvokeFunction"):
        # GIVEN a run that the supervisor has to go on with, and cannot, because it may not invoke functions
        interrupt = text("update nightshift.runs set state = 'interrupted', finished_at = null where id = :id")
        session.execute(interrupt, {"id": run_id})
        session.commit()
        # WHEN it looks over the ledger THEN it says what it was not allowed, and looks after all others
        assert functions.call("supervisor", {})["hindered"] == 1
    hindered = machine.aws.client("logs").filter_log_events(
        logGroupName=f"/aws/lambda/{function_name('supervisor')}", filterPattern="supervisor.hindered"
    )
    assert any("AccessDenied" in event["message"] and run_id in event["message"] for event in hindered["events"])
    # AND with its grant back it goes on with the run
    functions.call("supervisor", {})
    states = text("select state from nightshift.runs where id = :id")

    def has_ended() -> bool:
        session.rollback()
        return bool(session.scalar(states, {"id": run_id}) == "succeeded")

    eventually(has_ended, seconds=30)


@pytest.mark.parametrize(
    ("service", "method"),
    [
        ("s3", "put_object"),
        ("s3", "list_buckets"),
        ("lambda", "invoke"),
        ("sns", "publish"),
        ("sesv2", "send_email"),
        ("sqs", "receive_message"),
        ("secretsmanager", "list_secrets"),
        ("kms", "decrypt"),
        ("rds", "create_db_snapshot"),
        ("iam", "list_roles"),
    ],
)
def test_a_job_cannot_do_what_it_did_not_declare(
    service: str, method: str, undeclared: "Probe", machine: Machine
) -> None:
    assert undeclared(service, method, _arguments(machine).get((service, method), {})) in REFUSED


def test_a_job_that_declares_the_file_store_reaches_it(files: "Probe", machine: Machine) -> None:
    own = next(each.job.own_folders for each in JOBS.values() if "files" in each.job.needs)
    arguments = _arguments(machine)[("s3", "put_object")]
    arguments["Key"] = "".join(own[:1]) + arguments["Key"]  # in its own folder, where it has one
    assert files("s3", "put_object", arguments) == "allowed"
    assert files("s3", "delete_object", {name: arguments[name] for name in ("Bucket", "Key")}) == "allowed"
    assert files("s3", "put_object", {**arguments, "Bucket": _other_bucket(machine)}) in REFUSED


def test_a_job_that_declares_snapshots_reaches_those_of_its_database(snapshots: "Probe", machine: Machine) -> None:
    ours = {"DBSnapshotIdentifier": f"{prefix()}probe"}
    assert snapshots("rds", "create_db_snapshot", {**ours, "DBInstanceIdentifier": RDS_INSTANCE}) == "allowed"
    assert snapshots("rds", "delete_db_snapshot", ours) == "allowed"
    # AND to no other instance's, nor to the instance itself
    rds: RDSClient = machine.aws.client("rds")
    rds.create_db_instance(DBInstanceIdentifier="another", DBInstanceClass="db.t4g.small", Engine="postgres")
    assert snapshots("rds", "create_db_snapshot", {**ours, "DBInstanceIdentifier": "another"}) in REFUSED
    assert snapshots("rds", "delete_db_instance", {"DBInstanceIdentifier": RDS_INSTANCE}) in REFUSED


class Probe:
    """A function with a job's role that makes one call to AWS and returns the error's code, or `allowed`."""

    def __init__(self, functions: Lambda, job: str) -> None:
        self._functions = functions
        self.job = job
        self.name = function_name(f"probe-{job}")
        configuration = functions.client.get_function_configuration(FunctionName=function_name(job))
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("probe.py", PROBE)
        functions.client.create_function(
            FunctionName=self.name,
            Role=configuration["Role"],
            Runtime=configuration["Runtime"],
            Handler="probe.handler",
            Code={"ZipFile": code.getvalue()},
            Timeout=30,
        )

    def __call__(self, service: str, method: str, arguments: dict[str, Any]) -> str:
        event = {"service": service, "method": method, "arguments": arguments}
        response = self._functions.client.invoke(FunctionName=self.name, Payload=json.dumps(event))
        return str(json.loads(response["Payload"].read()))


@pytest.fixture(scope="module")
def undeclared(functions: Lambda) -> Iterator[Probe]:
    """With the role of a job that needs nothing but the database."""
    probe = Probe(functions, next(name for name, each in JOBS.items() if not each.job.needs))
    yield probe
    functions.client.delete_function(FunctionName=probe.name)


@pytest.fixture(scope="module")
def files(functions: Lambda) -> Iterator[Probe]:
    """With the role of a job that needs the file store."""
    probe = Probe(functions, next(name for name, each in JOBS.items() if "files" in each.job.needs))
    yield probe
    functions.client.delete_function(FunctionName=probe.name)


@pytest.fixture(scope="module")
def snapshots(functions: Lambda) -> Iterator[Probe]:
    """With the role of the job that has the database's snapshots taken."""
    probe = Probe(functions, next(name for name, each in JOBS.items() if "snapshots" in each.job.needs))
    yield probe
    functions.client.delete_function(FunctionName=probe.name)


def _arguments(machine: Machine) -> dict[tuple[str, str], dict[str, Any]]:
    """Calls that would work for somebody who may make them."""
    outputs = machine.outputs["Nightshift-Platform"]
    topics = machine.aws.client("sns").list_topics()["Topics"]
    mail = {"Subject": {"Data": "Probe"}, "Body": {"Text": {"Data": "Probe"}}}
    return {
        ("s3", "put_object"): {"Bucket": outputs["FilesBucketArn"].split(":")[-1], "Key": "probe", "Body": "probe"},
        ("lambda", "invoke"): {"FunctionName": function_name("migrate"), "InvocationType": "DryRun"},
        ("sns", "publish"): {"TopicArn": topics[0]["TopicArn"], "Message": "probe"},
        ("sesv2", "send_email"): {
            "FromEmailAddress": "nightshift@example.com",
            "Destination": {"ToAddresses": ["somebody@example.com"]},
            "Content": {"Simple": mail},
        },
        ("sqs", "receive_message"): {"QueueUrl": outputs["DeadLetterQueueUrl"]},
        ("kms", "decrypt"): {"KeyId": outputs["KmsKeyArn"], "CiphertextBlob": "c2VhbGVk"},
        ("rds", "create_db_snapshot"): {"DBSnapshotIdentifier": "probe", "DBInstanceIdentifier": "main"},
    }


def _other_bucket(machine: Machine) -> str:
    """The one in which the CDK keeps the functions' code."""
    names = [bucket["Name"] for bucket in machine.aws.client("s3").list_buckets()["Buckets"]]
    return next(str(name) for name in names if name.startswith("cdk-"))


@contextmanager
def _without_grant(machine: Machine, functions: Lambda, name: str, action: str) -> Iterator[None]:
    """The function's role without the statements that allow an action."""
    iam = machine.aws.client("iam")
    role = functions.client.get_function_configuration(FunctionName=function_name(name))["Role"].split("/")[-1]
    before: dict[str, Any] = {}
    for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document: Any = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        kept = [statement for statement in document["Statement"] if action not in statement["Action"]]
        if len(kept) < len(document["Statement"]):
            before[policy] = document
            less = json.dumps({**document, "Statement": kept})
            iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=less)
    assert before, f"{role} has no inline statement for {action}"
    try:
        yield
    finally:
        for policy, document in before.items():
            iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
