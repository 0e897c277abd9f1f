"""What outlives a deployment, and what a failed first try leaves behind: nothing."""

from pathlib import Path
from typing import Any

import pytest

from tests.infra.conftest import NEW, Assembly, synthesize

KEPT = "RetainExceptOnCreate"
"""Kept at an update and at `destroy`; taken away again when the very creation fails."""

WITH_DATA = {"AWS::S3::Bucket", "AWS::KMS::Key", "AWS::RDS::DBCluster", "AWS::RDS::DBInstance"}
AROUND_THE_CLUSTER = {"AWS::EC2::VPC", "AWS::EC2::Subnet", "AWS::RDS::DBSubnetGroup"}
PLATFORM = "Nightshift-Platform"


def policies(assembly: Assembly) -> dict[str, set[tuple[Any, Any]]]:
    """The policies at deletion and replacement of each type of resource."""
    found: dict[str, set[tuple[Any, Any]]] = {}
    for template in assembly.stacks.values():
        for resource in template["Resources"].values():
            both = (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy"))
            found.setdefault(resource["Type"], set()).add(both)
    return found


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    database = {
        **NEW["database"],
        "restore_from": "nightshift-before",
        "availability_zones": ["us-east-1b", "us-east-1d"],
    }
    settings = {**NEW, "database": database, "retain": False, "packs": ["market"]}
    return synthesize(settings, tmp_path_factory.mktemp("trial"))


def test_where_data_is_and_what_the_database_stands_on_is_kept(new: Assembly) -> None:
    found = policies(new)

    for kind in WITH_DATA | AROUND_THE_CLUSTER:
        assert {at_deletion for at_deletion, _ in found[kind]} == {KEPT}, kind
        assert {at_replacement for _, at_replacement in found[kind]} == {"Retain"}, kind


def test_nothing_else_is_kept_and_nothing_costs_on_after_destroy(new: Assembly) -> None:
    found = policies(new)

    for kind in ("AWS::Lambda::Function", "AWS::Logs::LogGroup", "AWS::EC2::VPCEndpoint", "AWS::SQS::Queue"):
        assert not {at_deletion for at_deletion, _ in found[kind]} & {KEPT, "Retain", "Snapshot"}, kind


def test_the_group_that_lets_functions_in_stays_with_the_database(new: Assembly) -> None:
    """A cluster that stays holds its security group: without it `destroy` would get stuck."""
    resources = new.stacks[PLATFORM]["Resources"]
    ((_, cluster),) = ((key, one) for key, one in resources.items() if one["Type"] == "AWS::RDS::DBCluster")
    for group in cluster["Properties"]["VpcSecurityGroupIds"]:
        assert resources[group["Fn::GetAtt"][0]]["DeletionPolicy"] == KEPT


def test_a_first_deployment_that_fails_can_be_cleared_away(new: Assembly) -> None:
    """AWS refuses to delete a protected cluster, in the rollback as well."""
    ((_, cluster),) = new.resources("AWS::RDS::DBCluster").items()

    assert cluster["DeletionProtection"] is False


def test_a_trial_leaves_nothing(trial: Assembly) -> None:
    found = policies(trial)

    for kind in WITH_DATA:
        assert {at_deletion for at_deletion, _ in found[kind]} == {"Delete"}, kind
    assert trial.resources("Custom::S3AutoDeleteObjects")  # a bucket with objects in it cannot be deleted


def test_a_cluster_can_be_restored_in_zones_of_ones_choice(trial: Assembly) -> None:
    ((_, cluster),) = trial.resources("AWS::RDS::DBCluster").items()
    zones = {subnet["AvailabilityZone"] for subnet in trial.resources("AWS::EC2::Subnet").values()}

    assert cluster["SnapshotIdentifier"] == "nightshift-before"
    assert cluster["ManageMasterUserPassword"] is True
    assert "MasterUsername" not in cluster  # the snapshot's own
    assert zones == {"us-east-1b", "us-east-1d"}


def test_a_cluster_can_be_protected_later(tmp_path: Path) -> None:
    settings = {**NEW, "database": {**NEW["database"], "deletion_protection": True}, "packs": ["market"]}

    ((_, cluster),) = synthesize(settings, tmp_path).resources("AWS::RDS::DBCluster").items()

    assert cluster["DeletionProtection"] is True
