"""Change the ledger for an operator. The command `nightshift` asks, with a permission of its own, from outside."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import DBAPIError

from nightshift import telemetry
from nightshift.database import DatabaseSettings, session_for
from nightshift.declaration import Deployment
from nightshift.operations import COMMANDS, carry_out, without_database
from nightshift.runtime import LambdaContext, entry_point


@entry_point
def handler(request: Any, context: LambdaContext) -> dict[str, Any]:
    seconds = context.get_remaining_time_in_millis() / 1000
    deployment = Deployment.from_environment()
    settings = DatabaseSettings.from_environment()
    try:
        with session_for(settings, seconds=seconds, application_name="nightshift/control") as session:
            done = carry_out(session, deployment, request, request_id=context.aws_request_id)
    except DBAPIError as cause:  # it lets nobody in
        done = without_database(request, cause)
    # Who asked and why stands in the ledger, and in no log.
    telemetry.log("command.carried_out", **_about(deployment, request, done), refused="error" in done)
    return done


def _about(deployment: Deployment, request: Any, done: Mapping[str, Any]) -> dict[str, str]:
    """Command, job and run, as far as they are known ones: nobody else's words come into the log."""
    asked = request if isinstance(request, Mapping) else {}
    run = done.get("run", {})
    named = asked.get("job")
    is_one = isinstance(named, str) and any(named in jobs for jobs in deployment.understood())
    job = run.get("job") or (named if is_one else None)
    found = {"command": asked.get("command"), "job": job, "run_id": run.get("run_id") or _id(asked.get("run_id"))}
    known = asked.get("command") in COMMANDS
    return {name: str(value) for name, value in found.items() if value and known}


def _id(given: Any) -> str | None:
    """A run's id, or its beginning."""
    return given if isinstance(given, str) and re.fullmatch(r"[0-9a-fA-F-]{6,36}", given) else None
