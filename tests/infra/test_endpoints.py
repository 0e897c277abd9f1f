"""Which API which function calls, and the VPC endpoints that follow from it."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from infra.apis import ENDPOINTS, NEEDS, Call, calls, endpoints, table
from infra.docs import SETTINGS
from infra.settings import read_settings
from nightshift.declaration.job import Need
from tests.infra.conftest import (
    EXISTING,
    JOBS,
    NEW,
    PROJECT,
    ROUTES,
    SECURITY_GROUP,
    THROUGH_PROXY,
    WITHOUT_NAT,
    Assembly,
    actions,
    synthesize,
    text,
)

OF_IAM = {"ses": "sesv2"}
"""What IAM calls an API that boto3 calls otherwise."""

NO_CALL = {"ec2", "logs", "rds-db"}
"""Grants for Lambda itself, and for a token that the function signs alone."""


def wanted(settings: dict[str, Any]) -> list[Call]:
    read = read_settings(settings, JOBS)
    return calls(read, read.deployed(JOBS))


def granted(assembly: Assembly) -> set[tuple[str, str]]:
    """API and function of every grant in the templates, but of what Lambda does in a function's name."""
    found = set()
    policies = assembly.resources("AWS::IAM::Policy")
    for where, function in assembly.resources("AWS::Lambda::Function").items():
        name = function.get("FunctionName", "")
        if not name:
            continue  # the CDK's own, outside the network
        role = function["Role"]["Fn::GetAtt"][0]
        for place, policy in policies.items():
            if place.split("/")[0] != where.split("/")[0] or {"Ref": role} not in policy["Roles"]:
                continue
            for statement in policy["PolicyDocument"]["Statement"]:
                if "Condition" in statement and "kms:ViaService" in text(statement["Condition"]):
                    continue  # Secrets Manager asks, and not the function
                services = {
                    OF_IAM.get(service, service) for each in actions(statement) if (service := each.split(":")[0])
                }
                found |= {(service, name.removeprefix("nightshift-")) for service in services - NO_CALL}
    jobs = set(JOBS)
    return {(service, name) for service, name in found if not (service == "sqs" and name in jobs)}


@pytest.mark.parametrize(
    ("name", "settings"),
    [("existing", EXISTING), ("new", NEW), ("without_nat", WITHOUT_NAT), ("through_proxy", THROUGH_PROXY)],
)
def test_the_table_is_what_functions_may_call(
    name: str, settings: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """Least privilege on both sides: no call without a grant, and no grant without a call."""
    assembly: Assembly = request.getfixturevalue(name)

    assert {(call.api, call.function) for call in wanted(settings)} == granted(assembly)


def test_every_client_in_the_code_has_an_endpoint() -> None:
    """A new API shows here first: boto3 is asked for it by name."""
    code = [*(PROJECT / "layers").rglob("*.py"), *(PROJECT / "functions").rglob("*.py")]

    asked = {api for file in code for api in re.findall(r'boto3\.client\(\s*"([a-z0-9]+)"', file.read_text())}

    assert asked == set(ENDPOINTS)
    assert set(NEEDS) | {"deployment"} == set(get_args(Need))


def test_a_new_network_has_the_endpoints_that_are_called(new: Assembly) -> None:
    services = {
        text(one["ServiceName"]).rsplit(".", 1)[1].rstrip('"]}')
        for one in new.resources("AWS::EC2::VPCEndpoint").values()
    }

    assert services == set(endpoints(wanted(NEW))) == {"kms", "lambda", "rds", "s3", "secretsmanager", "sns", "sqs"}


def test_endpoints_are_made_in_a_network_without_a_way_out(without_nat: Assembly) -> None:
    made = without_nat.resources("AWS::EC2::VPCEndpoint").values()
    names = {text(one["ServiceName"]).rsplit(".", 1)[1].rstrip('"]}'): one for one in made}
    ((_, group),) = without_nat.resources("AWS::EC2::SecurityGroup").items()

    assert set(names) == {"email", "kms", "lambda", "rds", "s3", "secretsmanager", "sns", "sqs"}
    assert names["s3"]["RouteTableIds"] == ROUTES
    for name, one in names.items():
        assert one["VpcId"] == EXISTING["network"]["vpc_id"]
        if name != "s3":
            assert one["SubnetIds"] == EXISTING["network"]["subnet_ids"]
            assert one["PrivateDnsEnabled"] is True
    assert group["VpcId"] == EXISTING["network"]["vpc_id"]
    ((_, rule),) = without_nat.resources("AWS::EC2::SecurityGroupIngress").items()
    assert (rule["FromPort"], rule["ToPort"], rule["SourceSecurityGroupId"]) == (443, 443, SECURITY_GROUP)


def test_synth_names_what_a_network_without_nat_needs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    synthesize({**EXISTING, "jobs": {}, "packs": ["market"]}, tmp_path)

    assert (
        "without a NAT gateway it needs VPC endpoints for email, lambda, secretsmanager, sns, sqs:"
        in capfd.readouterr().err
    )


def test_the_page_has_the_table_of_all_calls() -> None:
    assert table(wanted({**EXISTING, "jobs": {}})).splitlines()[0] in SETTINGS.read_text()
