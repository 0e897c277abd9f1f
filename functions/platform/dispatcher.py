"""Every minute: send what is due in the outbox. The one function that may send mails."""

import os
from typing import Any

from nightshift import telemetry
from nightshift.database import DatabaseSettings, session_for
from nightshift.deadline import Deadline
from nightshift.environment import CAP_VARIABLE, PREFERENCES_VARIABLE, SENDER_VARIABLE, TOPIC_VARIABLE
from nightshift.outbox import MAILS_A_DAY, Outlets, dispatch
from nightshift.runtime import LambdaContext, entry_point


@entry_point
def handler(_event: Any, context: LambdaContext) -> dict[str, int]:
    cap = MAILS_A_DAY.parse(os.environ.get(CAP_VARIABLE, MAILS_A_DAY.default))
    outlets = Outlets(
        sender=os.environ.get(SENDER_VARIABLE),
        operators_topic=os.environ.get(TOPIC_VARIABLE),
        preferences_url=os.environ.get(PREFERENCES_VARIABLE),
    )
    deadline = Deadline(lambda: context.get_remaining_time_in_millis() / 1000)
    settings = DatabaseSettings.from_environment()
    with session_for(settings, seconds=deadline.remaining, application_name="nightshift/dispatcher") as session:
        counts = dispatch(session, outlets, deadline, daily_cap=cap)
    telemetry.log("outbox.dispatched", counts=dict(counts))
    return dict(counts)
