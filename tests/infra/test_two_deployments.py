"""Two deployments in one account: everything that AWS knows by a name has another name in each."""

import json
import re
from collections.abc import Iterator, Mapping

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from infra.settings import read_settings
from nightshift.declaration import function_name, packs, stack_name
from nightshift.errors import SettingError
from tests.infra.conftest import EXISTING, JOBS, Assembly, text

REGION = "us-east-1"
GIVEN_TO_BOTH = {"AWS::CDK::Metadata", "AWS::CloudFormation::CustomResource", "AWS::IAM::Policy"}
"""What has no name in the account: it is known by its stack, or stands in a role."""


def identity(kind: str) -> list[str]:
    """The properties by which AWS tells resources of a kind apart in an account and region, as its own schema says."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, kind).schema
    made_by_aws = set(schema.get("readOnlyProperties", []))
    paths = [path for path in schema["primaryIdentifier"] if path not in made_by_aws]
    # Names that are no identifier, because an ARN is, are unique in an account all the same.
    like = ("Name", "LayerName", f"{kind.rpartition('::')[2]}Name")
    names = [f"/properties/{name}" for name in schema["properties"] if name in like]
    return sorted({path.removeprefix("/properties/") for path in (*paths, *names) if path not in made_by_aws})


def names(assembly: Assembly) -> Iterator[tuple[str, str]]:
    """Every resource that has a name given to it: its kind, and the name."""
    for template in assembly.stacks.values():
        for resource in template["Resources"].values():
            kind, properties = resource["Type"], resource.get("Properties", {})
            if kind in GIVEN_TO_BOTH or kind.startswith("Custom::"):
                continue
            given = {key: properties[key] for key in identity(kind) if key in properties}
            # What refers to another resource is that resource's own; CloudFormation makes names from the stack's.
            if given and not any(isinstance(value, Mapping) for value in given.values()):
                yield kind, text(given)


def test_no_resource_of_any_kind_has_the_name_of_another_deployments(existing: Assembly, staging: Assembly) -> None:
    mine, theirs = set(names(existing)), set(names(staging))

    # Functions, rules, log groups, alarms, queue, topics and dashboard are found by this, so it is not empty.
    found = {"Lambda::Function", "Events::Rule", "Logs::LogGroup", "CloudWatch::Alarm", "CloudWatch::Dashboard"}
    assert {kind for kind, _ in mine} >= {f"AWS::{kind}" for kind in (*found, "SQS::Queue", "SNS::Topic")}
    assert mine & theirs == set()
    renamed = {(kind, name.replace("nightshift", "staging").replace("Nightshift", "Staging")) for kind, name in mine}
    # The one topic that is somebody else's, and the layers, which have a name only beside others.
    assert {name for _, name in renamed - theirs} == {'{"TopicName": "staging-critical"}'}
    assert {kind for kind, _ in theirs - renamed} == {"AWS::Lambda::LayerVersion"}


def test_its_stacks_bear_the_name(staging: Assembly) -> None:
    assert set(staging.stacks) == {"Staging-Platform", *(stack_name(pack, "staging") for pack in packs())}
    assert 'StackName": "Nightshift' not in text(list(staging.stacks.values()))


def test_no_grant_alarm_or_graph_reaches_the_other_deployment(staging: Assembly) -> None:
    """In what stands in ARNs, in log groups and in what a person is told to look at."""
    body = text(list(staging.stacks.values()))

    foreign = re.findall(r"[:/](nightshift-[\w*-]+)", body) + re.findall(r"(?:rule|group) (nightshift-\w+)", body)
    assert foreign == []
    for alarm in staging.resources("AWS::CloudWatch::Alarm").values():
        dimensions = {each["Name"]: each["Value"] for each in alarm.get("Dimensions", [])}
        if alarm.get("Namespace") == "Nightshift":
            assert dimensions == {"service": "staging"}
    assert '\\"service\\",\\"nightshift\\"' not in body


def test_every_function_knows_its_deployment_and_one_without_a_name_says_nothing(
    existing: Assembly, staging: Assembly
) -> None:
    for assembly, name in ((existing, None), (staging, "staging")):
        for function in assembly.resources("AWS::Lambda::Function").values():
            if str(function.get("Handler", "")).startswith("functions."):
                assert function["Environment"]["Variables"].get("NIGHTSHIFT_NAME") == name


def test_a_name_without_a_hyphen_keeps_grants_by_prefix_apart() -> None:
    for name in ("a", "staging", "eu2", "n" * 20):
        assert read_settings({**EXISTING, "name": name}, JOBS).name == name
    for name in ("", "Staging", "2nd", "night-shift", "n" * 21, "nächte", "a_b"):
        with pytest.raises(SettingError, match=r"nightshift\.name "):
            read_settings({**EXISTING, "name": name}, JOBS)
    longest = max(JOBS, key=len)
    assert function_name(longest, "n" * 20).startswith("n" * 20 + "-")


def test_the_migration_is_told_whose_database_it_may_take_over() -> None:
    owner = "111122223333/eu-west-1/nightshift"

    assert read_settings({**EXISTING, "take_over_from": owner}, JOBS).take_over_from == owner
    with pytest.raises(SettingError, match="account, region and name"):
        read_settings({**EXISTING, "take_over_from": "nightshift"}, JOBS)


def test_templates_without_a_name_are_those_of_the_name_nightshift(existing: Assembly) -> None:
    settings = read_settings({**EXISTING, "name": "nightshift"}, JOBS)

    assert settings == read_settings(EXISTING, JOBS)
    assert json.loads(settings.deployment().as_json()) == json.loads(
        existing.one("AWS::Lambda::Function", FunctionName="nightshift-supervisor")["Environment"]["Variables"][
            "NIGHTSHIFT_DEPLOYMENT"
        ]
    )
