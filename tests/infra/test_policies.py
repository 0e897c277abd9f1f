"""The policies of docs/security.md allow what people's commands and a deployment call, and no more than their role."""

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import pytest
import typer
from botocore.client import BaseClient
from typer.testing import CliRunner

from cli.aws import AwsError
from cli.command_line import DeploymentCommand, Root
from cli.commands import application
from infra.docs import SECURITY
from infra.policies import ACCOUNT, NAME, REGION, policies
from nightshift.declaration import registry
from nightshift.environment import SENDER_VARIABLE
from tests.infra.conftest import Assembly

SHOWN = {
    name.lower(): json.loads(text)
    for name, text in re.findall(r"^### (\w+)\n\n((?:    .*\n)+)", SECURITY.read_text(), re.MULTILINE)
}
WHY = ("--by", "Ada", "--reason", "a test")
SPAN = ("--from", "2026-03-01T00:00Z", "--to", "2026-03-03T00:00Z")
LOOK = {"jobs", "next", "runs", "show", "log", "status", "health", "suggest", "backfills", "doctor", "watch"}
OF_THEIR_OWN = {"restore", "web", "logs"}
"""One asks no function: it reads the file store, and connects to the database. One serves a page, from which the same
functions are asked as by the commands. One reads log groups: it has a test of its own."""

TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:{NAME}-critical"
ANSWERS: dict[str, Any] = {
    "ListRules": {"Rules": []},
    "ListFunctions": {"Functions": [{"FunctionName": f"{NAME}-console"}]},
    "GetFunctionConfiguration": {"Environment": {"Variables": {SENDER_VARIABLE: "night@example.com"}}},
    "GetAccountSettings": {"AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}},
    "DescribeAlarms": {"MetricAlarms": [{"AlarmName": f"{NAME}-x", "StateValue": "OK", "AlarmActions": [TOPIC]}]},
    "ListSubscriptionsByTopic": {"Subscriptions": []},
    "GetQueueUrl": {"QueueUrl": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{NAME}-dead-letters"},
    "GetQueueAttributes": {"Attributes": {}},
    "GetAccount": {},
    "GetEmailIdentity": {"VerifiedForSendingStatus": False},
    "GetCallerIdentity": {"ResponseMetadata": {"HTTPHeaders": {}}},
}
"""What AWS answers to each call that a command may make besides an invocation."""

NEED_NO_POLICY = {"sts:GetCallerIdentity"}
SERVICES = {"sesv2": "ses"}
"""What the clients of boto3 are called in policies, where that is something else."""


def allows(policy: dict[str, Any], action: str, resource: str) -> bool:
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if any(fnmatchcase(action, each) for each in statement["Action"])
        and any(fnmatchcase(resource, each) for each in statement["Resource"])
    }
    return effects == {"Allow"}


class Recorder:
    """AWS, which notes the function that is invoked, and then does not answer."""

    def __init__(self) -> None:
        self.invoked: list[str] = []

    def invoke(self, function: str, payload: Any) -> dict[str, Any]:
        self.invoked.append(function)
        if payload.get("query") == "jobs" and "job" in payload:
            one = {"job": payload["job"], "enabled": True, "schedule": "cron(0 2 * * ? *)"}
            return {"jobs": [one], "runs": [], "commands": []}
        raise AwsError("recorded")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The action and the resource of every call that a command makes of AWS itself."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    calls: list[tuple[str, str]] = []

    def call(client: Any, operation: str, asked: Any) -> Any:
        service = client.meta.service_model.service_name
        calls.append((f"{SERVICES.get(service, service)}:{operation}", resource(operation, asked)))
        return ANSWERS[operation]

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return calls


def resource(operation: str, asked: dict[str, Any]) -> str:
    """What a call is about, as a policy names it."""
    match operation:
        case "GetFunctionConfiguration":
            return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{asked['FunctionName']}"
        case "ListSubscriptionsByTopic":
            return str(asked["TopicArn"])
        case "GetQueueUrl":
            return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{asked['QueueName']}"
        case "GetQueueAttributes":
            return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{asked['QueueUrl'].rpartition('/')[2]}"
        case "GetEmailIdentity":
            return f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/{asked['EmailIdentity']}"
    return "*"


def arguments(command: str) -> list[str]:
    job = next(iter(registry()))
    return {
        "show": ["show", "0123abcd"],
        "watch": ["watch", "0123abcd"],
        "run": ["run", job],
        "plan": ["plan", job],
        "backfill": ["backfill", job, *SPAN, *WHY],
        "check": ["check", "--job", job],
        "dial": ["dial", job, "--pause", "0.2s", *WHY],
        "pause": ["pause", job, *WHY],
        "resume": ["resume", job, *WHY],
        "cancel": ["cancel", "0123abcd", *WHY],
        "redrive": ["redrive", "0123abcd", "--by", "Ada"],
    }.get(command, [command])


def commands() -> list[str]:
    root = typer.main.get_command(application)
    assert isinstance(root, Root)
    return sorted({str(one.name) for one in root.every() if isinstance(one, DeploymentCommand)} - OF_THEIR_OWN)


@pytest.mark.parametrize("command", commands())
def test_who_looks_may_look_and_who_operates_may_do_everything(command: str, called: list[tuple[str, str]]) -> None:
    recorder = Recorder()

    CliRunner().invoke(application, [*arguments(command), "--name", NAME], obj=recorder)

    assert recorder.invoked, f"{command} has invoked nothing: give it arguments here"
    for function in recorder.invoked:
        call = ("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}")
        assert allows(SHOWN["operator"], *call)
        assert allows(SHOWN["administrator"], *call)
        assert not allows(SHOWN["deployer"], *call)
    seen = [f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}" for function in recorder.invoked]
    assert all(allows(SHOWN["viewer"], "lambda:InvokeFunction", each) for each in seen) == (command in LOOK)
    assert bool(called) == (command == "doctor")
    for action, about in called:
        may = {name for name, policy in SHOWN.items() if allows(policy, action, about)}
        assert action in NEED_NO_POLICY or may == {"viewer", "operator", "administrator"}, (action, about)


def test_the_viewer_may_call_nothing_that_doctor_does_not_call(called: list[tuple[str, str]]) -> None:
    of_logs_and_alarms = {"Logs", "Alarms", "AskTheConsole"}

    CliRunner().invoke(application, ["doctor", "--name", NAME], obj=Recorder())

    statements = [each for each in SHOWN["viewer"]["Statement"] if each["Sid"] not in of_logs_and_alarms]
    granted = {action for statement in statements for action in statement["Action"]}
    assert granted == {action for action, _ in called} - NEED_NO_POLICY - {"cloudwatch:DescribeAlarms"}


@pytest.mark.parametrize("follow", [(), ("--follow",)], ids=["once", "follow"])
@pytest.mark.parametrize("function", [next(iter(registry())), "supervisor"])
def test_who_looks_may_read_the_logs(function: str, follow: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, str]] = []

    def call(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        called.append((f"{client.meta.service_model.service_name}:{operation}", arguments["logGroupName"]))
        if len(called) > 1:
            raise KeyboardInterrupt
        return {"events": []}

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", call)
    monkeypatch.setattr("cli.logs.sleep", lambda _: None)

    done = CliRunner().invoke(application, ["logs", function, *follow, "--name", NAME, "--region", REGION])

    assert (done.exit_code, len(called)) == (0, 2 if follow else 1), done.stderr
    for action, group in called:
        resource = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:*"
        assert [name for name, policy in SHOWN.items() if allows(policy, action, resource)] == [
            *("viewer", "operator", "administrator")
        ]
        assert not allows(SHOWN["administrator"], action, resource.replace(f"/{NAME}-", "/staging-"))


@pytest.mark.parametrize("function", ["migrate", "supervisor", "dispatcher", "watch"])
def test_what_only_aws_starts_is_for_administrators(function: str) -> None:
    call = ("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{NAME}-{function}")

    assert [name for name, policy in SHOWN.items() if allows(policy, *call)] == ["administrator"]
    assert not allows(SHOWN["operator"], call[0], call[1].replace(f":{NAME}-", ":staging-"))


def test_the_deployer_may_assume_every_role_that_a_deployment_names(existing: Assembly) -> None:
    found = {
        role
        for file in (existing.folder / "manifest.json", *existing.folder.glob("*.assets.json"))
        for role in re.findall(r'"assumeRoleArn": "([^"]+)"', file.read_text())
    }

    assert {re.sub(r".*cdk-hnb659fds-|-\$.*", "", role) for role in found} >= {"deploy-role", "file-publishing-role"}
    own = {"${AWS::Partition}": "aws", "${AWS::AccountId}": ACCOUNT, "${AWS::Region}": REGION}
    for role in found:
        for name, value in own.items():
            role = role.replace(name, value)
        assert allows(SHOWN["deployer"], "sts:AssumeRole", role)
        assert not allows(SHOWN["operator"], "sts:AssumeRole", role)


def test_the_administrator_alone_may_read_backups_and_nobody_may_delete_them() -> None:
    backup = "arn:aws:s3:::FILES-BUCKET/backups/2026-03-01T013000Z/manifest.json"

    assert [name for name, policy in SHOWN.items() if allows(policy, "s3:GetObject", backup)] == ["administrator"]
    assert [name for name, policy in SHOWN.items() if allows(policy, "s3:DeleteObject", backup)] == []


def test_the_page_shows_the_policies_as_they_are() -> None:
    assert policies() == SHOWN
