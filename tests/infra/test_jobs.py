"""Every job of the registry, as it is deployed."""

import json
from typing import Any

import pytest

from nightshift.declaration import Registration, Schedule, packs, rule_expression, stack_name
from nightshift.environment import SCHEDULE_VARIABLE
from tests.infra.conftest import CHANGED, JOBS, LAYERS, SECURITY_GROUP, SUBNETS, ZONED, Assembly, actions, text

IN_BERLIN = Schedule.parse(JOBS[ZONED].job.schedule, "Europe/Berlin")

EVERY_JOB = pytest.mark.parametrize("registration", JOBS.values(), ids=list(JOBS))


def role_statements(assembly: Assembly, function: dict[str, Any], stack: str) -> list[dict[str, Any]]:
    role = function["Role"]["Fn::GetAtt"][0]
    return [
        statement
        for where, policy in assembly.resources("AWS::IAM::Policy").items()
        if where.startswith(f"{stack}/") and {"Ref": role} in policy["Roles"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def stack_of(registration: Registration) -> str:
    return stack_name(registration.pack)


@EVERY_JOB
def test_function_is_as_declared(existing: Assembly, registration: Registration) -> None:
    job = registration.job

    function = existing.one("AWS::Lambda::Function", FunctionName=f"nightshift-{job.name}")

    assert function["Handler"] == registration.handler
    assert function["Timeout"] == job.timeout.total_seconds()
    assert function["MemorySize"] == job.memory_mb
    assert function["Architectures"] == ["arm64"]
    assert len(function["Layers"]) == len(LAYERS)
    assert function["LoggingConfig"]["LogFormat"] == "JSON"
    assert function["VpcConfig"] == {"SecurityGroupIds": [SECURITY_GROUP], "SubnetIds": SUBNETS}
    assert "ReservedConcurrentExecutions" not in function  # it would take from the account's pool night and day


@EVERY_JOB
def test_environment_holds_what_the_job_needs_and_no_more(existing: Assembly, registration: Registration) -> None:
    job = registration.job
    function = existing.one("AWS::Lambda::Function", FunctionName=f"nightshift-{job.name}")

    environment = function["Environment"]["Variables"]

    expected = {"NIGHTSHIFT_DATABASE", "NIGHTSHIFT_PARAMETERS"}
    expected |= {"NIGHTSHIFT_FILES_BUCKET"} if job.needs & {"files", "application_files"} else set()
    expected |= {"NIGHTSHIFT_FILES_PREFIX"} if "application_files" in job.needs else set()
    expected |= {"NIGHTSHIFT_KMS_KEY"} if "keys" in job.needs else set()
    expected |= {"NIGHTSHIFT_OPS_TOPIC"} if "operators" in job.needs else set()
    expected |= {"NIGHTSHIFT_DEPLOYMENT"} if "deployment" in job.needs else set()
    expected |= {"NIGHTSHIFT_RDS_CLUSTER"} if "snapshots" in job.needs else set()
    expected |= {"NIGHTSHIFT_ENABLED"} if job.name == CHANGED else set()
    expected |= {"NIGHTSHIFT_SCHEDULE"} if job.timezone or job.name == ZONED else set()
    assert set(environment) == expected
    assert json.loads(environment["NIGHTSHIFT_DATABASE"])["host"] == "db.example.internal"


@EVERY_JOB
def test_log_group_is_the_functions_own_and_forgets(existing: Assembly, registration: Registration) -> None:
    name = registration.job.name

    group = existing.one("AWS::Logs::LogGroup", LogGroupName=f"/aws/lambda/nightshift-{name}")

    assert group["RetentionInDays"] == (90 if name == CHANGED else 30)


@EVERY_JOB
def test_rule_fires_by_the_schedule_into_the_function(existing: Assembly, registration: Registration) -> None:
    name = registration.job.name

    rule = existing.one("AWS::Events::Rule", Name=f"nightshift-{name}")

    changed = name == CHANGED
    expected = {CHANGED: "cron(0 5 ? * MON *)", ZONED: rule_expression(IN_BERLIN)}
    assert rule["ScheduleExpression"] == expected.get(name, registration.job.timetable.expression)
    assert rule["State"] == ("DISABLED" if changed else "ENABLED")
    (target,) = rule["Targets"]
    assert "DeadLetters" in text(target["DeadLetterConfig"])
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 30}


@EVERY_JOB
def test_a_function_knows_its_time_zone_and_no_other_has_one(existing: Assembly, registration: Registration) -> None:
    name = registration.job.name
    function = existing.one("AWS::Lambda::Function", FunctionName=f"nightshift-{name}")
    rule = existing.one("AWS::Events::Rule", Name=f"nightshift-{name}")

    told = function["Environment"]["Variables"].get(SCHEDULE_VARIABLE)

    if name == ZONED:
        assert json.loads(told) == {"schedule": IN_BERLIN.expression, "timezone": "Europe/Berlin"}
        assert str(IN_BERLIN) in rule["Description"]
    else:
        assert (told is None) == (registration.job.timezone is None)
        assert rule["Description"] == f"Starts the job {name}" or registration.job.timezone is not None


@EVERY_JOB
def test_failed_events_are_retried_and_then_kept(existing: Assembly, registration: Registration) -> None:
    (config,) = (
        config
        for config in existing.resources("AWS::Lambda::EventInvokeConfig").values()
        if config["FunctionName"]["Ref"].startswith(identity(registration))
    )

    assert config["MaximumRetryAttempts"] == 2
    assert config["MaximumEventAgeInSeconds"] == 7200
    assert "DeadLetters" in text(config["DestinationConfig"]["OnFailure"])


def identity(registration: Registration) -> str:
    return "".join(part.capitalize() for part in registration.job.name.split("-")) + "Job"


@EVERY_JOB
def test_role_allows_nothing_too_wide(existing: Assembly, registration: Registration) -> None:
    job = registration.job
    function = existing.one("AWS::Lambda::Function", FunctionName=f"nightshift-{job.name}")

    statements = role_statements(existing, function, stack_of(registration))

    allowed = {action for statement in statements if statement["Effect"] == "Allow" for action in actions(statement)}
    objects = {"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListBucket"}
    erased = {"s3:GetObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:ListBucket", "s3:ListBucketVersions"}
    files = objects if "files" in job.needs else set()
    files |= erased if "application_files" in job.needs else set()
    keys = {"kms:Decrypt"} if "keys" in job.needs else set()
    snapshots = {f"rds:{verb}DBClusterSnapshot" for verb in ("Create", "Delete")} | {
        "rds:DescribeDBClusterSnapshots",
        "rds:AddTagsToResource",
    }
    keys |= snapshots if "snapshots" in job.needs else set()
    keys |= {"sns:Publish"} if "operators" in job.needs else set()
    assert {action for action in allowed if not action.startswith("ec2:")} == files | keys | {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "secretsmanager:GetSecretValue",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
        "sqs:SendMessage",
    }
    assert not [action for action in allowed if "*" in action]
    on_everything = [statement for statement in statements if statement["Resource"] == "*"]
    # Lambda itself needs these to place the function in a VPC, on all resources; its code is denied the same.
    assert [(statement["Effect"], actions(statement)) for statement in on_everything] == [
        (effect, {action for action in allowed if action.startswith("ec2:")}) for effect in ("Allow", "Deny")
    ]
    assert f"function:nightshift-{job.name}" in text(on_everything[1]["Condition"])


def test_role_may_read_the_one_secret(existing: Assembly) -> None:
    secrets = {
        text(statement["Resource"])
        for policy in existing.resources("AWS::IAM::Policy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if "secretsmanager:GetSecretValue" in actions(statement)
    }

    assert secrets == {'"arn:aws:secretsmanager:eu-west-1:111122223333:secret:application-AbCdEf"'}


def test_role_may_connect_as_the_one_user_of_a_new_cluster(new: Assembly) -> None:
    for registration in JOBS.values():
        function = new.one("AWS::Lambda::Function", FunctionName=f"nightshift-{registration.job.name}")
        statements = role_statements(new, function, stack_of(registration))
        (connect,) = (statement for statement in statements if "rds-db:connect" in actions(statement))
        assert "DBClusterResourceId" in text(connect["Resource"])
        assert text(connect["Resource"]).endswith('"/nightshift"]]}')
        assert not [statement for statement in statements if "secretsmanager:GetSecretValue" in actions(statement)]


def test_disabled_job_knows_it_and_its_parameters(existing: Assembly) -> None:
    environment = existing.one("AWS::Lambda::Function", FunctionName=f"nightshift-{CHANGED}")["Environment"][
        "Variables"
    ]

    assert environment["NIGHTSHIFT_ENABLED"] == "false"
    assert json.loads(environment["NIGHTSHIFT_PARAMETERS"]) == {"retention_days": 40}


@EVERY_JOB
def test_critical_jobs_page_at_once(existing: Assembly, registration: Registration) -> None:
    names = {alarm["AlarmName"] for alarm in existing.resources("AWS::CloudWatch::Alarm").values()}

    assert f"nightshift-{registration.job.name}-undelivered" in names
    assert (f"nightshift-{registration.job.name}-failing" in names) == registration.job.critical


def test_each_pack_has_its_stack_and_no_other(existing: Assembly) -> None:
    assert set(existing.stacks) == {"Nightshift-Platform", *map(stack_name, packs())}


@pytest.mark.parametrize("name", [name for name, found in JOBS.items() if "snapshots" in found.job.needs])
def test_snapshots_are_granted_of_this_database_and_by_their_name(existing: Assembly, name: str) -> None:
    function = existing.one("AWS::Lambda::Function", FunctionName=f"nightshift-{name}")

    statements = role_statements(existing, function, stack_of(JOBS[name]))

    (snapshots,) = (each for each in statements if any(action.startswith("rds:") for action in actions(each)))
    ends = {resource["Fn::Join"][1][-1] for resource in snapshots["Resource"]}
    assert ends == {":cluster:application", ":cluster-snapshot:nightshift-backup-*"}
