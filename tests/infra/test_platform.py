"""What the jobs share, and the deployment as a whole."""

import json

import pytest

from nightshift.declaration import Deployment, stack_name
from tests.infra.conftest import CHANGED, JOBS, LAYERS, ZONED, Assembly, actions, text

RESOURCES_OF_A_STACK = 500  # CloudFormation's limit
BYTES_OF_A_QUEUE_POLICY = 8192  # SQS's limit
STATEMENTS_OF_A_QUEUE_POLICY = 20
JOBS_OF_THE_BIGGEST_PACK = 20
BYTES_OF_AN_ENVIRONMENT = 4096


def test_one_statement_lets_all_rules_send_to_the_queue(existing: Assembly) -> None:
    ((_, policy),) = existing.resources("AWS::SQS::QueuePolicy").items()
    statements = policy["PolicyDocument"]["Statement"]

    (allowed,) = (statement for statement in statements if statement["Effect"] == "Allow")

    assert allowed["Principal"] == {"Service": "events.amazonaws.com"}
    assert allowed["Action"] == "sqs:SendMessage"
    # The account stands in the ARN: EventBridge need not fill aws:SourceAccount.
    assert set(allowed["Condition"]) == {"ArnLike"}
    assert "AWS::AccountId" in text(allowed["Condition"]["ArnLike"])
    assert ":rule/nightshift-*" in text(allowed["Condition"]["ArnLike"]["aws:SourceArn"])
    assert len(statements) <= STATEMENTS_OF_A_QUEUE_POLICY
    assert len(text(policy)) < BYTES_OF_A_QUEUE_POLICY


def test_queue_keeps_encrypted_messages_for_14_days(existing: Assembly) -> None:
    queue = existing.one("AWS::SQS::Queue", QueueName="nightshift-dead-letters")

    assert queue["MessageRetentionPeriod"] == 14 * 24 * 60 * 60
    assert queue["SqsManagedSseEnabled"] is True


def test_every_alarm_says_what_to_do_and_reaches_somebody(existing: Assembly) -> None:
    alarms = existing.resources("AWS::CloudWatch::Alarm")

    assert alarms
    for alarm in alarms.values():
        assert alarm["AlarmName"].startswith("nightshift-")
        assert " First: " in alarm["AlarmDescription"]
        assert "docs/operations.md#" in alarm["AlarmDescription"]
        assert alarm["TreatMissingData"] in ("breaching", "notBreaching")
        (action,) = alarm["AlarmActions"]
        assert "CriticalAlarms" in text(action) or "OrdinaryAlarms" in text(action)
        assert "Metrics" not in alarm  # metric math: the local AWS refuses it


@pytest.mark.parametrize("function", ["supervisor", "dispatcher"])
def test_silence_of_who_watches_and_who_tells_is_an_alarm(existing: Assembly, function: str) -> None:
    alarm = existing.one("AWS::CloudWatch::Alarm", AlarmName=f"nightshift-{function}-silent")

    (dimension,) = alarm["Dimensions"]
    assert function.capitalize() in text(dimension["Value"])
    assert "CriticalAlarms" in text(alarm["AlarmActions"])
    assert alarm["MetricName"] == "Invocations"
    assert alarm["TreatMissingData"] == "breaching"
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "LessThanThreshold")
    assert (alarm["Period"], alarm["EvaluationPeriods"]) == (60, 5)


def test_what_the_supervisor_cannot_look_after_is_an_alarm(existing: Assembly) -> None:
    alarm = existing.one("AWS::CloudWatch::Alarm", AlarmName="nightshift-supervisor-hindered")

    assert (alarm["Namespace"], alarm["MetricName"]) == ("Nightshift", "SupervisorHindered")
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")


def test_any_dead_letter_is_an_alarm(existing: Assembly) -> None:
    """What lies in the queue would keep the alarm going off after the first; what arrives lets it go off again."""
    alarm = existing.one("AWS::CloudWatch::Alarm", AlarmName="nightshift-dead-letters")

    assert (alarm["MetricName"], alarm["Statistic"]) == ("NumberOfMessagesSent", "Sum")
    assert (alarm["Period"], alarm["EvaluationPeriods"]) == (60, 1)
    assert alarm["TreatMissingData"] == "notBreaching"
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")
    assert "CriticalAlarms" in text(alarm["AlarmActions"])


def test_a_dead_letter_that_waits_for_a_day_is_told_quietly(existing: Assembly) -> None:
    alarm = existing.one("AWS::CloudWatch::Alarm", AlarmName="nightshift-dead-letters-waiting")

    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 24 * 60 * 60
    assert "OrdinaryAlarms" in text(alarm["AlarmActions"])


def test_failed_mails_are_an_alarm(existing: Assembly) -> None:
    alarm = existing.one("AWS::CloudWatch::Alarm", AlarmName="nightshift-mails-failed")

    assert (alarm["Namespace"], alarm["MetricName"], alarm["Threshold"]) == ("Nightshift", "MailsFailed", 0)


def test_topics_take_alarms_and_write_to_the_addresses(existing: Assembly) -> None:
    subscriptions = existing.resources("AWS::SNS::Subscription").values()
    policies = existing.resources("AWS::SNS::TopicPolicy").values()

    assert {(one["Endpoint"], one["Protocol"]) for one in subscriptions} == {
        ("oncall@example.com", "email"),
        ("team@example.com", "email"),
    }
    assert len(policies) == 2
    for policy in policies:
        allowed = [one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Allow"]
        assert [one["Principal"] for one in allowed] == [{"Service": "cloudwatch.amazonaws.com"}]


def test_supervisor_may_invoke_jobs_and_fires_every_minute(existing: Assembly) -> None:
    function = existing.one("AWS::Lambda::Function", FunctionName="nightshift-supervisor")
    rule = existing.one("AWS::Events::Rule", Name="nightshift-supervisor")
    statements = [
        statement
        for where, policy in existing.resources("AWS::IAM::Policy").items()
        if "Supervisor" in where
        for statement in policy["PolicyDocument"]["Statement"]
    ]

    (invoke,) = (statement for statement in statements if statement["Action"] == "lambda:InvokeFunction")

    granted = [arn["Fn::Join"][1][-1].rpartition(":")[2] for arn in invoke["Resource"]]
    assert sorted(granted) == sorted(f"nightshift-{name}" for name in JOBS)  # no wildcard, and none of the platform's
    assert rule["ScheduleExpression"] == "cron(* * * * ? *)"
    assert rule["State"] == "ENABLED"
    assert function["Handler"] == "functions.platform.supervisor.handler"
    assert set(function["Environment"]["Variables"]) == {
        "NIGHTSHIFT_DATABASE",
        "NIGHTSHIFT_DLQ_URL",
        "NIGHTSHIFT_OPS_TOPIC",
        "NIGHTSHIFT_OPERATIONS_URL",
        "NIGHTSHIFT_DEPLOYMENT",
    }


def test_database_is_migrated_before_any_rule_exists(existing: Assembly) -> None:
    platform = existing.stacks["Nightshift-Platform"]
    (trigger,) = (key for key, one in platform["Resources"].items() if one["Type"] == "Custom::Trigger")
    rules = [one for one in platform["Resources"].values() if one["Type"] == "AWS::Events::Rule"]
    manifest = json.loads((existing.folder / "manifest.json").read_text())["artifacts"]

    assert len(rules) == 3
    for rule in rules:
        assert trigger in rule["DependsOn"]
    # No function but the migration's own has new code before: not even for a moment does it meet an old schema.
    waiting = {
        one["Properties"]["FunctionName"]: trigger in one.get("DependsOn", [])
        for one in platform["Resources"].values()
        if one["Type"] == "AWS::Lambda::Function" and "FunctionName" in one["Properties"]
    }
    assert waiting == {
        "nightshift-migrate": False,
        **dict.fromkeys(
            (f"nightshift-{name}" for name in ("supervisor", "dispatcher", "console", "control", "watch")), True
        ),
    }
    for name in set(existing.stacks) - {"Nightshift-Platform"}:
        assert "Nightshift-Platform" in manifest[name]["dependencies"]


@pytest.mark.parametrize("name", ["supervisor", "dispatcher"])
def test_the_alarm_on_silence_waits_for_the_rule(existing: Assembly, name: str) -> None:
    """Before the rule there is nothing but silence: the first deployment would page somebody."""
    resources = existing.stacks["Nightshift-Platform"]["Resources"]
    named = {one["Properties"].get("AlarmName"): one for one in resources.values() if "Properties" in one}
    (rule,) = (key for key, one in resources.items() if one.get("Properties", {}).get("Name") == f"nightshift-{name}")

    assert rule in named[f"nightshift-{name}-silent"]["DependsOn"]


def test_migration_leaves_an_existing_application_alone_and_makes_a_new_one(existing: Assembly, new: Assembly) -> None:
    def environment(assembly: Assembly) -> dict[str, str]:
        function = assembly.one("AWS::Lambda::Function", FunctionName="nightshift-migrate")
        variables: dict[str, str] = function["Environment"]["Variables"]
        return variables

    assert environment(existing)["NIGHTSHIFT_APPLICATION_TABLES"] == "existing"
    assert environment(new)["NIGHTSHIFT_APPLICATION_TABLES"] == "create"
    assert "NIGHTSHIFT_DATABASE_OWNER" not in environment(existing)
    assert "MasterUserSecret" in text(environment(new)["NIGHTSHIFT_DATABASE_OWNER"])


@pytest.mark.parametrize("name", ["supervisor", "console", "control", "migrate"])
def test_platform_functions_know_what_was_deployed(existing: Assembly, name: str) -> None:
    function = existing.one("AWS::Lambda::Function", FunctionName=f"nightshift-{name}")

    deployment = Deployment.from_environment(function["Environment"]["Variables"])

    assert list(deployment.jobs()) == list(JOBS)
    assert not deployment.jobs()[CHANGED].enabled
    assert deployment.jobs()[CHANGED].schedule.expression == "cron(0 5 ? * MON *)"
    assert deployment.jobs()[ZONED].schedule.timezone == "Europe/Berlin"


def test_only_the_dispatcher_may_send_mails_and_only_from_the_sender(existing: Assembly) -> None:
    """A job writes rows into the outbox: it has no permission to send, whatever its code does."""
    sending = {
        (text(policy["Roles"]), action, text(statement["Resource"]))
        for policy in existing.resources("AWS::IAM::Policy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        for action in actions(statement)
        if action.split(":")[0] in ("ses", "sns")
    }
    rule = existing.one("AWS::Events::Rule", Name="nightshift-dispatcher")
    function = existing.one("AWS::Lambda::Function", FunctionName="nightshift-dispatcher")

    assert {action for _, action, _ in sending} == {"ses:SendEmail", "ses:GetAccount", "sns:Publish"}
    assert all("Dispatcher" in role for role, action, _ in sending if action.startswith("ses:"))
    ((_, _, identities),) = [one for one in sending if one[1] == "ses:SendEmail"]
    # SES asks for the identity that it finds, the address, its domain or one above it, and for the configuration set.
    assert identities.count(":identity/*") == identities.count(":configuration-set/*") == 1
    assert identities.count("*") == 2
    (condition,) = (
        statement["Condition"]
        for policy in existing.resources("AWS::IAM::Policy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if "ses:SendEmail" in actions(statement)
    )
    assert condition == {"StringEquals": {"ses:FromAddress": "nightshift@example.com"}}
    assert rule["ScheduleExpression"] == "cron(* * * * ? *)"
    assert function["Timeout"] < 60
    variables = function["Environment"]["Variables"]
    assert variables["NIGHTSHIFT_SENDER"] == "nightshift@example.com"
    assert variables["NIGHTSHIFT_MAILS_A_DAY"] == "10"
    assert variables["NIGHTSHIFT_PREFERENCES_URL"] == "https://app.example.com/settings"
    assert "OrdinaryAlarms" in text(variables["NIGHTSHIFT_OPS_TOPIC"])


def test_without_a_sender_nothing_may_send_mails(new: Assembly) -> None:
    granted = {
        action
        for policy in new.resources("AWS::IAM::Policy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        for action in actions(statement)
    }
    assert not [action for action in granted if action.startswith("ses:")]


@pytest.mark.parametrize("name", ["Console", "Control"])
def test_what_operators_invoke_may_do_nothing_but_talk_to_the_database(existing: Assembly, name: str) -> None:
    statements = [
        statement
        for where, policy in existing.resources("AWS::IAM::Policy").items()
        if name in where
        for statement in policy["PolicyDocument"]["Statement"]
    ]

    services = {action.split(":")[0] for statement in statements for action in actions(statement)}

    assert services == {"logs", "secretsmanager", "ec2"}


def test_new_database_is_private_encrypted_and_protected(new: Assembly) -> None:
    ((_, cluster),) = new.resources("AWS::RDS::DBCluster").items()
    ((_, instance),) = new.resources("AWS::RDS::DBInstance").items()
    services = {text(one["ServiceName"]).rsplit(".", 1)[1] for one in new.resources("AWS::EC2::VPCEndpoint").values()}

    assert cluster["StorageEncrypted"] is True
    assert cluster["DeletionProtection"] is False  # it outlives its stack all the same, see test_retention.py
    assert cluster["EnableHttpEndpoint"] is True  # the way in for a person
    assert cluster["EnableIAMDatabaseAuthentication"] is True
    assert cluster["ManageMasterUserPassword"] is True
    assert cluster["ServerlessV2ScalingConfiguration"] == {"MinCapacity": 0.5, "MaxCapacity": 4}
    assert instance.get("PubliclyAccessible") is not True
    assert not new.resources("AWS::EC2::NatGateway")
    assert not new.resources("AWS::EC2::InternetGateway")
    assert {service.rstrip('"]}') for service in services} == {
        *("lambda", "sqs", "secretsmanager", "s3", "kms", "sns", "rds")
    }


def test_key_of_the_data_keys_stays_and_only_the_migration_makes_some(existing: Assembly) -> None:
    ((_, key),) = existing.resources("AWS::KMS::Key").items()
    policies = existing.resources("AWS::IAM::Policy").values()
    asking = {
        (text(policy["Roles"]), action)
        for policy in policies
        for statement in policy["PolicyDocument"]["Statement"]
        for action in actions(statement)
        if action.startswith("kms:")
    }

    assert key["EnableKeyRotation"] is True
    assert {action for _, action in asking} == {"kms:GenerateDataKeyWithoutPlaintext", "kms:Decrypt"}
    assert ["Migrate" in role for role, action in asking if action != "kms:Decrypt"] == [True]
    assert not [role for role, action in asking if action == "kms:Decrypt" and "Migrate" in role]


def test_file_store_is_private(existing: Assembly) -> None:
    ((_, bucket),) = existing.resources("AWS::S3::Bucket").items()

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["BucketEncryption"]


def test_stacks_stay_far_from_the_limits(existing: Assembly, new: Assembly) -> None:
    for assembly in (existing, new):
        for name, template in assembly.stacks.items():
            jobs = [one for one in JOBS.values() if name == stack_name(one.pack)]
            resources = len(template["Resources"])
            # Also with as many jobs as the biggest pack will ever have.
            each = resources / len(jobs) if jobs else 0
            assert max(resources, each * JOBS_OF_THE_BIGGEST_PACK) < RESOURCES_OF_A_STACK / 2
        for function in assembly.resources("AWS::Lambda::Function").values():
            assert len(text(function.get("Environment", {}))) < BYTES_OF_AN_ENVIRONMENT


def test_dashboard_shows_every_job(existing: Assembly) -> None:
    ((_, dashboard),) = existing.resources("AWS::CloudWatch::Dashboard").items()

    body = text(dashboard["DashboardBody"])

    assert not [name for name in JOBS if f"nightshift-{name}" not in body]


def test_layers_belong_to_the_stack_that_uses_them(existing: Assembly) -> None:
    # Through another stack's export a layer could never be replaced while it is in use.
    for name, template in existing.stacks.items():
        own = [one for one in template["Resources"].values() if one["Type"] == "AWS::Lambda::LayerVersion"]
        assert [layer["Properties"]["Description"] for layer in own] == LAYERS, name
