"""`make deploy` and `make destroy`: the CDK's command, and the stacks that nobody wants any more."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import NoCredentialsError

from infra import deploy

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

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


@dataclass
class Account:
    """CloudFormation, as far as it is asked."""

    stacks: dict[str, bool] = field(default_factory=dict)
    """The stacks that are there, and whether they bear the tag."""

    def get_paginator(self, operation: str) -> "Account":
        assert operation == "describe_stacks"
        return self

    def paginate(self) -> Iterator[dict[str, Any]]:
        for name, ours in self.stacks.items():
            tags = [{"Key": "nightshift:pack", "Value": "any"}] if ours else []
            yield {"Stacks": [{"StackName": name, "StackStatus": "UPDATE_COMPLETE", "Tags": tags}]}

    def delete_stack(self, StackName: str) -> None:  # noqa: N803 - as boto3 has it
        del self.stacks[StackName]

    def get_waiter(self, name: str) -> "Account":
        assert name == "stack_delete_complete"
        return self

    def wait(self, **_: Any) -> None:
        pass


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def clean(account: Account) -> Any:
    return lambda profile: account


def deployed(account: Account, *names: str) -> None:
    account.stacks = {name: "Other" not in name for name in names}


def test_stacks_that_are_no_longer_wanted_are_named_and_stay(
    commands: list[Sequence[str]], account: Account, clean: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed(account, *WANTED, "Nightshift-Tracking", "Nightshift-Other", "Staging-Tracking")

    assert deploy.main("deploy", ["--profile", "shop"], clean) == 0

    assert commands == [["deploy", "--all", "--profile", "shop"]]
    assert capsys.readouterr().err.splitlines() == [
        "nightshift: stack Nightshift-Tracking: these settings no longer want it, and its rules go on",
        'nightshift: to destroy it: make deploy ARGS="--destroy-unwanted"',
    ]
    assert "Nightshift-Tracking" in set(account.stacks)


def test_they_are_destroyed_when_told_to_and_nothing_else_is(
    commands: list[Sequence[str]], account: Account, clean: Any
) -> None:
    deployed(account, *WANTED, "Nightshift-Tracking", "Nightshift-Other", "Staging-Tracking")

    assert deploy.main("deploy", ["--destroy-unwanted", "--require-approval", "never"], clean) == 0

    assert commands == [["deploy", "--all", "--require-approval", "never"]]
    assert set(account.stacks) == {*WANTED, "Nightshift-Other", "Staging-Tracking"}


def test_destroy_names_what_the_cdk_did_not_know_of(
    commands: list[Sequence[str]], account: Account, clean: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed(account, "Nightshift-Tracking")

    assert deploy.main("destroy", [], clean) == 0

    assert "stack Nightshift-Tracking: it is still there" in capsys.readouterr().err


def test_what_the_cdk_could_not_do_is_the_end_of_it(
    commands: list[Sequence[str]], account: Account, clean: Any
) -> None:
    deployed(account, *WANTED, "Nightshift-Tracking")

    assert deploy.main("deploy", ["--broken", "--destroy-unwanted"], clean) == 1

    assert "Nightshift-Tracking" in set(account.stacks)


def test_who_may_not_list_stacks_has_deployed_all_the_same(
    commands: list[Sequence[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(profile: str | None) -> "CloudFormationClient":
        raise NoCredentialsError

    assert deploy.main("deploy", [], refuse) == 0
    assert "could not be looked for" in capsys.readouterr().err
