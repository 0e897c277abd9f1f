"""Invokes the Lambda functions of a deployment, one at a time, and waits for each."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.exceptions import BotoCoreError
    from mypy_boto3_lambda import LambdaClient

WAIT_SECONDS = 15 * 60 + 30
"""A little longer than the longest time that Lambda lets a function run."""

DESK_SECONDS = 40
"""A little longer than console and control may take."""

CREDENTIALS_REMEDY = "sign in (aws sso login, aws configure) or name another profile with --profile"


NO_AWS = "no AWS "
"""So begins what is said where nothing names a region, or has credentials."""


class AwsError(Exception):
    """AWS did not answer, or refused. The message is one line that says what to do."""


class ConnectionLostError(AwsError):
    """The call had been sent, and its answer did not come. What it has begun goes on."""


class FunctionError(Exception):
    """The function was invoked and ended with an error. The message is the function's own, in one line."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(" ".join(message.split()))
        self.kind = kind
        """The name of the exception that the function raised."""


class Functions(Protocol):
    """What the commands need from AWS."""

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke a function, wait for its end and return its result.

        Raises:
            AwsError, FunctionError.
        """


@dataclass(frozen=True)
class Account:
    """One account and region. Nothing connects before the first call.

    Raises:
        AwsError: the endpoint is no URL.
    """

    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    seconds: float = WAIT_SECONDS
    """How long an answer is waited for."""

    def __post_init__(self) -> None:
        if self.endpoint_url is not None and not self.endpoint_url.startswith(("http://", "https://")):
            raise AwsError(f"--endpoint-url {self.endpoint_url!r} is no URL: write it like http://127.0.0.1:4566")

    def session(self) -> "Session":
        import boto3

        return boto3.Session(profile_name=self.profile, region_name=self.region)

    @property
    def place(self) -> str:
        """Where something is not that was looked for."""
        return f"in region {self.region}" if self.region else "in this account and region"


@dataclass(frozen=True)
class LambdaFunctions(Account):
    """The functions of one account and region."""

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        # boto3 takes 0.3 s to import, and not every command needs it.
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            response = self._client().invoke(FunctionName=function, Payload=json.dumps(payload))
            answer = json.loads(response["Payload"].read())
        except ClientError as error:
            raise AwsError(_refusal(error.response["Error"], function, self.place)) from None
        except HTTPClientError:
            text = f"the connection broke while {function} was running; it may still run: see nightshift status"
            raise ConnectionLostError(text) from None
        except BotoCoreError as error:
            raise AwsError(unreachable(error)) from None
        if "FunctionError" in response:
            raise FunctionError(answer.get("errorType", "Error"), answer.get("errorMessage", "no message"))
        result: dict[str, Any] = answer
        return result

    def caller(self) -> str | None:
        """The ARN of the identity whose credentials these are; None where AWS does not tell."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        # The command does not depend on it: what AWS itself writes down names the caller, too.
        config = Config(connect_timeout=3, read_timeout=3, retries={"total_max_attempts": 1})
        try:
            client = self.session().client("sts", endpoint_url=self.endpoint_url, config=config)
            return client.get_caller_identity()["Arn"]
        except (BotoCoreError, ClientError):
            return None

    def _client(self) -> "LambdaClient":
        from botocore.config import Config

        config = Config(
            connect_timeout=min(10, self.seconds),
            read_timeout=self.seconds,
            retries={"total_max_attempts": 1},  # a second call would be a second run
            tcp_keepalive=True,  # gateways on the way drop connections that are silent for minutes
        )
        return self.session().client("lambda", endpoint_url=self.endpoint_url, config=config)


def use_for_every_client(profile: str | None, region: str | None, endpoint_url: str | None) -> None:
    """Make the library's own clients in this process use this profile, region and endpoint, too.

    Raises:
        BotoCoreError: there is no such profile.
    """
    import boto3

    if profile or region:
        boto3.setup_default_session(profile_name=profile, region_name=region)
    if endpoint_url:
        os.environ["AWS_ENDPOINT_URL"] = endpoint_url


def unreachable(error: "BotoCoreError") -> str:
    """Why AWS did not answer, in one line that says what to do."""
    from botocore import exceptions

    match error:
        case exceptions.NoCredentialsError() | exceptions.PartialCredentialsError():
            return f"{NO_AWS}credentials found: {CREDENTIALS_REMEDY}"
        case (
            exceptions.SSOError()
            | exceptions.LoginError()
            | exceptions.CredentialRetrievalError()
            | exceptions.TokenRetrievalError()
        ):
            return f"your AWS sign-in has ended or failed ({error}): {CREDENTIALS_REMEDY}"
        case exceptions.ProfileNotFound():
            return f"{error}: see aws configure list-profiles"
        case exceptions.NoRegionError():
            return f"{NO_AWS}region: give --region, or set AWS_DEFAULT_REGION"
        case exceptions.ConnectionError():
            return f"AWS does not answer: {error}. Check region and network, or --endpoint-url and AWS_ENDPOINT_URL"
        case _:
            return f"the call to AWS failed: {error}"


REFUSED_CREDENTIALS = {
    *("ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId"),
    *("InvalidSignatureException", "SignatureDoesNotMatch"),
}
"""What AWS calls credentials that it does not accept (any more)."""

DENIED = {
    *("AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException"),
    *("UnauthorizedOperation", "Forbidden", "403"),
}
"""What it calls a lack of rights."""

CREDENTIALS_REFUSED = f"AWS no longer accepts your credentials: {CREDENTIALS_REMEDY}"


def _refusal(error: Mapping[str, Any], function: str, place: str) -> str:
    """Why AWS did not invoke a function, in one line that says what to do."""
    match error["Code"]:
        case "ResourceNotFoundException":
            return f"{function} is not deployed {place}: run make deploy, or choose with --profile and --region"
        case code if code in DENIED:
            return f"you may not invoke {function}: you need lambda:InvokeFunction on it"
        case code if code in REFUSED_CREDENTIALS:
            return CREDENTIALS_REFUSED
        case "TooManyRequestsException":
            return f"{function} is busy: try again in a minute"
        case code:
            return f"AWS refused to invoke {function}: {code}: {error.get('Message', '')}"
