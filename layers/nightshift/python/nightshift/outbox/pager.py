"""Tells the operators something past the outbox, when nobody would send what waits there."""

import os

from nightshift import telemetry
from nightshift.environment import TOPIC_VARIABLE


def page(title: str, text: str) -> bool:
    """Publish to the operators' topic at once. Returns whether that has worked; if not, the log says why.

    The function needs operators: its job declares that. Without them nobody can be paged.
    """
    topic = os.environ.get(TOPIC_VARIABLE)
    if topic is None:
        telemetry.error("operators.not_paged", title=title, reason="the job does not declare that it needs operators")
        return False
    # They bring AWS and the template engine, which a check that finds all well does not need.
    from nightshift.outbox.mail import Mail
    from nightshift.outbox.outlets import NotSent, Outlets, Refused, Unclear

    try:
        Outlets(operators_topic=topic).publish(Mail(title, html="", text=text))
    except (NotSent, Refused, Unclear) as error:
        telemetry.error("operators.not_paged", title=title, reason=f"{type(error).__name__}: {error}")
        return False
    return True
