"""What functions have logged, read from their log groups in CloudWatch."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.aws import CREDENTIALS_REFUSED, DENIED, REFUSED_CREDENTIALS, Account, AwsError, unreachable

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

TRIES = 8
"""So often a call is made that CloudWatch throttles, each time after a longer wait."""

OVERLAP = dt.timedelta(minutes=1)
"""How much later than others a record may become readable, and is still found by whoever follows."""

PASSING = {
    *("ThrottlingException", "Throttling", "LimitExceededException"),
    *("ServiceUnavailableException", "ServiceUnavailable", "InternalFailure", "InternalServerError"),
}

Event = Mapping[str, Any]
"""A record as CloudWatch returns it: `eventId`, `timestamp` (milliseconds since 1970), `message`, `logStreamName`. The
local AWS knows no ids of what functions have printed."""


class NotNowError(AwsError):
    """CloudWatch was busy or away, and may answer the next time."""


@dataclass(frozen=True)
class LogGroups(Account):
    """The log groups of the functions of one account and region."""

    def events(self, function: str, since: dt.datetime) -> Iterator[Event]:
        """What a function has logged since then, the oldest record first.

        Raises:
            NotNowError: CloudWatch throttles, or does not answer.
            AwsError: there is no such log group, or it may not be read.
        """
        from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

        try:
            pages = self._client().get_paginator("filter_log_events")
            for page in pages.paginate(logGroupName=log_group(function), startTime=_milliseconds(since)):
                yield from sorted(page["events"], key=lambda event: event["timestamp"])
        except ClientError as error:
            raise _refusal(error.response["Error"], function, self.place) from None
        except (HTTPClientError, ConnectionError) as error:
            raise NotNowError(f"CloudWatch does not answer: {error}") from None
        except BotoCoreError as error:
            raise AwsError(unreachable(error)) from None

    def _client(self) -> "CloudWatchLogsClient":
        from botocore.config import Config

        retries: Any = {"mode": "standard", "total_max_attempts": TRIES}
        config = Config(connect_timeout=10, read_timeout=30, retries=retries)
        return self.session().client("logs", endpoint_url=self.endpoint_url, config=config)


@dataclass
class Following:
    """Reads a function's log again and again, and returns each record once."""

    groups: LogGroups
    function: str
    since: dt.datetime

    def __post_init__(self) -> None:
        self._seen: dict[tuple[str, int], int] = {}

    def news(self) -> Iterator[Event]:
        """The records that were not there the last time, the oldest first. Raises what `LogGroups.events` does."""
        newest = max(self._seen.values(), default=0)
        start = max(_milliseconds(self.since), newest - OVERLAP // dt.timedelta(milliseconds=1))
        self._seen = {id: at for id, at in self._seen.items() if at >= start}
        times: Counter[str] = Counter()
        for event in self.groups.events(self.function, dt.datetime.fromtimestamp(start / 1000, dt.UTC)):
            id = event.get("eventId") or f"{event['logStreamName']} {event['timestamp']} {event['message']}"
            times[id] += 1  # without ids, the second of two that are alike is another record
            if (id, times[id]) not in self._seen:
                self._seen[id, times[id]] = event["timestamp"]
                yield event


def log_group(function: str) -> str:
    return f"/aws/lambda/{function}"


def _milliseconds(instant: dt.datetime) -> int:
    return round(instant.timestamp() * 1000)


def _refusal(error: Mapping[str, Any], function: str, place: str) -> AwsError:
    """Why CloudWatch did not show a log group, in one line that says what to do."""
    group, code = log_group(function), error["Code"]
    if code in PASSING:
        return NotNowError("CloudWatch throttles or is unavailable: try again in a minute")
    if code == "ResourceNotFoundException":
        return AwsError(
            f"there is no log group {group} {place}: {function} is not deployed there. Run make deploy, or choose with "
            "--profile, --region and --name"
        )
    if code in DENIED:
        return AwsError(f"you may not read {group}: you need logs:FilterLogEvents on it")
    if code in REFUSED_CREDENTIALS:
        return AwsError(CREDENTIALS_REFUSED)
    return AwsError(f"CloudWatch refused to show {group}: {code}: {error.get('Message', '')}")
