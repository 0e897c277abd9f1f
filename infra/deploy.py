"""`make deploy` and `make destroy`: the CDK, and after it a look at the stacks that nobody wants any more.

The CDK knows only what the settings say now. The stack of a pack that was left out stays, its rules go on, and nobody
supervises its jobs. So such stacks are named; with `--destroy-unwanted` they are destroyed.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

PROJECT = Path(__file__).parent.parent
CDK = PROJECT / "node_modules/.bin/cdk"
PLATFORM = "-Platform"
TAG = "nightshift:pack"
FLAG = "--destroy-unwanted"
GONE = ("DELETE_COMPLETE", "DELETE_IN_PROGRESS")

Action = Literal["deploy", "destroy"]
Connect = Callable[[str | None], "CloudFormationClient"]


def main(action: Action, arguments: Sequence[str], connect: Connect | None = None) -> int:
    """Let the CDK do it for all stacks, then look for others of this deployment. Returns the exit code.

    arguments: the CDK's own, with `--profile`, and `--destroy-unwanted`.
    """
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--profile")
    known.add_argument("--output", "-o", default=_output())
    known.add_argument(FLAG, action="store_true")
    given, _ = known.parse_known_args(arguments)
    passed = [argument for argument in arguments if argument != FLAG]
    code = subprocess.run([CDK, action, "--all", *passed], check=False).returncode
    if code:
        return code
    names = _wanted(Path(given.output))
    platform = next(name for name in names if name.endswith(PLATFORM))
    try:
        return _clear(action, names, platform, (connect or _connect)(given.profile), destroy=given.destroy_unwanted)
    except _aws_errors() as error:
        sys.stderr.write(f"nightshift: stacks that are no longer wanted could not be looked for: {error}\n")
        return 0


def unwanted(found: Iterable[str], wanted: Iterable[str], platform: str) -> list[str]:
    """Of the stacks that are there, those of this deployment that its settings do not ask for, the platform last."""
    mine = platform.removesuffix(PLATFORM) + "-"
    return sorted(
        (name for name in {*found} - {*wanted} if name.startswith(mine)), key=lambda name: (name == platform, name)
    )


def _clear(
    action: Action, names: Sequence[str], platform: str, cloudformation: "CloudFormationClient", *, destroy: bool
) -> int:
    pages = cloudformation.get_paginator("describe_stacks").paginate()
    found = [
        stack["StackName"]
        for page in pages
        for stack in page["Stacks"]
        if stack["StackStatus"] not in GONE and TAG in {tag["Key"] for tag in stack.get("Tags", [])}
    ]
    left = unwanted(found, names if action == "deploy" else (), platform)
    if not left:
        return 0
    if not destroy:
        what = "these settings no longer want it, and its rules go on" if action == "deploy" else "it is still there"
        sys.stderr.writelines(f"nightshift: stack {name}: {what}\n" for name in left)
        sys.stderr.write(f'nightshift: to destroy {"them" if left[1:] else "it"}: make {action} ARGS="{FLAG}"\n')
        return 0
    for name in left:
        sys.stderr.write(f"nightshift: destroying the stack {name}\n")
        cloudformation.delete_stack(StackName=name)
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 2})
    return 0


def _output() -> str:
    """Where the CDK writes what it has synthesized."""
    configured = json.loads(Path("cdk.json").read_text()).get("output", "cdk.out")
    return str(configured)


def _wanted(output: Path) -> list[str]:
    """The names of the stacks that the CDK has just synthesized."""
    artifacts = json.loads((output / "manifest.json").read_text())["artifacts"]
    return [
        artifact.get("properties", {}).get("stackName", identity)
        for identity, artifact in artifacts.items()
        if artifact["type"] == "aws:cloudformation:stack"
    ]


def _connect(profile: str | None) -> "CloudFormationClient":
    import boto3

    client: CloudFormationClient = boto3.Session(profile_name=profile).client("cloudformation")
    return client


def _aws_errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


if __name__ == "__main__":
    sys.exit(main("destroy" if sys.argv[1] == "destroy" else "deploy", sys.argv[2:]))
