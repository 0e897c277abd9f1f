"""The way to a deployment: its Lambda functions, invoked one at a time and waited for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

WAIT_SECONDS = 15 * 60 + 30
"""A little longer than Lambda lets any function run."""

CREDENTIALS_REMEDY = "sign in (aws sso login, aws configure) or name another profile with --profile"
EXPIRED = {"ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidSignatureException"}
DENIED = {"AccessDeniedException", "AccessDenied"}


class AwsError(Exception):
    """AWS could not be asked, or refused. The message is one line that says what to do."""


class FunctionError(Exception):
    """The function was invoked and ended with an error. The message is the function's own."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """The name of the exception that the function raised."""


class Functions(Protocol):
    """What the commands need of AWS."""

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke a function, wait for its end and return its result.

        Raises:
            AwsError, FunctionError.
        """


@dataclass(frozen=True)
class LambdaFunctions:
    """The functions of one account and region. Nothing connects before the first invocation.

    Raises:
        AwsError: the endpoint is no URL.
    """

    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None

    def __post_init__(self) -> None:
        if self.endpoint_url is not None and not self.endpoint_url.startswith(("http://", "https://")):
            raise AwsError(f"--endpoint-url {self.endpoint_url!r} is no URL: write it like http://127.0.0.1:4566")

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError  # boto3 takes 0.3 s to import, and not all need it

        try:
            response = self._client().invoke(FunctionName=function, Payload=json.dumps(payload))
            answer = json.loads(response["Payload"].read())
        except ClientError as error:
            self._refused(function, error.response["Error"]["Code"], error.response["Error"].get("Message", ""))
        except BotoCoreError as error:
            _unreachable(function, error)
        if "FunctionError" in response:
            raise FunctionError(answer.get("errorType", "Error"), answer.get("errorMessage", "no message"))
        result: dict[str, Any] = answer
        return result

    def _client(self) -> "LambdaClient":
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=10,
            read_timeout=WAIT_SECONDS,
            retries={"total_max_attempts": 1},  # an invocation sent again would be a second run
            tcp_keepalive=True,  # gateways on the way forget connections that are silent for minutes
        )
        session = boto3.Session(profile_name=self.profile, region_name=self.region)
        return session.client("lambda", endpoint_url=self.endpoint_url, config=config)

    def _refused(self, function: str, code: str, message: str) -> NoReturn:
        if code == "ResourceNotFoundException":
            where = f"in region {self.region}" if self.region else "in this account and region"
            raise AwsError(
                f"{function} is not deployed {where}: run cdk deploy, or choose with --profile and --region"
            ) from None
        if code in DENIED:
            raise AwsError(f"not allowed to invoke {function}: you need lambda:InvokeFunction on it") from None
        if code in EXPIRED:
            raise AwsError(f"AWS does not accept your credentials any more: {CREDENTIALS_REMEDY}") from None
        if code == "TooManyRequestsException":
            raise AwsError(f"{function} is busy and takes no further invocation now: try again in a minute") from None
        raise AwsError(f"AWS refused to invoke {function}: {code}: {message}") from None


def _unreachable(function: str, error: Exception) -> NoReturn:
    from botocore import exceptions

    match error:
        case exceptions.NoCredentialsError() | exceptions.PartialCredentialsError():
            text = f"no AWS credentials found: {CREDENTIALS_REMEDY}"
        case (
            exceptions.SSOError()
            | exceptions.LoginError()
            | exceptions.CredentialRetrievalError()
            | exceptions.TokenRetrievalError()
        ):
            text = f"your AWS sign-in has ended or failed ({error}): {CREDENTIALS_REMEDY}"
        case exceptions.ProfileNotFound():
            text = f"{error}: see aws configure list-profiles"
        case exceptions.NoRegionError():
            text = "no AWS region: give --region, or set AWS_REGION"
        case exceptions.ConnectionError():
            text = f"AWS does not answer: {error}. Check region and network, or --endpoint-url and AWS_ENDPOINT_URL"
        case exceptions.HTTPClientError():
            text = f"the connection broke while {function} was at work; it may still run: see nightshift status"
        case _:
            text = f"AWS could not be asked: {error}"
    raise AwsError(text) from None
