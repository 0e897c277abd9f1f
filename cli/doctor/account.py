"""What the operator's own credentials read of a deployment on AWS. Each call only reads, and is bounded in time."""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cli.aws import CREDENTIALS_REMEDY, DENIED, REFUSED_CREDENTIALS, unreachable
from cli.doctor.findings import UnreadError
from nightshift.declaration import function_name
from nightshift.declaration.names import DEAD_LETTERS

if TYPE_CHECKING:
    from boto3.session import Session
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType
    from mypy_boto3_sts import STSClient

CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2, "mode": "standard"})

ABSENT = {"ResourceNotFoundException", "NotFound", "NotFoundException", "QueueDoesNotExist"}
ABSENT |= {"AWS.SimpleQueueService.NonExistentQueue"}
BUSY = re.compile("Throttl|TooManyRequests|LimitExceeded|SlowDown")

MESSAGES: tuple["QueueAttributeNameType", ...] = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
)

POLICY = "give these credentials the viewer's policy of docs/security.md"


class AbsentError(UnreadError):
    """It is not there."""


@dataclass(frozen=True)
class Rule:
    """A rule of EventBridge."""

    name: str
    expression: str
    enabled: bool


@dataclass(frozen=True)
class Alarm:
    """An alarm of CloudWatch."""

    name: str
    state: str
    about: str
    topics: tuple[str, ...]
    """The ARNs of the topics that it tells."""
    tells: bool
    """Whether its actions are enabled."""


@dataclass(frozen=True)
class Subscriber:
    """Who is subscribed to a topic."""

    protocol: str
    endpoint: str
    state: str
    """`confirmed`, `pending` or `deleted`."""


@dataclass(frozen=True)
class Mailing:
    """How SES stands to this account."""

    sending: bool
    production: bool
    """Whether it has left the sandbox, in which it may write to verified addresses only."""


@dataclass(frozen=True)
class Concurrency:
    """How many functions may run at the same time: in the account, and of those without a share of their own."""

    all: int
    unreserved: int


@dataclass(frozen=True)
class Reading:
    """What a clock showed between two looks at this machine's own."""

    before: dt.datetime
    shown: dt.datetime
    after: dt.datetime


@dataclass(frozen=True)
class Account:
    """The account and region in which a deployment of that name stands.

    Every method raises UnreadError, with the reason, where AWS refuses or does not answer.
    """

    name: str
    session: "Session"
    endpoint_url: str | None = None
    _making: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def rules(self) -> dict[str, Rule]:
        """The deployment's rules by name. Those of another one have another name before the hyphen."""
        events: EventBridgeClient
        with self._client("events", "events:ListRules") as events:
            pages = events.get_paginator("list_rules").paginate(NamePrefix=f"{self.name}-")
            return {
                each["Name"]: Rule(each["Name"], each.get("ScheduleExpression", ""), each.get("State") != "DISABLED")
                for page in pages
                for each in page["Rules"]
            }

    def functions(self) -> set[str]:
        """The names of the deployment's functions."""
        functions: LambdaClient
        with self._client("lambda", "lambda:ListFunctions") as functions:
            pages = functions.get_paginator("list_functions").paginate()
            every = {each["FunctionName"] for page in pages for each in page["Functions"]}
        return {name for name in every if name.startswith(f"{self.name}-")}

    def environment(self, function: str) -> Mapping[str, str]:
        """What the deployment gave one of its functions as environment variables."""
        functions: LambdaClient
        with self._client("lambda", "lambda:GetFunctionConfiguration") as functions:
            found = functions.get_function_configuration(FunctionName=function_name(function, self.name))
        environment = found.get("Environment", {})
        if error := environment.get("Error"):  # its key of KMS is not for these credentials
            raise UnreadError(f"AWS does not show the environment of {found['FunctionName']}: {error.get('Message')}")
        return environment.get("Variables", {})

    def concurrency(self) -> Concurrency:
        functions: LambdaClient
        with self._client("lambda", "lambda:GetAccountSettings") as functions:
            limit = functions.get_account_settings()["AccountLimit"]
        return Concurrency(limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"])

    def alarms(self) -> list[Alarm]:
        """The deployment's alarms, by name."""
        watch: CloudWatchClient
        with self._client("cloudwatch", "cloudwatch:DescribeAlarms") as watch:
            pages = watch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{self.name}-")
            found = [each for page in pages for each in page.get("MetricAlarms", ())]
        return [
            Alarm(
                each["AlarmName"],
                each["StateValue"],
                each.get("AlarmDescription", ""),
                tuple(arn for arn in each.get("AlarmActions", ()) if ":sns:" in arn),
                each.get("ActionsEnabled", True),
            )
            for each in found
        ]

    def subscribers(self, topic: str) -> list[Subscriber]:
        sns: SNSClient
        with self._client("sns", "sns:ListSubscriptionsByTopic") as sns:
            pages = sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
            found = [each for page in pages for each in page["Subscriptions"]]
        states = {"PendingConfirmation": "pending", "Deleted": "deleted"}
        return [
            Subscriber(each["Protocol"], each["Endpoint"], states.get(each["SubscriptionArn"], "confirmed"))
            for each in found
        ]

    def mailing(self) -> Mailing:
        ses: SESV2Client
        with self._client("sesv2", "ses:GetAccount") as ses:
            found = ses.get_account()
        return Mailing(found.get("SendingEnabled", True), found.get("ProductionAccessEnabled", True))

    def verified(self, sender: str) -> str | None:
        """The identity by which SES lets this address send: itself, its domain or one above it. None: there is none."""
        labels = sender.rpartition("@")[2].split(".")
        domains = [".".join(labels[start:]) for start in range(len(labels) - 1)]
        return next(filter(self._is_verified, (sender, *domains)), None)

    def _is_verified(self, identity: str) -> bool:
        ses: SESV2Client
        try:
            with self._client("sesv2", "ses:GetEmailIdentity") as ses:
                return ses.get_email_identity(EmailIdentity=identity).get("VerifiedForSendingStatus", False)
        except AbsentError:
            return False

    def dead_letters(self) -> tuple[str, int]:
        """The dead-letter queue's URL, and about how many messages lie there."""
        queues: SQSClient
        with self._client("sqs", "sqs:GetQueueUrl") as queues:
            url = queues.get_queue_url(QueueName=f"{self.name}-{DEAD_LETTERS}")["QueueUrl"]
        with self._client("sqs", "sqs:GetQueueAttributes") as queues:
            found = queues.get_queue_attributes(QueueUrl=url, AttributeNames=[*MESSAGES])["Attributes"]
        return url, sum(int(found.get(name, 0)) for name in MESSAGES)

    def clock(self) -> Reading:
        """The clock of AWS, as an answer shows it: cut to the second."""
        sts: STSClient
        with self._client("sts", "sts:GetCallerIdentity") as sts:
            before = dt.datetime.now(dt.UTC)
            headers = sts.get_caller_identity()["ResponseMetadata"]["HTTPHeaders"]
        after = dt.datetime.now(dt.UTC)
        if "date" not in headers:
            raise UnreadError("AWS has answered without a date")
        return Reading(before, parsedate_to_datetime(headers["date"]).astimezone(dt.UTC), after)

    @contextmanager
    def _client(self, service: str, action: str) -> Iterator[Any]:
        """A client for the calls that need this action. What AWS refuses is told in words.

        Raises:
            AbsentError: what is asked for is not there.
            UnreadError: AWS refuses or does not answer.
        """
        try:
            with self._making:  # a session makes one client at a time
                client = self.session.client(  # type: ignore[call-overload]  # the service is not a literal
                    service, endpoint_url=self.endpoint_url, config=CONFIG
                )
            yield client
        except ClientError as error:
            raise _refusal(error.response["Error"], action) from None
        except BotoCoreError as error:
            raise UnreadError(unreachable(error)) from None


def _refusal(error: Mapping[str, Any], action: str) -> UnreadError:
    """Why AWS refused a call."""
    code, message = str(error.get("Code")), " ".join(str(error.get("Message", "")).split())
    if code in ABSENT:
        return AbsentError(f"{action} finds nothing: {message}")
    if code in DENIED:
        return UnreadError(f"AWS refuses {action} to these credentials ({code})", POLICY)
    if code in REFUSED_CREDENTIALS:
        return UnreadError("AWS no longer accepts your credentials", CREDENTIALS_REMEDY)
    if BUSY.search(code):
        return UnreadError(f"AWS has no time for {action} ({code})", "try again in a minute")
    return UnreadError(f"AWS refuses {action}: {code}: {message}")
