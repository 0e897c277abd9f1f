"""The app synthesized once a session for each of two deployments, without AWS, network credentials or git.

Its jobs are the project's own, whatever they are, and those of the shop in tests/ground, whose needs are all there are.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from local.node import search_path
from nightshift.declaration import registry
from tests.ground.world import shop_beside

PROJECT = Path(__file__).parents[2]
SECRET = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:application-AbCdEf"
VPC = "vpc-0123456789abcdef0"
SUBNETS = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
SECURITY_GROUP = "sg-0123456789abcdef0"
BUCKET = "application-files"
LAYERS = ["Libraries of Nightshift", "The runtime library of Nightshift"]
if any((PROJECT / "layers/application/python").rglob("*.py")):
    LAYERS.append("The application's own code")
with shop_beside():
    JOBS = dict(registry())
CHANGED = "abandoned-carts"
ZONED = "daily-takings"
"""A job that the settings give a time zone."""

EXISTING: dict[str, Any] = {
    "database": {
        "secret_arn": SECRET,
        "host": "db.example.internal",
        "name": "application",
        "rds_cluster": "application",
    },
    "network": {"vpc_id": VPC, "subnet_ids": SUBNETS, "security_group_ids": [SECURITY_GROUP]},
    "files_bucket": BUCKET,
    "files_prefix": "live/",
    "sender": "nightshift@example.com",
    "preferences_url": "https://app.example.com/settings",
    "alarms": {"critical": ["oncall@example.com"], "ordinary": ["team@example.com"]},
    "jobs": {
        CHANGED: {
            "enabled": False,
            "schedule": "cron(0 5 ? * MON *)",
            "parameters": {"retention_days": 40},
            "log_retention_days": 90,
        },
        ZONED: {"timezone": "Europe/Berlin"},
    },
}
TOPIC = "arn:aws:sns:eu-west-1:111122223333:pages"
STAGING: dict[str, Any] = {
    **EXISTING,
    "jobs": {},
    "rules": "off",
    "name": "staging",
    "alarms": {
        "critical": [TOPIC],
        "ordinary": ["team@example.com", "https://events.example.com/integration/1/enqueue"],
    },
    "ping_url": "https://hc.example.com/11111111",
}
KEY = "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555"
READERS_SECRET = SECRET.replace("application-", "reader-")
ROUTES = ["rtb-0123456789abcdef0"]
WITHOUT_NAT: dict[str, Any] = {
    "database": {
        "secret_arn": SECRET,
        "secret_kms_key_arn": KEY,
        "console_user": "reader",
        "console_secret_arn": READERS_SECRET,
        "rds_instance": "application",
    },
    "network": {**EXISTING["network"], "endpoints": True, "route_table_ids": ROUTES},
    "files_bucket": BUCKET,
    "sender": "nightshift@example.com",
    "packs": ["back_office"],
}
THROUGH_PROXY: dict[str, Any] = {
    **WITHOUT_NAT,
    "database": {
        "host": "proxy.example.internal",
        "name": "application",
        "user": "nightshift",
        "iam_region": "eu-west-1",
        "resource_id": "prx-0123456789abcdef0",
        "console_user": "reader",
        "rds_cluster": "application",
    },
    "kms_key_arn": KEY,
}
NEW: dict[str, Any] = {"database": {"create": "aurora-serverless-v2"}}


@dataclass(frozen=True)
class Assembly:
    """What a synth has written."""

    folder: Path

    @cached_property
    def stacks(self) -> dict[str, dict[str, Any]]:
        """The templates by stack name. They are read once, and for looking only."""
        templates = sorted(self.folder.glob("*.template.json"))
        return {path.name.removesuffix(".template.json"): json.loads(path.read_text()) for path in templates}

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of all resources of a kind, in all stacks, by stack and logical id."""
        return {
            f"{name}/{identity}": resource.get("Properties", {})
            for name, template in self.stacks.items()
            for identity, resource in template["Resources"].items()
            if resource["Type"] == kind
        }

    def one(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """The properties of the only resource of a kind that has these properties."""
        found = [
            properties
            for properties in self.resources(kind).values()
            if all(properties.get(name) == value for name, value in wanted.items())
        ]
        assert len(found) == 1, f"{len(found)} of {kind} with {wanted}"
        return found[0]


def context(settings: Mapping[str, Any] | str) -> dict[str, Any]:
    """The context as the CDK CLI gives it, with these settings."""
    given: dict[str, Any] = json.loads((PROJECT / "cdk.json").read_text())["context"]
    return {**given, "nightshift": settings}


@pytest.fixture(scope="module", autouse=True)
def on_the_ground() -> Iterator[None]:
    """The shop's packs stand beside the project's own."""
    with shop_beside():
        yield


@pytest.fixture(scope="session", autouse=True)
def bare_environment() -> Iterator[None]:
    """Node for jsii, and nothing of AWS."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("AWS_", "CDK_")):
                patch.delenv(name)
        patch.setenv("PATH", search_path(os.environ))
        yield


@pytest.fixture(scope="session")
def existing(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """An existing database in somebody's VPC, one job changed by settings."""
    return synthesize(EXISTING, tmp_path_factory.mktemp("existing"))


@pytest.fixture(scope="session")
def new(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """A new Aurora cluster and everything else by default."""
    return synthesize(NEW, tmp_path_factory.mktemp("new"))


@pytest.fixture(scope="session")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """A second deployment beside `existing` in the same account, under a name of its own, with every rule off."""
    return synthesize(STAGING, tmp_path_factory.mktemp("staging"))


@pytest.fixture(scope="session")
def without_nat(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """One pack on an RDS instance whose secrets lie under a customer's key, in a network without a way out."""
    return synthesize(WITHOUT_NAT, tmp_path_factory.mktemp("without_nat"))


@pytest.fixture(scope="session")
def through_proxy(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """The same pack on an Aurora cluster, which functions reach through RDS Proxy with IAM tokens."""
    return synthesize(THROUGH_PROXY, tmp_path_factory.mktemp("through_proxy"))


def synthesize(settings: Mapping[str, Any], folder: Path) -> Assembly:
    from infra.app import main

    with shop_beside():
        assert main(context(settings), str(folder)) == 0
    return Assembly(folder)


def text(value: Any) -> str:
    """A resource's value in one line, to look for something in it wherever CloudFormation's functions have put it."""
    return json.dumps(value)


def actions(statement: dict[str, Any]) -> set[str]:
    """What a policy statement is about, written as one action or as a list."""
    given = statement["Action"]
    return {given} if isinstance(given, str) else set(given)
