"""Every minute: continue interrupted runs and those whose attempt died; settle and report those out of attempts.

While an occurrence waits for the one before it to end, this stays and looks every two seconds until its time is up.
Jobs do not start each other: AWS cuts such chains after 16 hops.
"""

import json
import os
import time
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config

from nightshift.database import DatabaseSettings, session_for
from nightshift.deadline import Deadline
from nightshift.declaration import Deployment
from nightshift.environment import OPERATIONS_VARIABLE, TOPIC_VARIABLE, deployment_name
from nightshift.operations import Notice, look_over
from nightshift.runtime import LambdaContext, entry_point

QUEUE_VARIABLE = "NIGHTSHIFT_DLQ_URL"
LONGEST_SUBJECT = 99


@entry_point
def handler(_event: Any, context: LambdaContext) -> dict[str, Any]:
    # Without a route to the API a call from a VPC would hang until the function's own timeout.
    config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 3, "mode": "standard"})
    # What is told is told again in the next round: another try now would keep other work waiting.
    once = config.merge(Config(retries={"total_max_attempts": 1}))
    functions, queue = boto3.client("lambda", config=config), boto3.client("sqs", config=once)

    def invoke_later(name: str, payload: Mapping[str, Any]) -> None:
        functions.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(payload))

    def report(record: Mapping[str, Any]) -> None:
        queue.send_message(QueueUrl=os.environ[QUEUE_VARIABLE], MessageBody=json.dumps(record))

    topic = os.environ.get(TOPIC_VARIABLE)

    def tell(notice: Notice) -> None:
        boto3.client("sns", config=once).publish(  # made when there is something to tell
            TopicArn=str(topic), Subject=subject(notice), Message=json.dumps(message(notice)), MessageStructure="json"
        )

    deadline = Deadline(lambda: context.get_remaining_time_in_millis() / 1000)

    def stay(seconds: float) -> bool:
        if deadline.remaining - seconds < deadline.reserve:
            return False
        time.sleep(seconds)
        return True

    settings = DatabaseSettings.from_environment()
    with session_for(settings, seconds=deadline.remaining, application_name="nightshift/supervisor") as session:
        deployment = Deployment.from_environment()
        done = look_over(session, deployment, invoke_later, report, tell=tell if topic else None, stay=stay)
    return vars(done)


def subject(notice: Notice) -> str:
    """What SNS takes as one: a line of less than 100 characters of ASCII."""
    return f"{deployment_name()}: {notice.title}"[:LONGEST_SUBJECT]


def message(notice: Notice) -> dict[str, str]:
    """A notice for every kind of subscription: as text, and for https in the form that Amazon Q shows in a chat."""
    link = f"{os.environ.get(OPERATIONS_VARIABLE, 'docs/operations.md')}#{notice.read_on}"
    first = [f"First: {notice.first}"] if notice.first else []
    text = "\n\n".join([notice.happened, *first, link])
    shown = {
        "version": "1.0",
        "source": "custom",
        "content": {"title": subject(notice), "description": notice.happened, "nextSteps": [*first, link]},
    }
    return {"default": text, "https": json.dumps(shown)}
