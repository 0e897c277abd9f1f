"""Where alarms reach people, and what watches from outside."""

import json
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App

from infra.alarms import Severity
from infra.app import build
from infra.platform.supervisor import IN_A_POLICY, OF_AN_ARN, _portions
from infra.settings import read_settings
from nightshift.errors import SettingError
from tests.infra.conftest import (
    BUCKET,
    EXISTING,
    JOBS,
    KEY,
    READERS_SECRET,
    SECRET,
    TOPIC,
    Assembly,
    actions,
    context,
    text,
)

LASTING = {
    *("dead-letters-waiting", "supervisor-silent", "supervisor-failing", "supervisor-hindered", "backlog"),
    *("dispatcher-silent", "dispatcher-failing", "watch-failing"),
}


def role_of(assembly: Assembly, name: str) -> list[dict[str, Any]]:
    """The statements of a function's role."""
    function = assembly.one("AWS::Lambda::Function", FunctionName=name)
    role = function["Role"]["Fn::GetAtt"][0]
    return [
        statement
        for policy in assembly.resources("AWS::IAM::Policy").values()
        if policy["Roles"] == [{"Ref": role}]
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def test_a_topic_takes_https_endpoints_and_addresses(staging: Assembly) -> None:
    found = {(each["Protocol"], each["Endpoint"]) for each in staging.resources("AWS::SNS::Subscription").values()}

    assert found == {("email", "team@example.com"), ("https", "https://events.example.com/integration/1/enqueue")}


def test_a_topic_that_is_there_takes_the_place_of_one(staging: Assembly) -> None:
    topics = [each["TopicName"] for each in staging.resources("AWS::SNS::Topic").values()]
    assert topics == ["staging-ordinary"]

    critical = staging.one("AWS::CloudWatch::Alarm", AlarmName="staging-supervisor-silent")
    assert critical["AlarmActions"] == critical["OKActions"] == [TOPIC]
    supervisor = staging.one("AWS::Lambda::Function", FunctionName="staging-supervisor")
    assert supervisor["Environment"]["Variables"]["NIGHTSHIFT_OPS_TOPIC"] == TOPIC
    (publish,) = (each for each in role_of(staging, "staging-supervisor") if each["Action"] == "sns:Publish")
    assert publish["Resource"] == TOPIC


@pytest.mark.parametrize("severity", ["critical", "ordinary"])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("http://events.example.com/1", "is no e-mail address"),
        ("https://", "is no e-mail address"),
        ("arn:aws:sns:eu-west-1:111122223333:pages.fifo", "is no e-mail address"),
        ("arn:aws:sqs:eu-west-1:111122223333:pages", "is no e-mail address"),
        ("oncall", "is no e-mail address"),
    ],
)
def test_what_no_topic_takes_is_refused(severity: Severity, given: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        read_settings({**EXISTING, "alarms": {severity: [given]}}, JOBS)


def test_a_topic_of_ones_own_stands_alone() -> None:
    with pytest.raises(SettingError, match="stands alone"):
        read_settings({**EXISTING, "alarms": {"critical": ["oncall@example.com", TOPIC]}}, JOBS)


def test_the_end_of_a_state_is_told_and_a_quiet_minute_after_an_event_is_not(existing: Assembly) -> None:
    for alarm in existing.resources("AWS::CloudWatch::Alarm").values():
        lasts = alarm["AlarmName"].removeprefix("nightshift-") in LASTING
        assert alarm.get("OKActions") == (alarm["AlarmActions"] if lasts else None), alarm["AlarmName"]


def test_the_watch_stands_outside_the_network_and_may_ask_the_console_alone(
    existing: Assembly, new: Assembly, staging: Assembly
) -> None:
    for assembly, name in ((existing, "nightshift"), (new, "nightshift"), (staging, "staging")):
        function = assembly.one("AWS::Lambda::Function", FunctionName=f"{name}-watch")
        assert "VpcConfig" not in function
        assert "NIGHTSHIFT_DATABASE" not in function["Environment"]["Variables"]
        assert function["Environment"]["Variables"]["NIGHTSHIFT_CONSOLE"] == f"{name}-console"
        allowed = [each for each in role_of(assembly, f"{name}-watch") if not text(each["Action"]).count("logs:")]
        assert [actions(each) for each in allowed] == [{"lambda:InvokeFunction"}]
        assert text(allowed[0]["Resource"]).endswith(f':function:{name}-console"]]}}')
        assert assembly.one("AWS::Events::Rule", Name=f"{name}-watch")["ScheduleExpression"] == "cron(* * * * ? *)"
    variables = staging.one("AWS::Lambda::Function", FunctionName="staging-watch")["Environment"]["Variables"]
    assert variables["NIGHTSHIFT_PING_URL"] == "https://hc.example.com/11111111"


def test_the_console_of_a_new_database_connects_as_a_user_of_its_own(new: Assembly) -> None:
    users = {}
    for name in ("console", "control"):
        (connect,) = (each for each in role_of(new, f"nightshift-{name}") if each["Action"] == "rds-db:connect")
        users[name] = connect["Resource"]["Fn::Join"][1][-1].rpartition("/")[2]
        database = new.one("AWS::Lambda::Function", FunctionName=f"nightshift-{name}")["Environment"]["Variables"]
        assert f'\\"user\\": \\"{users[name]}\\"'.replace(" ", "") in text(database).replace(" ", "")
    assert users == {"console": "nightshift_console", "control": "nightshift"}
    migrate = new.one("AWS::Lambda::Function", FunctionName="nightshift-migrate")["Environment"]["Variables"]
    assert migrate["NIGHTSHIFT_CONSOLE_USER"] == "nightshift_console"


@pytest.mark.parametrize(
    ("database", "words"),
    [
        ({"console_user": "reader"}, "give its secret as console_secret_arn"),
        ({"console_secret_arn": EXISTING["database"]["secret_arn"]}, "goes with secret_arn and console_user"),
    ],
)
def test_a_console_user_without_its_password_is_refused(database: dict[str, str], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        read_settings({**EXISTING, "database": {**EXISTING["database"], **database}}, JOBS)


def test_who_reads_a_secret_may_open_it_with_its_key_and_nobody_else_may(
    without_nat: Assembly, through_proxy: Assembly, existing: Assembly
) -> None:
    read_by: dict[str, set[str]] = {}
    for assembly, key in ((without_nat, KEY), (through_proxy, None), (existing, None)):
        for function in assembly.resources("AWS::Lambda::Function").values():
            if (name := function.get("FunctionName")) is None:
                continue  # the CDK's own
            statements = role_of(assembly, name)
            reads = [each for each in statements if "secretsmanager:GetSecretValue" in actions(each)]
            opens = [each for each in statements if "secretsmanager." in text(each.get("Condition", {}))]
            given = json.loads(function.get("Environment", {}).get("Variables", {}).get("NIGHTSHIFT_DATABASE", "{}"))
            secret = given.get("secret_arn")
            assert [each["Resource"] for each in reads] == ([secret] if secret else []), name
            assert len(opens) == (1 if secret and key else 0), name
            for each in opens:
                assert (each["Action"], each["Resource"]) == ("kms:Decrypt", key)
                (services,) = each["Condition"]["StringEquals"].values()
                assert [service["Fn::Join"][1] for service in services] == [
                    ["secretsmanager.", {"Ref": "AWS::Region"}, ".amazonaws.com"],
                    ["secretsmanager.", {"Ref": "AWS::Region"}, ".", {"Ref": "AWS::URLSuffix"}],
                ]
            if assembly is without_nat and secret:
                read_by.setdefault(secret, set()).add(name)

    # The console reads as its own user; the watch, which has no database, reads nothing.
    assert read_by[READERS_SECRET] == {"nightshift-console"}
    assert read_by[SECRET] >= {"nightshift-migrate", "nightshift-supervisor", "nightshift-dispatcher"}
    assert not {"nightshift-console", "nightshift-watch"} & read_by[SECRET]


def test_a_job_reaches_the_applications_files_below_their_prefix_and_nothing_else_of_the_bucket(tmp_path: Path) -> None:
    assembly = Assembly(tmp_path)
    found = JOBS["store-room"]
    erasing = replace(found, job=replace(found.job, needs=frozenset({"application_files"})))
    app = App(context=context(EXISTING), outdir=str(tmp_path))
    build(app, read_settings({**EXISTING, "jobs": {}, "packs": [found.pack]}, JOBS), {"store-room": erasing})
    app.synth()

    function = assembly.one("AWS::Lambda::Function", FunctionName="nightshift-store-room")
    assert function["Environment"]["Variables"]["NIGHTSHIFT_FILES_PREFIX"] == "live/"
    objects = [each for each in role_of(assembly, "nightshift-store-room") if "s3:DeleteObject" in actions(each)]
    (allowed,) = objects
    pattern = "".join(part if isinstance(part, str) else "aws" for part in allowed["Resource"]["Fn::Join"][1])
    assert actions(allowed) == {"s3:GetObject", "s3:DeleteObject", "s3:DeleteObjectVersion"}
    for key, reached in {"live/uploads/a.png": True, "uploads/a.png": False, "livestock/a.png": False}.items():
        assert fnmatchcase(f"arn:aws:s3:::{BUCKET}/{key}", pattern) == reached, key
    assert not fnmatchcase(f"arn:aws:s3:::another/{BUCKET}/live/a.png", pattern)


def test_jobs_reach_their_own_folders_and_only_backups_delete_backups(existing: Assembly) -> None:
    for name, registration in JOBS.items():
        job = registration.job
        if "files" not in job.needs:
            continue
        statements = role_of(existing, f"nightshift-{name}")
        writes = [each for each in statements if "s3:DeleteObject" in actions(each)]
        reached = {
            place
            for each in writes
            if each["Effect"] == "Allow"
            for place in [arn["Fn::Join"][1][-1] for arn in _listed(each["Resource"])]
        }
        denied = [each for each in writes if each["Effect"] == "Deny"]
        if job.own_folders:
            assert reached == {f"/{folder}*" for folder in job.own_folders}
            assert not denied
        else:
            assert reached == {"/*"}
            assert actions(denied[0]) >= {"s3:DeleteObject", "s3:PutObject"}
            assert text(denied[0]["Resource"]).count("/backups/*")
        makes_backups = any("backups/" in getattr(step, "folders", ()) for step in job.steps)
        assert ("/backups/*" in reached) == makes_backups


def test_data_keys_are_opened_with_their_context_only(existing: Assembly) -> None:
    found = [
        statement
        for policy in existing.resources("AWS::IAM::Policy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if any(action.startswith("kms:") for action in actions(statement))
    ]

    assert len(found) >= 2
    for statement in found:
        assert statement["Condition"] == {
            "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["nightshift:data-key"]},
            "Null": {"kms:EncryptionContextKeys": "false"},
        }


def test_the_arns_of_many_jobs_fit_into_policies() -> None:
    names = [f"{'n' * 20}-{'j' * 40}{number:03}" for number in range(400)]

    portions = list(_portions(names))

    assert [name for portion in portions for name in portion] == names
    assert all(sum(OF_AN_ARN + len(name) for name in portion) <= IN_A_POLICY for portion in portions)
    assert len(portions) <= 10


def test_exports_that_were_deleted_do_not_live_on_as_old_versions(existing: Assembly) -> None:
    bucket = existing.one("AWS::S3::Bucket")

    rules = bucket["LifecycleConfiguration"]["Rules"]
    (exports,) = (rule for rule in rules if rule.get("Prefix") == "exports/")
    assert exports["NoncurrentVersionExpiration"]["NoncurrentDays"] == 1


def _listed(resources: Any) -> list[Any]:
    return resources if isinstance(resources, list) else [resources]
