"""Every minute: ask the console from outside the network, and tell a monitor outside the account how that went.

Nothing here needs the database, the network of the functions or the topics: it notices when one of these is gone. The
monitor notices when this is.
"""

import json
import os
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from nightshift import telemetry
from nightshift.environment import CONSOLE_VARIABLE, PING_VARIABLE
from nightshift.operations import WatchError, look, ping
from nightshift.operations.watch import Signal
from nightshift.runtime import LambdaContext, entry_point


@entry_point
def handler(_event: Any, _context: LambdaContext) -> dict[str, Any]:
    """Look once. Returns what the deployment says of itself.

    Raises:
        WatchError: it does not work. The alarm counts these.
    """
    _ping("start")
    try:
        found = look(_ask())
    except WatchError as wrong:
        _ping("fail", str(wrong))
        telemetry.error("watch.failed", reason=str(wrong))
        raise
    _ping("success", found)
    telemetry.log("watch.succeeded", found=found)
    return {"found": found}


def _ask() -> dict[str, Any]:
    """The console's answer, or what it has in its place."""
    config = Config(connect_timeout=3, read_timeout=32, retries={"total_max_attempts": 1})
    functions = boto3.client("lambda", config=config)
    try:
        response = functions.invoke(FunctionName=os.environ[CONSOLE_VARIABLE], Payload=b'{"query": "health"}')
        answer: dict[str, Any] = json.loads(response["Payload"].read())
    except ClientError as error:
        raise WatchError(f"the console cannot be asked: {error.response['Error']['Code']}") from error
    except BotoCoreError as error:
        raise WatchError(f"the console does not answer: {type(error).__name__}") from error
    if "FunctionError" in response:
        raise WatchError(f"the console ended with {answer.get('errorType', 'an error')}")
    return answer


def _ping(signal: Signal, body: str = "") -> None:
    """A monitor that does not answer is no failure of the deployment: it notices by itself that nothing comes."""
    url = os.environ.get(PING_VARIABLE)
    if not url:
        return
    try:
        ping(url, signal, body)
    except OSError as error:
        telemetry.warn("ping.failed", signal=signal, reason=str(error))
