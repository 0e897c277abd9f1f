"""Occurrences that could not be delivered, and runs that failed for good, until somebody redrives them."""

from aws_cdk import Aws, Duration, aws_iam as iam, aws_sqs as sqs
from constructs import Construct

from infra.nag import acknowledge
from nightshift.declaration.names import DEAD_LETTERS


def dead_letter_queue(scope: Construct, deployment: str) -> sqs.Queue:
    """One queue for the rules and the functions of all jobs. One statement lets all rules send to it."""
    queue = sqs.Queue(
        scope,
        "DeadLetters",
        queue_name=f"{deployment}-{DEAD_LETTERS}",
        retention_period=Duration.days(14),
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
    )
    acknowledge(queue, "SQS3", "this is the dead-letter queue")
    queue.add_to_resource_policy(
        iam.PolicyStatement(
            sid="RulesOfNightshift",
            principals=[iam.ServicePrincipal("events.amazonaws.com")],
            actions=["sqs:SendMessage"],
            resources=[queue.queue_arn],
            # The rule's ARN holds the account. EventBridge promises no other key of the request.
            conditions={
                "ArnLike": {
                    "aws:SourceArn": f"arn:{Aws.PARTITION}:events:{Aws.REGION}:{Aws.ACCOUNT_ID}:rule/{deployment}-*"
                },
            },
        )
    )
    return queue
