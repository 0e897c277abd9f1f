"""From one deployment to the next: what packs get from the platform stands in nobody's way."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App

from infra.app import FLAGS, build
from infra.deploy import unwanted
from infra.settings import read_settings
from tests.infra.conftest import EXISTING, JOBS, NEW, Assembly, context, synthesize

PLATFORM = "Nightshift-Platform"
ONE_PACK = ["back_office"]


def outputs(assembly: Assembly) -> dict[str, Any]:
    """The platform's outputs by name."""
    found: dict[str, Any] = assembly.stacks[PLATFORM].get("Outputs", {})
    return found


def within(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a template with its value, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from within(inner)
    if isinstance(value, list):
        for inner in value:
            yield from within(inner)


def read_by_packs(assembly: Assembly) -> set[str]:
    return {
        of["OutputName"]
        for name, template in assembly.stacks.items()
        if name != PLATFORM
        for function, of in within(template)
        if function == "Fn::GetStackOutput"
    }


def without(job: str, folder: Path) -> Assembly:
    """A new database, one pack, and this job taken out of it."""
    app = App(context={**FLAGS, **context(NEW)}, outdir=str(folder))
    left = {name: found for name, found in JOBS.items() if name != job and found.pack in ONE_PACK}
    build(app, read_settings({**NEW, "packs": ONE_PACK}, JOBS), left)
    app.synth()
    return Assembly(folder)


@pytest.fixture(scope="module")
def one_pack(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    return synthesize({**NEW, "packs": ONE_PACK}, tmp_path_factory.mktemp("one"))


@pytest.mark.parametrize("name", ["existing", "new"])
def test_no_stack_exports_or_imports(name: str, request: pytest.FixtureRequest) -> None:
    """What one stack imports, CloudFormation lets no other drop or change: no job, pack or database could go again."""
    assembly: Assembly = request.getfixturevalue(name)

    for stack, template in assembly.stacks.items():
        assert "Fn::ImportValue" not in dict(within(template)), stack
        assert not [output for output in template.get("Outputs", {}).values() if "Export" in output], stack
        assert all(of["StackName"] == PLATFORM for key, of in within(template) if key == "Fn::GetStackOutput")


def test_the_platform_has_the_same_outputs_whatever_packs_and_jobs_there_are(
    new: Assembly, one_pack: Assembly, tmp_path: Path
) -> None:
    """All packs, one pack, one job less: the one that alone needs snapshots and files, then the one with the key."""
    everything = outputs(new)

    assert outputs(one_pack) == everything
    for job in ("store-room", "daily-takings"):
        folder = tmp_path / job
        folder.mkdir()
        assert outputs(without(job, folder)) == everything, job
    assert read_by_packs(new) <= set(everything)


def test_every_output_that_a_pack_reads_is_there(existing: Assembly, new: Assembly) -> None:
    for assembly in (existing, new):
        assert read_by_packs(assembly)
        assert read_by_packs(assembly) <= set(outputs(assembly))


def test_from_a_new_database_to_an_existing_one_nothing_that_is_read_is_missed(
    existing: Assembly, new: Assembly
) -> None:
    """The platform drops the cluster's outputs first. The packs that read them hold no claim on them."""
    dropped = set(outputs(new)) - set(outputs(existing))

    assert dropped & read_by_packs(new)
    assert not dropped & read_by_packs(existing)


def test_the_key_of_sealed_columns_stands_in_the_platform_whatever_packs_there_are(
    one_pack: Assembly, tmp_path: Path
) -> None:
    """A pack that is dropped and added again finds the key under which its columns were sealed."""
    without_it = synthesize({**NEW, "packs": ["market"]}, tmp_path)

    keys = [
        {name: one for name, one in each.stacks[PLATFORM]["Resources"].items() if one["Type"] == "AWS::KMS::Key"}
        for each in (without_it, one_pack)
    ]

    assert keys[0] == keys[1]
    ((_, key),) = keys[0].items()
    assert key["DeletionPolicy"] == "RetainExceptOnCreate"


def test_a_key_of_an_earlier_deployment_can_be_given(tmp_path: Path) -> None:
    given = "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555"

    assembly = synthesize({**NEW, "packs": ONE_PACK, "kms_key_arn": given}, tmp_path)

    takings = assembly.one("AWS::Lambda::Function", FunctionName="nightshift-daily-takings")["Environment"]["Variables"]
    migrate = assembly.one("AWS::Lambda::Function", FunctionName="nightshift-migrate")["Environment"]["Variables"]
    for variables in (takings, migrate):
        first, rest = variables["NIGHTSHIFT_KMS_KEY"]["Fn::Join"][1]
        assert first == f"{given} "  # seals
        assert rest  # the deployment's own one goes on to open what it has sealed
    granted = {
        action: json.dumps(statement["Resource"])
        for policy in assembly.resources("AWS::IAM::Policy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if (action := statement["Action"]) in ("kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext")
    }
    assert given in granted["kms:Decrypt"]
    assert "KmsKeyArn" in granted["kms:Decrypt"]
    assert granted["kms:GenerateDataKeyWithoutPlaintext"] == f'"{given}"'


def test_stacks_that_nobody_wants_are_told_from_those_of_others() -> None:
    found = ["Nightshift-Platform", "Nightshift-Identity", "Nightshift-Tracking", "Staging-Identity", "Shop"]

    assert unwanted(found, ["Nightshift-Platform", "Nightshift-Identity"], PLATFORM) == ["Nightshift-Tracking"]
    assert unwanted(found, [], PLATFORM) == ["Nightshift-Identity", "Nightshift-Tracking", "Nightshift-Platform"]


def test_settings_of_an_existing_database_are_read_by_no_reference(existing: Assembly) -> None:
    database = existing.one("AWS::Lambda::Function", FunctionName="nightshift-store-room")["Environment"]["Variables"]

    assert json.loads(database["NIGHTSHIFT_DATABASE"])["host"] == EXISTING["database"]["host"]
