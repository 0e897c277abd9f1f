"""Change the ledger for an operator. The command `nightshift` asks, with a permission of its own, from outside."""

from typing import Any

from nightshift import telemetry
from nightshift.database import DatabaseSettings, session_for
from nightshift.declaration import Deployment
from nightshift.operations import carry_out
from nightshift.runtime import LambdaContext


def handler(request: Any, context: LambdaContext) -> dict[str, Any]:
    seconds = context.get_remaining_time_in_millis() / 1000
    deployment = Deployment.from_environment()
    settings = DatabaseSettings.from_environment()
    with session_for(settings, seconds=seconds, application_name="nightshift/control") as session:
        done = carry_out(session, deployment, request)
    # Who asked and why stands in the ledger, and in no log.
    telemetry.log("command.carried_out", refused="error" in done)
    return done
