"""`make deploy` and `make destroy`: the CDK's command, and the stacks that nobody wants any more."""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import NoCredentialsError
from moto import mock_aws

from infra import deploy

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

TEMPLATE = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
OF_OURS = [{"Key": "nightshift:pack", "Value": "any"}]
WANTED = ["Nightshift-Platform", "Nightshift-Identity"]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """What the CDK was asked; its synth wants two stacks."""
    (tmp_path / "cdk.json").write_text('{"output": "out"}')
    (tmp_path / "out").mkdir()
    artifacts = {name: {"type": "aws:cloudformation:stack"} for name in WANTED}
    (tmp_path / "out/manifest.json").write_text(json.dumps({"artifacts": {**artifacts, "Tree": {"type": "cdk:tree"}}}))
    monkeypatch.chdir(tmp_path)
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append([str(part) for part in command[1:]])
        return subprocess.CompletedProcess(command, 1 if "--broken" in command else 0)

    monkeypatch.setattr(subprocess, "run", run)
    return asked


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> "CloudFormationClient":
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    return boto3.client("cloudformation", region_name="us-east-1")


def deployed(account: "CloudFormationClient", *names: str) -> None:
    for name in names:
        account.create_stack(StackName=name, TemplateBody=TEMPLATE, Tags=OF_OURS if "Other" not in name else [])


def names(account: "CloudFormationClient") -> set[str]:
    return {stack["StackName"] for stack in account.describe_stacks()["Stacks"]}


@pytest.fixture
def clean(account: "CloudFormationClient") -> Callable[[str | None], "CloudFormationClient"]:
    return lambda profile: account


@mock_aws
def test_stacks_that_are_no_longer_wanted_are_named_and_stay(
    commands: list[Sequence[str]], account: "CloudFormationClient", clean: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed(account, *WANTED, "Nightshift-Tracking", "Nightshift-Other", "Staging-Tracking")

    assert deploy.main("deploy", ["--profile", "shop"], clean) == 0

    assert commands == [["deploy", "--all", "--profile", "shop"]]
    assert capsys.readouterr().err.splitlines() == [
        "nightshift: stack Nightshift-Tracking: these settings no longer want it, and its rules go on",
        'nightshift: to destroy it: make deploy ARGS="--destroy-unwanted"',
    ]
    assert "Nightshift-Tracking" in names(account)


@mock_aws
def test_they_are_destroyed_when_told_to_and_nothing_else_is(
    commands: list[Sequence[str]], account: "CloudFormationClient", clean: Any
) -> None:
    deployed(account, *WANTED, "Nightshift-Tracking", "Nightshift-Other", "Staging-Tracking")

    assert deploy.main("deploy", ["--destroy-unwanted", "--require-approval", "never"], clean) == 0

    assert commands == [["deploy", "--all", "--require-approval", "never"]]
    assert names(account) == {*WANTED, "Nightshift-Other", "Staging-Tracking"}


@mock_aws
def test_destroy_names_what_the_cdk_did_not_know_of(
    commands: list[Sequence[str]], account: "CloudFormationClient", clean: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed(account, "Nightshift-Tracking")

    assert deploy.main("destroy", [], clean) == 0

    assert "stack Nightshift-Tracking: it is still there" in capsys.readouterr().err


@mock_aws
def test_what_the_cdk_could_not_do_is_the_end_of_it(
    commands: list[Sequence[str]], account: "CloudFormationClient", clean: Any
) -> None:
    deployed(account, *WANTED, "Nightshift-Tracking")

    assert deploy.main("deploy", ["--broken", "--destroy-unwanted"], clean) == 1

    assert "Nightshift-Tracking" in names(account)


def test_who_may_not_list_stacks_has_deployed_all_the_same(
    commands: list[Sequence[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(profile: str | None) -> "CloudFormationClient":
        raise NoCredentialsError

    assert deploy.main("deploy", [], refuse) == 0
    assert "could not be looked for" in capsys.readouterr().err
