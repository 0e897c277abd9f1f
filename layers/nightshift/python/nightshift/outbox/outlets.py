"""Where notices leave: Amazon SES for mails, an SNS topic for the operators. Only the dispatcher may use them.

Each call is made once. botocore would repeat a call whose answer was lost, and the mail could arrive twice. So errors
are
sorted: certainly not sent, or perhaps sent. The outbox itself retries what was certainly not sent.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nightshift.outbox.mail import Mail

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sns import SNSClient


THROTTLED = {"TooManyRequestsException", "ThrottlingException", "Throttling", "Throttled", "LimitExceededException"}
REFUSED = {"MessageRejected", "BadRequestException", "InvalidParameter", "InvalidParameterValue", "ValidationError"}

LONGEST_SNS_SUBJECT = 99

CALLS_AT_ONCE = 16
"""How many threads may call at once."""

_MAKING = threading.Lock()  # many threads can use one client, but boto3 must make it in one


class NotSent(Exception):  # noqa: N818 - the notice is tried again
    """Certainly not sent, for a reason outside the notice."""


class Throttled(NotSent):
    """Certainly not sent: the account's rate or quota is used up."""


class Refused(Exception):  # noqa: N818 - an answer
    """Certainly not sent, and a retry would be refused too."""


class Unverified(Refused):
    """SES has not verified an address: in the sandbox the recipient's, outside it the sender's."""


class Unclear(Exception):  # noqa: N818 - nobody knows
    """Perhaps sent: the answer was lost, or the server failed."""


@dataclass(frozen=True)
class Allowance:
    """How many mails the account may send: per second, and today (None: no limit)."""

    per_second: float
    left: int | None
    sandbox: bool = False
    """Whether the account may write to verified addresses only."""


@dataclass(frozen=True)
class Outlets:
    """Where notices go out. A channel without its setting is closed: its rows stay pending."""

    sender: str | None = None
    operators_topic: str | None = None
    preferences_url: str | None = None

    @cached_property
    def _config(self) -> Any:
        from botocore.config import Config

        # Without a route to the API, a call from a VPC would hang until the function's timeout.
        return Config(
            connect_timeout=3,
            read_timeout=10,
            retries={"total_max_attempts": 1},
            max_pool_connections=CALLS_AT_ONCE,
        )

    @cached_property
    def _ses(self) -> "SESV2Client":
        import boto3

        with _MAKING:
            return boto3.client("sesv2", config=self._config)

    @cached_property
    def _sns(self) -> "SNSClient":
        import boto3

        with _MAKING:
            return boto3.client("sns", config=self._config)

    def allowance(self) -> Allowance:
        """The account's quota in SES.

        Raises:
            NotSent, Unclear: SES did not answer, or has paused sending for this account.
        """
        with _told_apart():
            account = self._ses.get_account()
        if not account.get("SendingEnabled", True):
            raise NotSent("SES has paused sending for this account")
        quota = account["SendQuota"]
        most, sent = quota["Max24HourSend"], quota["SentLast24Hours"]
        left = None if most < 0 else max(0, int(most - sent))
        return Allowance(max(quota["MaxSendRate"], 0.01), left, not account.get("ProductionAccessEnabled", True))

    def mail(self, address: str, mail: Mail, *, unsubscribe: bool) -> None:
        """Send a mail.

        Raises:
            NotSent, Refused, Unclear: the mail was not sent, or perhaps not.
        """
        content: Any = {
            "Subject": {"Data": mail.subject, "Charset": "UTF-8"},
            "Body": {
                "Text": {"Data": mail.text, "Charset": "UTF-8"},
                "Html": {"Data": mail.html, "Charset": "UTF-8"},
            },
        }
        if unsubscribe:
            page = mail.unsubscribe_url or self.preferences_url
            ways = [f"<{page}>"] if page else []
            ways.append(f"<mailto:{self.sender}?subject=unsubscribe>")
            content["Headers"] = [{"Name": "List-Unsubscribe", "Value": ", ".join(ways)}]
            if mail.unsubscribe_url:
                # RFC 8058: a mail program may do it with one click, by a POST to the first address.
                content["Headers"].append({"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"})
        with _told_apart():
            self._ses.send_email(
                FromEmailAddress=str(self.sender),
                Destination={"ToAddresses": [address]},
                Content={"Simple": content},
            )

    def publish(self, mail: Mail) -> None:
        """Tell the operators, in plain text.

        Raises:
            NotSent, Refused, Unclear: the message was not sent, or perhaps not.
        """
        subject = mail.subject[:LONGEST_SNS_SUBJECT]
        with _told_apart():
            self._sns.publish(TopicArn=str(self.operators_topic), Subject=subject, Message=mail.text)


@contextmanager
def _told_apart() -> Iterator[None]:
    """Turn an error of AWS or the network into the one thing that matters: can it have been sent?"""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectTimeoutError,
        EndpointConnectionError,
        NoCredentialsError,
        ParamValidationError,
    )

    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        if code in THROTTLED or status == 429:
            raise Throttled(code) from None
        if code == "MessageRejected" and "not verified" in error.response["Error"].get("Message", ""):
            raise Unverified(code) from None
        if code in REFUSED:
            raise Refused(code) from None
        raise (Unclear if status >= 500 else NotSent)(code) from None
    except ParamValidationError:
        raise Refused("ParamValidationError") from None
    except (ConnectTimeoutError, EndpointConnectionError, NoCredentialsError) as error:
        raise NotSent(type(error).__name__) from None
    except BotoCoreError as error:
        raise Unclear(type(error).__name__) from None
