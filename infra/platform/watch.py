"""Looks at the deployment from outside its network, and tells a monitor outside the account."""

from aws_cdk import Aws, Duration

from infra.function import Function
from infra.platform.functions import PlatformFunctions
from nightshift.declaration import function_name
from nightshift.environment import CONSOLE_VARIABLE, PING_VARIABLE

LONGEST_ANSWER = Duration.seconds(50)


def watch(functions: PlatformFunctions) -> Function:
    """It asks the console every minute. It stands in no network and has no database, so it fails with neither."""
    console = function_name("console", functions.settings.name)
    environment = {CONSOLE_VARIABLE: console}
    if functions.settings.ping_url is not None:
        environment[PING_VARIABLE] = functions.settings.ping_url
    made = functions.function(
        "watch",
        about="Asks the console from outside the network, and pings a monitor outside the account",
        timeout=LONGEST_ANSWER,
        environment=environment,
        outside=True,
    )
    arn = f"arn:{Aws.PARTITION}:lambda:{Aws.REGION}:{Aws.ACCOUNT_ID}:function:{console}"
    made.allow(["lambda:InvokeFunction"], [arn])
    functions.start_every_minute("watch", made)
    return made
