"""The ways out: Amazon SES for mails, an SNS topic for the operators. Only the dispatcher may use them.

A call is made once. botocore would also repeat it when the answer is lost, and the mail might then come twice; so what
was surely not sent is told apart from what may have been, and the outbox itself is the queue for trying again.
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
"""So many threads may call at once."""

_MAKING = threading.Lock()  # clients serve many threads, but boto3 makes them one at a time


class NotSent(Exception):  # noqa: N818 - the notice is tried again
    """Surely nothing was sent, for a reason that lies outside the notice."""


class Throttled(NotSent):
    """Surely nothing was sent: the account's rate or quota is used up."""


class Refused(Exception):  # noqa: N818 - an answer
    """Surely nothing was sent, and another try would be refused as well."""


class Unclear(Exception):  # noqa: N818 - nobody knows
    """It may have been sent: the answer was lost, or was the server's own failure."""


@dataclass(frozen=True)
class Allowance:
    """How many mails the account may send: each second, and in what is left of its 24 hours (None: no limit)."""

    per_second: float
    left: int | None


@dataclass(frozen=True)
class Outlets:
    """Where notices go out. A channel without its setting is closed: its rows stay pending."""

    sender: str | None = None
    operators_topic: str | None = None
    preferences_url: str | None = None

    @cached_property
    def _config(self) -> Any:
        from botocore.config import Config

        # Without a route to the API a call from a VPC would hang until the function's own timeout.
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
        """The account's quota as SES tells it.

        Raises:
            NotSent, Unclear: SES did not tell, or sends nothing for this account at present.
        """
        with _told_apart():
            account = self._ses.get_account()
        if not account.get("SendingEnabled", True):
            raise NotSent("SES has paused sending for this account")
        quota = account["SendQuota"]
        most, sent = quota["Max24HourSend"], quota["SentLast24Hours"]
        return Allowance(max(quota["MaxSendRate"], 0.01), None if most < 0 else max(0, int(most - sent)))

    def mail(self, address: str, mail: Mail, *, unsubscribe: bool) -> None:
        """Send a mail.

        Raises:
            NotSent, Refused, Unclear: it was not, or perhaps not.
        """
        content: Any = {
            "Subject": {"Data": mail.subject, "Charset": "UTF-8"},
            "Body": {
                "Text": {"Data": mail.text, "Charset": "UTF-8"},
                "Html": {"Data": mail.html, "Charset": "UTF-8"},
            },
        }
        if unsubscribe:
            ways = [f"<{self.preferences_url}>"] if self.preferences_url else []
            ways.append(f"<mailto:{self.sender}?subject=unsubscribe>")
            content["Headers"] = [{"Name": "List-Unsubscribe", "Value": ", ".join(ways)}]
        with _told_apart():
            self._ses.send_email(
                FromEmailAddress=str(self.sender),
                Destination={"ToAddresses": [address]},
                Content={"Simple": content},
            )

    def publish(self, mail: Mail) -> None:
        """Tell the operators, in plain text.

        Raises:
            NotSent, Refused, Unclear: they were not told, or perhaps not.
        """
        subject = mail.subject[:LONGEST_SNS_SUBJECT]
        with _told_apart():
            self._sns.publish(TopicArn=str(self.operators_topic), Subject=subject, Message=mail.text)


@contextmanager
def _told_apart() -> Iterator[None]:
    """Turn what AWS or the way there says into the one thing that matters: can it have been sent?"""
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
        if code in REFUSED:
            raise Refused(code) from None
        raise (Unclear if status >= 500 else NotSent)(code) from None
    except ParamValidationError:
        raise Refused("ParamValidationError") from None
    except (ConnectTimeoutError, EndpointConnectionError, NoCredentialsError) as error:
        raise NotSent(type(error).__name__) from None
    except BotoCoreError as error:
        raise Unclear(type(error).__name__) from None
