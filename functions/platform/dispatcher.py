"""Every minute: send what is due in the outbox. The one function that may send mails."""

import os
from typing import Any

from nightshift import telemetry
from nightshift.database import DatabaseSettings, session_for
from nightshift.dispatch import dispatch
from nightshift.errors import SettingError
from nightshift.execution import Deadline
from nightshift.outlets import PREFERENCES_VARIABLE, SENDER_VARIABLE, TOPIC_VARIABLE, Outlets
from nightshift.runtime import LambdaContext

CAP_VARIABLE = "NIGHTSHIFT_MAILS_A_DAY"
"""Environment variable: how many ordinary mails one user may get within 24 hours."""

DEFAULT_CAP = 10


def handler(_event: Any, context: LambdaContext) -> dict[str, int]:
    cap = os.environ.get(CAP_VARIABLE, str(DEFAULT_CAP))
    if not cap.isdecimal() or int(cap) < 1:
        raise SettingError(f"{CAP_VARIABLE} must be a whole number of mails, at least 1; got {cap!r}")
    outlets = Outlets(
        sender=os.environ.get(SENDER_VARIABLE),
        operators_topic=os.environ.get(TOPIC_VARIABLE),
        preferences_url=os.environ.get(PREFERENCES_VARIABLE),
    )
    deadline = Deadline(lambda: context.get_remaining_time_in_millis() / 1000)
    try:
        settings = DatabaseSettings.from_environment()
        with session_for(settings, seconds=deadline.remaining, application_name="nightshift/dispatcher") as session:
            counts = dispatch(session, outlets, deadline, daily_cap=int(cap))
    finally:
        telemetry.flush()
    telemetry.log("outbox.dispatched", **counts)
    return dict(counts)
