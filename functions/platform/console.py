"""Answer an operator's question from the ledger. Read-only: the command `nightshift` asks, from outside the network."""

import datetime as dt
from typing import Any

from sqlalchemy.exc import DBAPIError

from nightshift import telemetry
from nightshift.database import DatabaseSettings, session_for
from nightshift.declaration import Deployment
from nightshift.operations import answer, without_database
from nightshift.runtime import LambdaContext, entry_point


@entry_point
def handler(question: Any, context: LambdaContext) -> dict[str, Any]:
    seconds = context.get_remaining_time_in_millis() / 1000
    deployment = Deployment.from_environment()
    settings = DatabaseSettings.from_environment()
    try:
        with session_for(settings, seconds=seconds, application_name="nightshift/console") as session:
            given = answer(session, deployment, question, now=dt.datetime.now(dt.UTC))
    except DBAPIError as cause:  # it lets nobody in
        given = without_database(question, cause)
    telemetry.log("question.answered", refused=given.get("error"))
    return given
