"""`nightshift doctor` on AWS as moto plays it, with a console that the test answers for."""

import datetime as dt
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws
from typer.testing import CliRunner, Result

from cli.aws import AwsError, FunctionError
from cli.commands import application
from cli.doctor.probes import PROBES
from nightshift.declaration import Deployment, function_name, packs, registry, rule_expression
from nightshift.declaration.names import EVERY_MINUTE, PLATFORM_FUNCTIONS, PLATFORM_RULES
from nightshift.environment import DEPLOYMENT_VARIABLE, SENDER_VARIABLE

SENDER = "night@mail.shop.example.com"
CART, ITEMS = "abandoned-carts", "removed-items"
BERLIN = "Europe/Berlin"
NOW = dt.datetime.now(dt.UTC)
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)

HEALTHY: dict[str, Any] = {
    "connection": {
        "version": "18.1",
        "leaves": True,
        "protocol": "TLSv1.3",
        "expires": (NOW + 300 * DAY).isoformat(),
        "server": True,
    },
    "migrations": {"applied": 9, "pending": [], "ahead": []},
    "clocks": {"before": 0.0, "database": 0.001, "after": 0.002},
    "supervisor": {"last_round": "2026-03-02T09:00:00Z", "silent": False},
    "pauses": {"jobs": {}},
    "never_begun": {"jobs": []},
}
"""What the console answers where nothing is wrong. Its clocks are told as seconds after this machine's."""


@dataclass
class Installation:
    """A deployment in which nothing is wrong, until a test changes it."""

    name: str = "nightshift"
    changes: dict[str, dict[str, Any]] = field(default_factory=lambda: {ITEMS: {"timezone": BERLIN}})
    packs: tuple[str, ...] = field(default_factory=packs)
    inside: dict[str, Any] = field(default_factory=lambda: deepcopy(HEALTHY))
    """The console's answer."""
    silent: Exception | None = None
    """What becomes of asking it."""
    answers: dict[str, Any] = field(default_factory=dict)
    """What AWS answers, or raises, by operation, in the place of moto."""
    asked: list[Any] = field(default_factory=list)

    @property
    def deployment(self) -> Deployment:
        return Deployment(self.packs, self.changes)

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        assert function == function_name("console", self.name)
        self.asked.append(payload)
        if self.silent is not None:
            raise self.silent
        answer, now = deepcopy(self.inside), dt.datetime.now(dt.UTC)
        if "clocks" in answer:
            shown = {name: now + dt.timedelta(seconds=seconds) for name, seconds in answer["clocks"].items()}
            answer["clocks"] = {name: clock.isoformat() for name, clock in shown.items()}
        return answer

    def deploy(self) -> None:
        """Put everything on AWS that a deployment makes and a probe looks at."""
        aws = cache(boto3.client)  # making one takes longer than what it does here
        self._functions(aws)
        events = aws("events")
        for job, deployed in self.deployment.understood()[0].items():
            events.put_rule(
                Name=self._of(job),
                ScheduleExpression=rule_expression(deployed.schedule),
                State="ENABLED" if deployed.enabled else "DISABLED",
            )
        for each in PLATFORM_RULES:
            events.put_rule(Name=self._of(each), ScheduleExpression=EVERY_MINUTE)
        aws("sqs").create_queue(QueueName=self._of("dead-letters"))
        for alarm, severity in (("supervisor-silent", "critical"), ("backlog", "ordinary")):
            topic = aws("sns").create_topic(Name=self._of(severity))["TopicArn"]
            aws("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint=f"{severity}@example.com")
            aws("cloudwatch").put_metric_alarm(
                AlarmName=self._of(alarm),
                AlarmDescription=f"The {alarm} is bad. First: look there. docs/operations.md#{alarm}",
                AlarmActions=[topic],
                MetricName="Errors",
                Namespace="AWS/Lambda",
                Period=60,
                EvaluationPeriods=1,
                Threshold=1,
                ComparisonOperator="GreaterThanThreshold",
                Statistic="Sum",
            )

    def _functions(self, aws: Callable[[str], Any]) -> None:
        try:
            role = aws("iam").create_role(RoleName="any", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        except ClientError:  # another deployment has made it
            role = aws("iam").get_role(RoleName="any")["Role"]["Arn"]
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("handler.py", "")
        variables = {
            "console": {DEPLOYMENT_VARIABLE: self.deployment.as_json()},
            "dispatcher": {SENDER_VARIABLE: SENDER},
        }
        for each in (*registry(), *PLATFORM_FUNCTIONS):
            aws("lambda").create_function(
                FunctionName=self._of(each),
                Role=role,
                Code={"ZipFile": code.getvalue()},
                Handler="handler.handler",
                Runtime="python3.13",
                Environment={"Variables": variables.get(each, {})},
            )

    def _of(self, name: str) -> str:
        return function_name(name, self.name)

    def doctor(self, *options: str) -> Result:
        return CliRunner().invoke(application, ["doctor", *options, "--name", self.name], obj=self)

    def told(self, probe: str, *options: str) -> list[tuple[str, str, str, str]]:
        """Severity, object, finding and remedy of each finding of a probe."""
        done = self.doctor("--json", *options)
        assert done.exit_code in (0, 1), done.stderr
        findings = [each for each in json.loads(done.stdout)["findings"] if each["probe"] == probe]
        return [(each["severity"], each["object"], each["what"], each["remedy"] or "") for each in findings]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """AWS as moto plays it. What stands here, by operation, is answered or raised in its place."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    answers: dict[str, Any] = {
        "GetAccount": {"SendingEnabled": True, "ProductionAccessEnabled": True},
        "GetAccountSettings": {"AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 900}},
        "GetEmailIdentity": lambda asked: {"VerifiedForSendingStatus": asked["EmailIdentity"] == "example.com"},
    }
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def answered(client: Any, operation: str, asked: Any) -> Any:
        given = answers.get(operation)
        if isinstance(given, Exception):
            raise given
        if given is None:
            return call(client, operation, asked)
        return given(asked) if callable(given) else given

    monkeypatch.setattr(BaseClient, "_make_api_call", answered)
    with mock_aws():
        yield answers


@pytest.fixture
def installation(aws: dict[str, Any]) -> Installation:
    """Deployed, in good order."""
    made = Installation(answers=aws)
    made.deploy()
    return made


def refused(operation: str, code: str = "AccessDeniedException", message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


def test_of_an_installation_in_good_order_each_probe_says_what_it_saw(installation: Installation) -> None:
    done = installation.doctor("--json")

    answer = json.loads(done.stdout)
    assert [each for each in answer["findings"] if each["severity"] != "ok"] == []
    assert (done.exit_code, answer["deployment"], answer["probes"]) == (0, "nightshift", list(PROBES))
    assert [each["probe"] for each in answer["findings"]] == list(PROBES)
    assert answer["totals"] == {"error": 0, "warning": 0, "unknown": 0, "note": 0, "ok": len(PROBES)}
    assert installation.asked == [{"query": "installation"}]
    assert installation.doctor("--strict").exit_code == 0


def test_a_finding_is_one_line_with_what_to_do_the_worst_first(installation: Installation) -> None:
    installation.inside["migrations"]["ahead"] = ["nightshift_0099"]
    installation.inside["supervisor"]["silent"] = True
    boto3.client("events").delete_rule(Name="nightshift-watch")

    done = installation.doctor()

    lines = [" ".join(line.split()) for line in done.stdout.splitlines() if line.strip()]
    assert lines[0] == "Severity Probe Object Finding What to do"
    assert [line.partition(" ")[0] for line in lines[2:-1]] == ["error", "error", "note", *["ok"] * (len(PROBES) - 3)]
    assert "error rules watch it has no rule, so nothing starts it make deploy" in lines
    assert lines[-1] == f"{len(PROBES)} probes of nightshift: 2 errors, 1 note."
    assert done.exit_code == 1


Arrange = Callable[[Installation], Any]


def events(**changes: Any) -> Arrange:
    """Change a rule."""
    return lambda _: boto3.client("events").put_rule(**changes)


def inside(part: str, **changes: Any) -> Arrange:
    return lambda it: it.inside[part].update(changes)


def answering(operation: str, answer: Any) -> Arrange:
    return lambda it: it.answers.update({operation: answer})


def clock(**seconds: float) -> Arrange:
    return lambda it: it.inside["clocks"].update(seconds)


def never(job: str, **facts: Any) -> Arrange:
    told: dict[str, Any] = {"job": job, "registered_at": "2026-03-01T00:00:00Z", "due": None, "ended": {}}
    return lambda it: it.inside["never_begun"]["jobs"].append(told | facts)


def paused(job: str, **more: Any) -> Arrange:
    pause = {"at": "2026-03-01T00:00:00Z", "by": "Ada", "reason": "audit", **more}
    return lambda it: it.inside["pauses"]["jobs"].update({job: pause})


def both(*every: Arrange) -> Arrange:
    return lambda it: [each(it) for each in every]


def down(error: Exception) -> Arrange:
    return lambda it: setattr(it, "silent", error)


def pending(topic: str, *others: dict[str, str], endpoint: str = "ada@example.com", protocol: str = "email") -> Arrange:
    """A subscriber of a topic that has not confirmed, beside others."""

    def subscribed(asked: Any) -> dict[str, Any]:
        confirmed = {"SubscriptionArn": "arn:aws:sns:x", "Protocol": "email", "Endpoint": "bob@example.com"}
        waiting = {"SubscriptionArn": "PendingConfirmation", "Protocol": protocol, "Endpoint": endpoint}
        mine = asked["TopicArn"].endswith(topic)
        return {"Subscriptions": [waiting, *others] if mine else [confirmed]}

    return answering("ListSubscriptionsByTopic", subscribed)


def dated(ahead: dt.timedelta) -> dict[str, Any]:
    """An answer of AWS, whose clock is so much ahead of this machine's."""
    at = dt.datetime.now(dt.UTC) + ahead
    return {"ResponseMetadata": {"HTTPHeaders": {"date": f"{at:%a, %d %b %Y %H:%M:%S} GMT"}}}


def alarm(name: str) -> Arrange:
    return lambda _: boto3.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="x")


def send(_: Installation) -> None:
    queue = boto3.client("sqs").get_queue_url(QueueName="nightshift-dead-letters")["QueueUrl"]
    boto3.client("sqs").send_message(QueueUrl=queue, MessageBody="{}")


CONFIRMED = {"SubscriptionArn": "arn:aws:sns:x", "Protocol": "sms", "Endpoint": "1"}
CART_RULE = "nightshift-abandoned-carts"

RED: dict[str, tuple[str, Arrange, str, str, str]] = {
    "the database is down": (
        "database",
        down(FunctionError("OperationalError", "no")),
        "error database",
        "the database does not answer: check that it is up",
        "aws logs tail /aws/lambda/nightshift-console",
    ),
    "the console ends with an error of its own": (
        "database",
        down(FunctionError("ImportError", "no module x")),
        "error database",
        "the console ended with ImportError: no module x",
        "security group",
    ),
    "nothing is encrypted": (
        "TLS",
        inside("connection", protocol=None, expires=None),
        "error connection",
        "nothing on the way to the database is encrypted",
        "cdk.json",
    ),
    "behind the proxy nothing is encrypted": (
        "TLS",
        inside("connection", server=False),
        "warning proxy",
        "between the proxy and the database",
        "server_tls_sslmode = verify-full",
    ),
    "the certificate expires": (
        "TLS",
        inside("connection", expires=(NOW + 29 * DAY).isoformat()),
        "warning certificate",
        f"expires on {NOW + 29 * DAY:%Y-%m-%d}",
        "aws rds modify-db-instance",
    ),
    "migrations are behind": (
        "migrations",
        inside("migrations", pending=["nightshift_0008", "nightshift_0009"]),
        "error schema nightshift",
        "behind the deployed code: it lacks nightshift_0008, nightshift_0009",
        "aws lambda invoke --function-name nightshift-migrate",
    ),
    "migrations are ahead": (
        "migrations",
        inside("migrations", ahead=["nightshift_0099"]),
        "note schema nightshift",
        "ahead of the deployed code, as after a rollback: nightshift_0099",
        "make deploy",
    ),
    "nobody can migrate": (
        "migrations",
        inside("migrations", refused="the database x is in LATIN1"),
        "error schema nightshift",
        "in LATIN1",
        "make deploy",
    ),
    "the database's clock is ahead": (
        "clocks",
        clock(database=61.0),
        "error database",
        "its clock is 61 s ahead",
        "chrony",
    ),
    "the database's clock is behind": ("clocks", clock(database=-7.0), "warning database", "7 s behind", "chrony"),
    "the functions' clock is ahead": (
        "clocks",
        clock(before=20.0, database=20.0, after=20.0),
        "warning functions",
        "s ahead",
        "AWS support",
    ),
    "this machine's clock is behind": (
        "clocks",
        both(clock(before=3600, database=3600, after=3600), answering("GetCallerIdentity", lambda _: dated(HOUR))),
        "warning this machine",
        "s behind",
        "timedatectl",
    ),
    "the supervisor is silent": (
        "supervisor",
        inside("supervisor", silent=True),
        "error nightshift-supervisor",
        "not looked over the ledger since 2026-03-02T09:00:00Z",
        "aws events enable-rule --name nightshift-supervisor",
    ),
    "the supervisor never was": (
        "supervisor",
        inside("supervisor", silent=True, last_round=None),
        "error nightshift-supervisor",
        "not looked over the ledger yet",
        "aws logs tail",
    ),
    "a job that was due never ran": (
        "jobs",
        never(CART, due="2026-03-02T02:00:00Z"),
        f"error {CART}",
        "was due at 2026-03-02T02:00:00Z, and has never run",
        f"nightshift run {CART}",
    ),
    "all of a job's occurrences were missed": (
        "jobs",
        never(CART, ended={"missed": 3, "skipped": 1}),
        f"warning {CART}",
        "its occurrences are missed 3, skipped 1",
        f"nightshift runs {CART}",
    ),
    "a job is not in the ledger": (
        "jobs",
        never(CART, registered_at=None),
        f"error {CART}",
        "the ledger does not know it",
        "nightshift-migrate",
    ),
    "a paused job never ran": (
        "jobs",
        both(never(CART, ended={"paused": 3}), paused(CART)),
        f"note {CART}",
        "paused by Ada: audit",
        f"nightshift resume {CART}",
    ),
    "a job's function is gone": (
        "functions",
        lambda _: boto3.client("lambda").delete_function(FunctionName=CART_RULE),
        f"error {CART}",
        "it has no function",
        "make deploy",
    ),
    "a rule is missing": (
        "rules",
        lambda _: boto3.client("events").delete_rule(Name=CART_RULE),
        f"error {CART}",
        "it has no rule",
        "make deploy",
    ),
    "a rule has another expression": (
        "rules",
        events(Name=CART_RULE, ScheduleExpression="cron(0 5 * * ? *)"),
        f"error {CART}",
        "its rule fires by cron(0 5 * * ? *), and it is declared for cron(0 2 * * ? *)",
        "make deploy",
    ),
    "a rule of the platform has another expression": (
        "rules",
        events(Name="nightshift-supervisor", ScheduleExpression="rate(1 hour)"),
        "error supervisor",
        "its rule fires by rate(1 hour)",
        "make deploy",
    ),
    "nobody declares a rule": (
        "rules",
        events(Name="nightshift-old", ScheduleExpression="rate(1 hour)"),
        "warning nightshift-old",
        "no job of this folder declares this rule (rate(1 hour))",
        "aws events disable-rule --name nightshift-old",
    ),
    "a rule is disabled": (
        "rules",
        lambda _: boto3.client("events").disable_rule(Name=CART_RULE),
        f"error {CART}",
        "its rule is disabled, and no setting and no pause says why",
        f"aws events enable-rule --name {CART_RULE}",
    ),
    "a pause explains that a rule is disabled": (
        "rules",
        both(lambda _: boto3.client("events").disable_rule(Name=CART_RULE), paused(CART)),
        f"note {CART}",
        "paused by Ada: audit",
        f"aws events enable-rule --name {CART_RULE}",
    ),
    "the rule of a paused supervisor is disabled": (
        "rules",
        both(lambda _: boto3.client("events").disable_rule(Name="nightshift-supervisor"), paused(CART)),
        "error supervisor",
        "its rule is disabled",
        "aws events enable-rule --name nightshift-supervisor",
    ),
    "a rule misses what a zone means": (
        "time zones",
        events(Name="nightshift-removed-items", ScheduleExpression="cron(30 2 * * ? *)"),
        f"error {ITEMS}",
        "its rule cron(30 2 * * ? *) does not fire at ",
        "make deploy",
    ),
    "a rule covers a zone in another way": (
        "time zones",
        events(Name="nightshift-removed-items", ScheduleExpression="cron(* * * * ? *)"),
        f"note {ITEMS}",
        "covers cron(",
        "make deploy",
    ),
    "a rule of a zone is no cron": (
        "time zones",
        events(Name="nightshift-removed-items", ScheduleExpression="rate(1 day)"),
        f"error {ITEMS}",
        "rate(1 day)",
        "make deploy",
    ),
    "the account runs few at once": (
        "concurrency",
        answering(
            "GetAccountSettings", {"AccountLimit": {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 9}}
        ),
        "warning concurrency",
        "only 9 of the account's 10 executions at once are free for ",
        "aws service-quotas request-service-quota-increase",
    ),
    "a critical alarm has gone off": (
        "alarms",
        alarm("nightshift-supervisor-silent"),
        "error nightshift-supervisor-silent",
        "The supervisor-silent is bad.",
        "look there. docs/operations.md#supervisor-silent",
    ),
    "an ordinary alarm has gone off": (
        "alarms",
        alarm("nightshift-backlog"),
        "warning nightshift-backlog",
        "The backlog is bad.",
        "look there.",
    ),
    "an alarm is mute": (
        "alarms",
        lambda _: boto3.client("cloudwatch").disable_alarm_actions(AlarmNames=["nightshift-backlog"]),
        "warning nightshift-backlog",
        "tells nobody",
        "aws cloudwatch enable-alarm-actions --alarm-names nightshift-backlog",
    ),
    "there is no alarm": (
        "alarms",
        answering("DescribeAlarms", {"MetricAlarms": []}),
        "error nightshift",
        "no alarm is there",
        "make deploy",
    ),
    "one subscriber has not confirmed": (
        "subscribers",
        pending("critical", CONFIRMED),
        "warning nightshift-critical",
        "ada@example.com has not confirmed",
        "aws sns subscribe --topic-arn arn:aws:sns:us-east-1:123456789012:nightshift-critical --protocol email "
        "--notification-endpoint ada@example.com",
    ),
    "nobody of the critical ones has confirmed": (
        "subscribers",
        pending("critical"),
        "error nightshift-critical",
        "ada@example.com has not confirmed, and nobody else is told",
        "aws sns subscribe",
    ),
    "an address that pages has not confirmed": (
        "subscribers",
        pending("ordinary", endpoint="https://events.pagerduty.com/integration/secret/enqueue", protocol="https"),
        "warning nightshift-ordinary",
        "https://events.pagerduty.com/… has not confirmed, and nobody else is told",
        "--protocol https --notification-endpoint ADDRESS",
    ),
    "nobody is subscribed to critical alarms": (
        "subscribers",
        answering(
            "ListSubscriptionsByTopic",
            lambda asked: {"Subscriptions": [] if asked["TopicArn"].endswith("critical") else [CONFIRMED]},
        ),
        "warning nightshift-critical",
        "nobody is told of critical alarms",
        "set alarms.critical in cdk.json",
    ),
    "nobody is subscribed to ordinary alarms": (
        "subscribers",
        answering(
            "ListSubscriptionsByTopic",
            lambda asked: {"Subscriptions": [] if asked["TopicArn"].endswith("ordinary") else [CONFIRMED]},
        ),
        "note nightshift-ordinary",
        "nobody is told of ordinary alarms",
        "set alarms.ordinary in cdk.json",
    ),
    "a dead letter waits": (
        "dead letters",
        send,
        "warning nightshift-dead-letters",
        "a message waits there",
        "aws sqs purge-queue --queue-url https://",
    ),
    "SES has the account in the sandbox": (
        "mail sandbox",
        answering("GetAccount", {"SendingEnabled": True, "ProductionAccessEnabled": False}),
        "warning SES",
        "the account is in the sandbox",
        "aws sesv2 put-account-details --production-access-enabled",
    ),
    "SES has paused sending": (
        "mail sandbox",
        answering("GetAccount", {"SendingEnabled": False, "ProductionAccessEnabled": True}),
        "error SES",
        "has paused sending",
        "aws sesv2 get-account",
    ),
    "nobody has verified the sender": (
        "mail sender",
        answering("GetEmailIdentity", refused("GetEmailIdentity", "NotFoundException")),
        f"error {SENDER}",
        "SES has verified neither it nor its domain",
        "aws sesv2 create-email-identity --email-identity mail.shop.example.com",
    ),
    "the sender waits to be verified": (
        "mail sender",
        answering("GetEmailIdentity", {"VerifiedForSendingStatus": False}),
        f"error {SENDER}",
        "SES has verified neither it nor its domain",
        "DNS records",
    ),
}


@pytest.mark.parametrize("case", RED)
def test_what_is_wrong_is_told_with_what_to_do(installation: Installation, case: str) -> None:
    probe, arrange, whose, what, remedy = RED[case]
    arrange(installation)

    [finding] = installation.told(probe)

    severity, told_of, words, do = finding
    assert f"{severity} {told_of}" == whose
    assert what in words
    assert remedy in do


@pytest.mark.parametrize(
    ("case", "code", "strictly"),
    [
        ("migrations are behind", 1, 1),
        ("a dead letter waits", 0, 1),
        ("migrations are ahead", 0, 0),
    ],
)
def test_errors_end_with_exit_code_1_and_strictly_warnings_too(
    installation: Installation, case: str, code: int, strictly: int
) -> None:
    RED[case][1](installation)

    assert installation.doctor().exit_code == code
    assert installation.doctor("--strict").exit_code == strictly


def test_every_probe_has_a_red_case() -> None:
    assert {probe for probe, *_ in RED.values()} == set(PROBES)


def test_what_does_not_leave_the_machine_need_not_be_encrypted(installation: Installation) -> None:
    installation.inside["connection"] |= {"protocol": None, "expires": None, "leaves": False, "server": False}

    assert [each[:3] for each in installation.told("TLS")] == [
        ("ok", "connection", "nothing leaves the machine on the way to the database")
    ]


def test_a_job_whose_time_has_not_come_is_all_right(installation: Installation) -> None:
    never(CART)(installation)

    paused(ITEMS)(installation)
    never(ITEMS)(installation)

    assert [each[:3] for each in installation.told("jobs")] == [
        ("ok", "jobs", "every job that was due has run; not due yet: 2")
    ]


def test_a_job_that_the_settings_disable_has_its_rule_disabled(aws: dict[str, Any]) -> None:
    it = Installation(answers=aws, changes={CART: {"enabled": False}})
    it.deploy()
    assert [each[0] for each in it.told("rules")] == ["ok"]

    boto3.client("events").enable_rule(Name=CART_RULE)

    [(severity, whose, what, _)] = it.told("rules")
    assert (severity, whose) == ("warning", CART)
    assert "the settings disable it, and its rule fires" in what


def test_settings_that_make_no_sense_are_told(aws: dict[str, Any]) -> None:
    it = Installation(answers=aws, changes={CART: {"parameters": {"retention_days": 0}}})
    it.deploy()

    [(severity, whose, what, remedy)] = it.told("rules")

    assert (severity, whose) == ("error", CART)
    assert "retention_days must be" in what
    assert f"nightshift.jobs.{CART} in cdk.json" in remedy


def test_a_pack_that_is_not_deployed_is_a_note(aws: dict[str, Any]) -> None:
    it = Installation(answers=aws, packs=("market",))
    it.deploy()

    [(severity, whose, what, _), *others] = sorted(it.told("rules"))

    assert (severity, "back_office" in whose, "market" in whose) == ("note", True, False)
    assert "not deployed" in what
    assert [each[0] for each in others] == ["ok"]


def test_rules_that_are_all_off_are_one_finding_and_explain_the_silence(installation: Installation) -> None:
    client = boto3.client("events")
    for rule in client.list_rules()["Rules"]:
        client.disable_rule(Name=rule["Name"])
    installation.inside["supervisor"]["silent"] = True
    for job in registry():
        never(job, due="2026-03-02T02:00:00Z")(installation)

    found = [each for probe in ("rules", "supervisor", "jobs") for each in installation.told(probe)]

    assert [each[0] for each in found] == ["warning"] * 3
    assert "every rule is disabled: nothing runs" in found[0][2]
    assert f"{len(registry())} jobs have never run" in found[2][2]
    assert installation.doctor().exit_code == 0


def test_another_deployment_of_the_account_is_not_touched(installation: Installation) -> None:
    staging = Installation("staging", answers=installation.answers)
    staging.deploy()
    boto3.client("events").delete_rule(Name="staging-abandoned-carts")
    alarm("staging-backlog")(staging)

    assert installation.doctor("--strict").exit_code == 0
    assert [each[:2] for each in staging.told("rules")] == [("error", CART)]
    assert [each[:2] for each in staging.told("alarms")] == [("warning", "staging-backlog")]
    assert [each[:2] for each in staging.told("dead letters")] == [("ok", "staging-dead-letters")]


def test_without_a_sender_no_probe_asks_for_mails(installation: Installation, aws: dict[str, Any]) -> None:
    boto3.client("lambda").update_function_configuration(
        FunctionName="nightshift-dispatcher", Environment={"Variables": {}}
    )
    aws |= {"GetAccount": refused("GetAccount"), "GetEmailIdentity": refused("GetEmailIdentity")}

    assert [each[0] for each in installation.told("mail sandbox")] == ["ok"]
    assert [each[:3] for each in installation.told("mail sender")] == [
        ("note", "sender", "none is set: mails wait in the outbox")
    ]


REFUSED = {
    "ListRules": {"rules", "time zones"},
    "ListFunctions": {"functions", "concurrency"},
    "GetFunctionConfiguration": {"functions", "rules", "time zones", "mail sandbox", "mail sender"},
    "GetAccountSettings": {"concurrency"},
    "DescribeAlarms": {"alarms", "subscribers"},
    "ListSubscriptionsByTopic": {"subscribers"},
    "GetQueueUrl": {"dead letters"},
    "GetQueueAttributes": {"dead letters"},
    "GetAccount": {"mail sandbox"},
    "GetEmailIdentity": {"mail sender"},
    "GetCallerIdentity": {"clocks"},
}
"""What AWS may refuse, and the probes that then do not know."""


@pytest.mark.parametrize(
    ("operation", "code", "reason"),
    [
        *(
            (each, "AccessDeniedException", "AWS refuses {} to these credentials (AccessDeniedException)")
            for each in REFUSED
        ),
        ("ListRules", "ThrottlingException", "AWS has no time for {} (ThrottlingException)"),
        ("GetAccount", "TooManyRequestsException", "AWS has no time for {} (TooManyRequestsException)"),
        ("DescribeAlarms", "InternalFailure", "AWS refuses {}: InternalFailure: in detail"),
    ],
)
def test_what_aws_refuses_is_unknown_and_stops_nothing_beside_it(
    installation: Installation, operation: str, code: str, reason: str
) -> None:
    installation.answers[operation] = refused(operation, code, "in\ndetail")

    done = installation.doctor("--json", "--strict")

    findings = json.loads(done.stdout)["findings"]
    unknown = [each for each in findings if each["severity"] == "unknown"]
    assert {each["probe"] for each in unknown} == REFUSED[operation]
    for each in unknown:
        service = each["what"].partition(f":{operation}")[0].rpartition(" ")[2]
        assert each["what"] == reason.format(f"{service}:{operation}")
        assert ("docs/security.md" in (each["remedy"] or "")) == (code == "AccessDeniedException")
    others = [each for each in findings if each["probe"] not in REFUSED[operation]]
    assert {each["severity"] for each in others} == {"ok"}
    assert done.exit_code == 1


OF_THE_CONSOLE = {"database", "TLS", "migrations", "clocks", "supervisor", "jobs"}


@pytest.mark.parametrize(
    ("error", "severity", "reason"),
    [
        (AwsError("you may not invoke it"), "unknown", "the console has not answered: see the probe database"),
        (FunctionError("OperationalError", "no"), "error", "the database does not answer"),
    ],
)
def test_a_console_that_does_not_answer_hides_nothing_that_aws_tells(
    installation: Installation, error: Exception, severity: str, reason: str
) -> None:
    installation.silent = error

    findings = json.loads(installation.doctor("--json").stdout)["findings"]

    by_probe = {each["probe"]: each for each in findings}
    assert {name for name, each in by_probe.items() if each["severity"] != "ok"} == OF_THE_CONSOLE
    assert by_probe["database"]["severity"] == severity
    assert reason in by_probe["database" if severity == "error" else "TLS"]["what"]
    assert {by_probe[name]["severity"] for name in OF_THE_CONSOLE - {"database"}} == {"unknown"}


def test_a_part_that_the_console_cannot_read_is_unknown_and_the_others_are_known(installation: Installation) -> None:
    installation.inside["migrations"] = {"unread": "permission denied (42501)"}

    assert installation.told("migrations") == [
        ("unknown", "nightshift", "the console could not read it: permission denied (42501)", "")
    ]
    assert [each[0] for each in installation.told("TLS")] == ["ok"]


def test_an_environment_that_aws_does_not_show_is_unknown(installation: Installation, aws: dict[str, Any]) -> None:
    hidden = {"Error": {"ErrorCode": "AccessDeniedException", "Message": "no kms:Decrypt"}}
    aws["GetFunctionConfiguration"] = lambda asked: {"FunctionName": asked["FunctionName"], "Environment": hidden}

    found = {probe: installation.told(probe)[0] for probe in ("rules", "mail sender")}

    assert {each[0] for each in found.values()} == {"unknown"}
    assert found["rules"][2] == "AWS does not show the environment of nightshift-console: no kms:Decrypt"


def test_a_console_of_older_code_is_told_to_be_older(installation: Installation) -> None:
    installation.inside = {"error": "the payload must be …"}

    [(severity, _, what, remedy)] = installation.told("database")

    assert (severity, remedy) == ("unknown", "make deploy: it may be older than this folder")
    assert what == "the console refuses: the payload must be …"


def test_a_console_that_has_lost_the_database_says_so(installation: Installation) -> None:
    installation.inside = {"error": "the database does not answer: it is shutting down"}

    [(severity, _, what, _)] = installation.told("database")

    assert (severity, what) == ("error", "the database does not answer: it is shutting down")


def test_one_topic_that_cannot_be_read_hides_no_other(installation: Installation, aws: dict[str, Any]) -> None:
    critical = "nightshift-critical"
    boto3.client("sns").delete_topic(TopicArn=f"arn:aws:sns:us-east-1:123456789012:{critical}")
    call = pending("ordinary")
    call(installation)
    subscribed = aws["ListSubscriptionsByTopic"]

    def answered(asked: Any) -> Any:
        if asked["TopicArn"].endswith(critical):
            raise refused("ListSubscriptionsByTopic", "NotFound", "Topic does not exist")
        return subscribed(asked)

    aws["ListSubscriptionsByTopic"] = answered

    found = installation.told("subscribers")

    assert [each[:2] for each in found] == [("warning", "nightshift-ordinary"), ("unknown", critical)]
    assert found[1][2] == "sns:ListSubscriptionsByTopic finds nothing: Topic does not exist"


def test_where_nothing_is_deployed_it_is_refused_in_one_line(aws: dict[str, Any]) -> None:
    done = Installation(answers=aws).doctor()

    assert (done.exit_code, done.stdout) == (2, "")
    assert "no function of a deployment named nightshift is in this account and region" in done.stderr


def test_without_credentials_it_is_refused_in_one_line(aws: dict[str, Any]) -> None:
    for operation in REFUSED:
        aws[operation] = refused(operation, "ExpiredToken")

    done = Installation(answers=aws, silent=AwsError("expired")).doctor()

    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1
